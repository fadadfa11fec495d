"""A configuration from ``KEY=VALUE`` arguments, for verbs that need no Hydra."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discover_rl.config.mistakes import value_sentence
from discover_rl.config.plugins import did_you_mean
from discover_rl.config.schema import schema_node

Config = TypeVar("Config")


def from_overrides(schema: type[Config], arguments: Sequence[str], required: Sequence[str] = ()) -> Config:
    """Build a dataclass from its defaults and ``KEY=VALUE`` arguments; nested keys are written with dots.

    Args:
        schema: The dataclass; nested ones must have defaults.
        arguments: As typed.
        required: Keys that must be among them.

    Raises:
        ValueError: If an argument is no KEY=VALUE, a key is unknown, missing or given twice, or a value is not
            allowed.
    """
    node = schema_node(schema)
    given: set[str] = set()
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument!r} is not an option; write KEY=VALUE, e.g. {_example(schema)}")
        _check_key(node, key)
        if key in given:
            raise ValueError(f"{key} is given twice")
        given.add(key)
    for key in required:
        if key not in given:
            wanted = " ".join(f"{name}=..." for name in required)
            raise ValueError(f"{key} is not given; needed are {wanted}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(node, OmegaConf.from_dotlist(list(arguments))))  # type: ignore[return-value]
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(value_sentence(error)) from error


def _check_key(node: Any, key: str) -> None:  # noqa: ANN401 - a node or a value
    parent = ""
    for part in key.split("."):
        allowed = [str(name) for name in node] if isinstance(node, DictConfig) else []
        if part not in allowed:
            where = f" under {parent}" if parent else ""
            raise ValueError(
                f"unknown key {key}{did_you_mean(part, allowed)}; allowed{where}: "
                f"{', '.join(allowed) or 'nothing: it is a value'}"
            )
        node, parent = node[part], f"{parent}.{part}".lstrip(".")


def _example(schema: type) -> str:
    field = dataclasses.fields(schema)[0]
    return f"{field.name}={'...' if field.default in (dataclasses.MISSING, '') else field.default}"
