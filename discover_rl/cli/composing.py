"""From arguments to a configuration by Hydra, with sentences for mistakes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from discover_rl.config import TrainConfig


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
    from discover_rl.config import TrainConfig, UnknownPluginError, load_plugin, plugin_names, schema_node
    from discover_rl.selectors import SELECTORS

    store = ConfigStore.instance()
    store.store(name="train_schema", node=schema_node(TrainConfig))
    for name, selector in SELECTORS.items():
        store.store(group="selector", name=name, node=schema_node(selector))
    for name, agent in AGENT_CONFIGS.items():
        store.store(group="agent", name=name, node=schema_node(agent))
    for name in plugin_names("discover_rl.environments"):
        try:
            schema = load_plugin("discover_rl.environments", name).Config
        except UnknownPluginError as error:
            print(f"discover-rl: warning: {error}", file=sys.stderr)
            continue
        store.store(group="env", name=f"{name}_schema", node=schema_node(schema))


def without_printing_flags(arguments: list[str]) -> list[str]:
    """The arguments without ``--cfg KIND`` and ``--resolve``, which change nothing of what is composed."""
    flags = ("--cfg", "-c")
    after_flag = {i + 1 for i, argument in enumerate(arguments) if argument in flags}
    return [a for i, a in enumerate(arguments) if a not in (*flags, "--resolve") and i not in after_flag]


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
    return argument.split("=", 1)[0] in ("env", "selector", "agent", "experiment", "+experiment")


def _check_option(argument: str) -> None:
    from discover_rl.config import did_you_mean

    group, _, name = argument.partition("=")
    if not _is_group(argument) or not name:
        return
    allowed = _options(group.removeprefix("+"))
    if name not in allowed:
        raise ValueError(f"{group} is {name!r}{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")


def _options(group: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    loader = GlobalHydra.instance().config_loader()
    plain = loader.get_group_options(group, ObjectType.CONFIG)
    nested = loader.get_group_options(group, ObjectType.GROUP)
    deeper = [f"{folder}/{name}" for folder in nested for name in _options(f"{group}/{folder}")]
    return [*(name for name in plain if not name.endswith("_schema")), *deeper]


def check_key(argument: str, config: "DictConfig") -> None:
    """Say what is allowed if the key of ``KEY=VALUE`` is not one of the configuration.

    Raises:
        ValueError: If it is not, or the argument has no value.
    """
    from omegaconf import DictConfig

    from discover_rl.config import did_you_mean

    if "=" not in argument:
        raise ValueError(f"{argument!r} is not an option; write KEY=VALUE, e.g. seeds=4")
    key = argument.split("=", 1)[0]
    if _is_group(argument) or key.startswith(("+", "~", "hydra")):
        return
    node, parent = config, ""
    for part in key.split("."):
        allowed = [str(name) for name in node] if isinstance(node, DictConfig) else []
        if part not in allowed:
            raise ValueError(
                f"unknown key {key}{did_you_mean(part, allowed)}; allowed{' under ' + parent if parent else ''}: "
                f"{', '.join(allowed) or 'nothing: it is a value'}"
            )
        node, parent = node[part], f"{parent}.{part}".lstrip(".")


def _first_sentence(error: BaseException) -> str:
    """The message of what went wrong first; Hydra and OmegaConf wrap it in messages of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    listed = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return "; ".join(line for line in listed if not line.startswith("Config search path")) or type(error).__name__


def composed(overrides: Sequence[str]) -> "TrainConfig":
    """The configuration that ``train`` would have with these overrides."""
    from hydra import compose, initialize_config_dir

    from discover_rl.run_folder import config_from_node

    register_schemas()
    with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
        return config_from_node(compose("train", list(overrides)))
