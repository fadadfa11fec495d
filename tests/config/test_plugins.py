"""Plug-ins by dotted path, and the settings of a class as keys of a configuration."""

import dataclasses
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from discover_rl.config import UnknownPluginError, load_object, load_plugin, plugins, schema_node
from discover_rl.config import settings_of as settings
from discover_rl.config import settings_schema as schema

GROUP = "discover_rl.goal_spaces"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def test_a_module_of_the_working_folder_is_found(module):
    module("mine_a", "class Outer:\n    class Inner:\n        x = 3\n")
    assert load_object("mine_a:Outer.Inner").x == 3
    assert load_plugin(GROUP, "mine_a:Outer").__name__ == "Outer"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("mine_b:Gaols", "mine_b:Gaols: mine_b has no 'Gaols'; did you mean 'Goals'?"),
        ("mine_bb:Goals", "the module mine_bb could not be imported: there is no module 'mine_bb' here or installed"),
        ("broken:Goals", "the module broken could not be imported: ZeroDivisionError: division by zero"),
        ("needy:Goals", "the module needy could not be imported: ModuleNotFoundError: No module named 'not_there'"),
        (":Goals", "':Goals' is no path to a plug-in; write package.module:Class"),
        ("mine_b:", "'mine_b:' is no path to a plug-in"),
    ],
)
def test_a_path_that_leads_nowhere_is_said(module, path, sentence):
    module("mine_b", "class Goals: pass")
    module("broken", "1 / 0")
    module("needy", "import not_there")
    with pytest.raises(UnknownPluginError) as info:
        load_object(path)
    assert sentence in str(info.value)


ODD = {3}


class Plain:
    def __init__(
        self, radius: float, indices: Sequence[int] = (1, 2), names: Sequence[str] | None = None, odd: set = ODD
    ):
        self.radius, self.indices, self.names, self.odd = radius, indices, names, odd


@dataclasses.dataclass
class Data:
    weights: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    name: str = "data"


def test_the_parameters_of_a_class_are_keys():
    node = schema_node(schema(Plain, "plain"))
    assert list(node) == ["name", "radius", "indices", "names"]
    assert (node.name, node.indices, node.names) == ("plain", [1, 2], None)
    assert OmegaConf.is_missing(node, "radius")
    with pytest.raises(Exception, match="could not be converted to Float"):
        node.radius = "wide"
    node.indices = [3]
    assert node.indices == [3]


def test_a_dataclass_keeps_its_defaults_and_gets_the_name_it_is_found_by():
    node = schema_node(schema(Data, "m:Data"))
    assert (node.name, node.weights) == ("m:Data", [1.0])


def test_settings_are_read_back_from_an_object():
    assert settings(GROUP, Data([2.0])) == {"name": f"{__name__}:Data", "weights": [2.0]}
    assert settings(GROUP, Plain(0.5, range(2), None, {4})) is None  # a set is no plain data
    forgetful = Plain(0.5)
    del forgetful.radius
    assert settings(GROUP, forgetful) is None


def test_an_installed_class_keeps_its_short_name(monkeypatch):
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [SimpleNamespace(name="short", value=f"{__name__}:Data")]
    )
    assert settings(GROUP, Data()) == {"name": "short", "weights": [1.0]}
