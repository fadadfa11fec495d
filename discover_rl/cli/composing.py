"""From arguments to a configuration by Hydra, with sentences for mistakes."""

import itertools
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from discover_rl.config import TrainConfig


PLUGIN_GROUPS = {
    "env": "discover_rl.environments",
    "goal_space": "discover_rl.goal_spaces",
    "selector": "discover_rl.selectors",
}
"""Groups of the configuration whose options may come from other packages, and the entry points of these."""


def recipes_dir() -> Path:
    """The folder of YAML recipes: inside the installed package, or ``configs/`` of a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "recipes"
    return packaged if packaged.is_dir() else here.parent / "configs"


def register_schemas() -> None:
    """Make every configuration dataclass known to Hydra, ours and those of plug-ins.

    A plug-in that cannot be loaded is left out with a warning, so that it spoils no run that does not need it.
    """
    from hydra.core.config_store import ConfigStore

    from discover_rl.agents import AGENT_CONFIGS
    from discover_rl.config import TrainConfig, plugin_names, schema_node
    from discover_rl.run_folder import SCHEMAS
    from discover_rl.selectors import SELECTORS

    store = ConfigStore.instance()
    store.store(name="train_schema", node=schema_node(TrainConfig))
    for name in SELECTORS:
        store.store(group="selector", name=name, node=schema_node(SCHEMAS["selector"](name)))
    for name, agent in AGENT_CONFIGS.items():
        store.store(group="agent", name=name, node=schema_node(agent))
    for group, entry_points in PLUGIN_GROUPS.items():
        for name in plugin_names(entry_points):
            try:
                node = schema_node(SCHEMAS[group](name), name)
            except ValueError as error:
                print(f"discover-rl: warning: {error}", file=sys.stderr)
                continue
            # those of our own environments have recipes of the same name, which build on their schemas
            store.store(group=group, name=f"{name}_schema" if group == "env" else name, node=node)
            if group == "env" and not (recipes_dir() / "env" / f"{name}.yaml").is_file():
                store.store(group=group, name=name, node=node)


def register_dotted_paths(arguments: Sequence[str]) -> None:
    """Make plug-ins known to Hydra that arguments name by a path, ``selector=package.module:Class``.

    Args:
        arguments: The arguments; in a sweep an argument may name several, plain Gymnasium environments among them.

    Raises:
        ValueError: If a path leads nowhere, or to something else.
    """
    from hydra.core.config_store import ConfigStore

    from discover_rl.config import is_dotted_path

    for argument in arguments:
        group, equals, _ = argument.partition("=")
        if group not in PLUGIN_GROUPS or not equals:
            continue
        for path in filter(is_dotted_path, _options_named(argument)):
            ConfigStore.instance().store(group=group, name=path, node=_node_at(group, path))


def _options_named(argument: str) -> list[str]:
    """The values of ``GROUP=OPTION``: several where it is a sweep over them."""
    from hydra.core.override_parser.types import ValueType

    override = read_override(argument)
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []  # chooses among what has a name already
    if override.is_sweep_override() and override.is_discrete_sweep():
        return _swept_values(override)
    return [argument.partition("=")[2]]


def _swept_values(override: "Override") -> list[str]:
    from hydra.core.override_parser.types import ValueType

    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return _globbed(override)
    return [value.replace("\\:", ":") for value in override.sweep_string_iterator()]


def _globbed(override: "Override") -> list[str]:
    """The options that ``GROUP=glob(PATTERN)`` chooses, as Hydra will: not those in folders."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    group = override.key_or_group
    with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
        override.config_loader = GlobalHydra.instance().config_loader()
        chosen = list(override.sweep_string_iterator())
        loaded = override.config_loader.get_group_options(group, ObjectType.CONFIG)
    if not chosen:
        options = [name for name in loaded if _is_shown(name)]
        allowed = f"it chooses among {', '.join(options)}" if options else "it chooses among the options of a group"
        raise ValueError(f"{override.input_line} matches nothing; {allowed}; or list what you want: {group}=A,B")
    return chosen


def _node_at(group: str, path: str) -> "DictConfig":
    """The settings of what a path leads to; a plain Gymnasium environment has those of the adapter, and its path."""
    from discover_rl.config import schema_node
    from discover_rl.run_folder import SCHEMAS

    if group != "env" or not _is_gymnasium(path):
        return schema_node(SCHEMAS[group](path), path)
    node = schema_node(SCHEMAS["env"]("gymnasium"), "gymnasium")
    node.id = path
    return node


def _is_gymnasium(path: str) -> bool:
    import gymnasium

    from discover_rl.config import load_object

    found = load_object(path)
    return isinstance(found, type) and issubclass(found, gymnasium.Env)


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str], bool, bool]:
    """What of the arguments of ``train`` is an option of Hydra, and what an override.

    Returns:
        The options with their values; the overrides; whether several jobs are wanted; whether Hydra composes what is
        meant: not where it only helps, or is pointed to other recipes.

    Raises:
        ValueError: If an option is unknown, or its value is not allowed.
    """
    from hydra._internal.utils import get_args_parser  # private, but the only list of its options

    def error(message: str) -> NoReturn:
        raise ValueError(f"train: {message}; options: -m, --cfg job, --from RUN_DIR, --help")

    parser = get_args_parser()
    parser.error = error
    parsed = parser.parse_intermixed_args(arguments)
    options = [argument for argument in arguments if argument not in parsed.overrides]
    set_options = {name for name, value in vars(parsed).items() if value}
    plain = set_options <= {"overrides", "multirun", "cfg", "resolve", "run", "package"}
    return options, parsed.overrides, parsed.multirun, plain


def read_override(argument: str) -> "Override":
    """One ``KEY=VALUE`` in Hydra's grammar.

    Raises:
        ValueError: If it cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException as error:
        key, _, value = argument.partition("=")
        if value.startswith("~"):
            advice = f"~ is not expanded there; write {key}={Path(value).expanduser()}"
        else:
            advice = f"close brackets and quotes, and quote what is special: '{key}=\"...\"'"
        raise ValueError(f"{argument} cannot be read; {advice}") from error


def check_jobs(arguments: list[str], sweep: bool) -> None:
    """Compose every job of a command ahead of the first.

    Args:
        arguments: The arguments, without options.
        sweep: Whether an argument may name several values, one for each job.

    Raises:
        ValueError: If a job does not compose; the sentence names it.
    """
    if not sweep:
        check_overrides(arguments)
        return
    for name, job in _jobs(arguments):
        try:
            check_overrides(job)
        except ValueError as error:
            raise ValueError(f"job {name}: {error}" if name else str(error)) from error


def _jobs(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The jobs of a sweep: the values that tell them apart, and all overrides but those of Hydra itself."""
    fixed: list[str] = []
    swept: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("hydra"):
            _check_launcher(argument)
            continue
        override = read_override(argument) if "=" in argument else None
        if override is None or not override.is_sweep_override():
            fixed.append(argument)
        elif override.is_discrete_sweep():
            swept.append([f"{override.get_key_element()}={name}" for name in _swept_values(override)])
    jobs = ((" ".join(values), [*fixed, *values]) for values in itertools.product(*swept))
    # another sweeper chooses by itself what of the product it tries
    return itertools.islice(jobs, 1 if any(argument.startswith("hydra/sweeper") for argument in arguments) else None)


def _check_launcher(argument: str) -> None:
    import importlib.util

    key, _, name = argument.partition("=")
    if key == "hydra/launcher" and name.startswith("ray") and importlib.util.find_spec("ray") is None:
        raise ValueError(f"{argument}: Ray is not installed; pip install 'discover-rl[cluster]'")


def check_overrides(arguments: list[str]) -> None:
    """Compose once ahead of Hydra's own start, to say in one sentence what is wrong and what is allowed.

    Raises:
        ValueError: If the overrides do not compose.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from discover_rl.run_folder import config_from_node

    try:
        with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
            for argument in arguments:
                _check_value(argument)
                _check_option(argument)
            plain = compose("train", [a for a in arguments if "=" in a and _is_group(a)])
            for argument in arguments:
                check_key(argument, plain)
            config_from_node(compose("train", arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_first_sentence(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _is_group(argument: str) -> bool:
    return argument.split("=", 1)[0] in (
        "env",
        "goal_space",
        "selector",
        "agent",
        "experiment",
        "+experiment",
    )


def _check_value(argument: str) -> None:
    if "=" in argument and read_override(argument).is_sweep_override():
        raise ValueError(
            f"{argument}: one value, or a list in brackets; several runs: discover-rl train -m {shlex.quote(argument)}"
        )


def _check_option(argument: str) -> None:
    from discover_rl.config import did_you_mean, is_dotted_path, plugin_names

    group, _, name = argument.partition("=")
    if not _is_group(argument) or not name or is_dotted_path(name):
        return
    allowed = _options(group.removeprefix("+"))
    if name in allowed:
        return
    if group in PLUGIN_GROUPS and name in plugin_names(PLUGIN_GROUPS[group]):
        raise ValueError(f"{group}={name}: {_why_not_loaded(group, name)}")
    raise ValueError(
        f"{group} is {name!r}{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}{_advice(group, name)}"
    )


def _advice(group: str, name: str) -> str:
    """How what is no option might be meant: as a Gymnasium id, or as something of one's own."""
    if group == "env" and re.search(r"-v\d+$", name):
        return f"; a Gymnasium environment is written env=gymnasium env.id={name}"
    if group in PLUGIN_GROUPS:
        return f"; one of your own is written {group}=package.module:Class"
    return ""


def _why_not_loaded(group: str, name: str) -> str:
    """What goes wrong with a plug-in that ``register_schemas`` has left out."""
    from discover_rl.config import schema_node
    from discover_rl.run_folder import SCHEMAS

    try:
        schema_node(SCHEMAS[group](name), name)
    except ValueError as error:
        return str(error)
    return "it could not be loaded at first, now it can; try again"


def _options(group: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    loader = GlobalHydra.instance().config_loader()
    plain = loader.get_group_options(group, ObjectType.CONFIG)
    nested = loader.get_group_options(group, ObjectType.GROUP)
    deeper = [f"{folder}/{name}" for folder in nested for name in _options(f"{group}/{folder}")]
    return [*filter(_is_shown, plain), *deeper]


def _is_shown(option: str) -> bool:
    from discover_rl.config import is_dotted_path

    return not option.endswith("_schema") and not is_dotted_path(option)


def check_key(argument: str, config: "DictConfig") -> None:
    """Say what is allowed if the key of ``KEY=VALUE`` is not one of the configuration.

    Raises:
        ValueError: If it is not, or the argument has no value.
    """
    from omegaconf import DictConfig, OmegaConf

    from discover_rl.config import did_you_mean

    if "=" not in argument:
        raise ValueError(f"{argument!r} is not an option; write KEY=VALUE, e.g. seeds=4")
    key = argument.split("=", 1)[0]
    if _is_group(argument) or key.startswith(("+", "~", "hydra")):
        return
    node, parent = config, ""
    for part in key.split("."):
        if isinstance(node, DictConfig) and node._get_node_flag("struct") is False:
            return  # a plain dict takes any key
        allowed = [str(name) for name in node] if isinstance(node, DictConfig) else []
        if part not in allowed:
            raise ValueError(
                f"unknown key {key}{did_you_mean(part, allowed)}; allowed{' under ' + parent if parent else ''}: "
                f"{', '.join(allowed) or 'nothing: it is a value'}"
            )
        assert isinstance(node, DictConfig)
        node, parent = None if OmegaConf.is_missing(node, part) else node[part], f"{parent}.{part}".lstrip(".")


def _first_sentence(error: BaseException) -> str:
    """The message of what went wrong first; Hydra and OmegaConf wrap it in messages of their own."""
    from omegaconf.errors import OmegaConfBaseException

    from discover_rl.config import value_sentence

    while error.__cause__ is not None and str(error.__cause__) not in ("", "None"):
        error = error.__cause__
    if isinstance(error, OmegaConfBaseException):
        return value_sentence(error)
    message = str(error)
    if found := re.match(r"In '(\w+)/(\w+)': ConfigKeyError[^\n]*\nKey '\w+' not in '\w+'\s+full_key: (\S+)", message):
        group, name, key = found.groups()
        part = key.split(".")[0]
        others = " (for discrete actions grid_world or bit_flip)" if part == "agent" else ""
        return (
            f"{group}={name} sets {key}, which your choice of {part} does not have; leave {group}= or {part}= out, "
            f"or take another {group}{others}"
        )
    if found := re.match(r"In '(\w+)/(.*)': Could not load '\w+/(\w+)_schema'", message):
        return f"{found[1]}={found[2]}: {_why_not_loaded(found[1], found[3])}"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith("Config search path")) or type(error).__name__


def composed(overrides: Sequence[str]) -> "TrainConfig":
    """The configuration that ``train`` would have with these overrides."""
    from hydra import compose, initialize_config_dir

    from discover_rl.run_folder import config_from_node

    register_schemas()
    register_dotted_paths(overrides)
    with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
        return config_from_node(compose("train", list(overrides)))
