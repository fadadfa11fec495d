"""Plug-ins by entry point or by dotted path: ours and a stranger's are found in the same way.

A plug-in is named in a configuration, never stored in it: reading the configuration of a run imports the module that
it names, as an entry point would, and nothing else.
"""

import dataclasses
import difflib
import inspect
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

NAME = "name"  # the key of a configuration that says which plug-in it is for


class UnknownPluginError(ValueError):
    """No plug-in of that name is installed, or it cannot be loaded."""


def plugin_names(group: str) -> list[str]:
    """Names registered under an entry-point group, e.g. ``discover_rl.environments``."""
    return sorted({point.name for point in entry_points(group=group)})


def is_dotted_path(name: str) -> bool:
    """Whether a name says where something stands, ``package.module:attribute``, not what it is called."""
    return ":" in name


def load_plugin(group: str, name: str) -> Any:  # noqa: ANN401 - whatever is named
    """Import the plug-in of that name, or what a dotted path leads to.

    Args:
        group: Entry-point group.
        name: A name registered there, or ``package.module:attribute``.

    Raises:
        UnknownPluginError: If there is none, or importing it fails; the message says which and what to try.
    """
    if is_dotted_path(name):
        return load_object(name)
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        raise UnknownPluginError(
            f"no plug-in named {name!r} in {group}{did_you_mean(name, points)}; installed: "
            f"{', '.join(sorted(points)) or 'none (is the package installed?)'}; or give package.module:Class"
        )
    try:
        return points[name].load()
    except Exception as error:
        raise UnknownPluginError(
            f"the plug-in {name!r} ({points[name].value}) in {group} could not be loaded: {error}"
        ) from error


def load_object(path: str) -> Any:  # noqa: ANN401 - whatever is named
    """Import ``package.module:attribute``; modules in the working folder are found too, as with ``python -m``.

    Raises:
        UnknownPluginError: If the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise UnknownPluginError(f"{path!r} is no path to a plug-in; write package.module:Class")
    if "/" in module_name or module_name.startswith(".") or module_name.endswith(".py"):
        file = Path(module_name)
        named = f"{file.name.removesuffix('.py')}:{attribute}"
        there = "" if file.parent == Path() else f" and set PYTHONPATH={file.parent}, or work in that folder"
        raise UnknownPluginError(f"{path}: a module is named as for import, not by its file; write {named}{there}")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in (module_name, module_name.split(".")[0])
        reason = f"there is no module {error.name!r} here or installed" if missing else f"{_said(error)}"  # type: ignore[union-attr]
        raise UnknownPluginError(f"{path}: the module {module_name} could not be imported: {reason}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(found) if not name.startswith("_")]
            raise UnknownPluginError(f"{path}: {module_name} has no {part!r}{did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# -- what can be set of a plug-in ----------------------------------------------------------------------------


def settings_schema(plugin: type, name: str) -> type:
    """A dataclass with the settings of a class, so that they are keys of a configuration.

    Args:
        plugin: A class; every parameter of its constructor is a setting, its annotation the type of the key. One
            whose default is no plain data is left out.
        name: What the class is called in configurations: the value of the key ``name``.

    Returns:
        A dataclass: ``name``, then the settings; one without a default is a mandatory key.
    """
    defaults = {
        field.name: field.default_factory
        for field in (dataclasses.fields(plugin) if dataclasses.is_dataclass(plugin) else ())
        if field.default_factory is not dataclasses.MISSING
    }
    fields: list[tuple[str, Any, Any]] = [(NAME, str, dataclasses.field(default=name))]
    for parameter, hint in _parameters(plugin):
        default = defaults[parameter.name]() if parameter.name in defaults else parameter.default
        if default is inspect.Parameter.empty:
            default = MISSING
        elif isinstance(default, tuple):
            default = list(default)
        kind = _yaml_type(hint, default)
        if kind is not None:
            fields.append((parameter.name, kind, _field(default)))
    return dataclasses.make_dataclass("Settings", fields)


def settings_of(group: str, plugin: object) -> dict[str, Any] | None:
    """The settings that an object was made with, read back from its attributes of the same names.

    Args:
        group: Entry-point group in which its class is looked for; a class that is not there gets its dotted path.
        plugin: The object.

    Returns:
        Plain data with the key ``name``, or None if the object does not keep its settings, or they are no plain data.
    """
    kind = type(plugin)
    settings: dict[str, Any] = {NAME: _name_of(group, kind)}
    for parameter, _ in _parameters(kind):
        if not hasattr(plugin, parameter.name):
            return None
        settings[parameter.name] = _plain(getattr(plugin, parameter.name))
    try:
        OmegaConf.create(settings)
    except OmegaConfBaseException:
        return None
    return settings


def _name_of(group: str, kind: type) -> str:
    path = f"{kind.__module__}:{kind.__qualname__}"
    return next((point.name for point in entry_points(group=group) if point.value == path), path)


def _parameters(plugin: type) -> list[tuple[inspect.Parameter, Any]]:
    """The parameters of the constructor that can be given by name, with their types."""
    try:
        hints = get_type_hints(plugin if dataclasses.is_dataclass(plugin) else plugin.__init__)
    except Exception:  # annotations may name what is not imported at run time
        hints = {}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [
        (parameter, hints.get(parameter.name, Any))
        for parameter in inspect.signature(plugin).parameters.values()
        if parameter.kind not in variadic and parameter.name != NAME
    ]


def _field(default: object) -> Any:  # noqa: ANN401 - what dataclasses.field returns
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default))
    return dataclasses.field(default=default)


def _yaml_type(hint: Any, default: object) -> Any:  # noqa: ANN401 - types are values here
    """The type of a key, as OmegaConf knows them; Any if it knows none that fits, None if no default."""
    for kind in (_as_list(hint), Any):
        try:
            OmegaConf.structured(dataclasses.make_dataclass("Probe", [("key", kind, _field(default))]))
        except (OmegaConfBaseException, ValueError, TypeError):
            continue
        return kind
    return None


def _as_list(hint: Any) -> Any:  # noqa: ANN401
    """YAML has lists where Python has sequences and tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return _as_list(inner) | None
    if arguments and origin in (Sequence, tuple, list):
        return list[_as_list(arguments[0])]
    return hint


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` if something close is allowed, else an empty string."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
