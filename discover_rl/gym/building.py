"""From the name of a plug-in and keyword arguments to an environment and its spaces."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np
import torch
from gymnasium import spaces

from discover_rl.config import did_you_mean, load_plugin, pick_device
from discover_rl.goals import BoxGoals, Environment, EnvironmentFactory, check_starts

GROUP = "discover_rl.environments"


def build_environment(
    env: str | EnvironmentFactory,
    config: Any,  # noqa: ANN401 - the environment's own dataclass, or None
    settings: Mapping[str, Any],
    num_envs: int,
    device: str,
) -> Environment:
    """Build the environment that stands behind a face.

    Args:
        env: Name of a plug-in, or a factory.
        config: Its configuration; the factory's defaults if None.
        settings: Fields of the configuration to change.
        num_envs: Number of environments.
        device: Name of the device.

    Raises:
        ValueError: If the plug-in, a setting or the device is unknown, or what is built breaks the contract.
    """
    factory: EnvironmentFactory = load_plugin(GROUP, env) if isinstance(env, str) else env
    name = env if isinstance(env, str) else getattr(env, "__name__", "environment")
    base = factory.Config() if config is None else config
    allowed = [field.name for field in dataclasses.fields(base) if field.name != "name"]
    unknown = sorted(set(settings) - set(allowed))
    if unknown:
        raise ValueError(
            f"environment {name!r}: no setting named {unknown[0]!r}{did_you_mean(unknown[0], allowed)}; allowed: "
            f"{', '.join(allowed)}"
        )
    _check_types(type(base), settings, name)
    built = factory(dataclasses.replace(base, **settings), num_envs, pick_device(device), 0)
    check_starts(built, name)
    return built


def _check_types(config: type, settings: Mapping[str, Any], name: str) -> None:
    """Compare settings with the plain types of their fields; whatever else there is the configuration checks itself."""
    hints = get_type_hints(config)
    plain = {bool: (bool, np.bool_), int: (int, np.integer), float: (int, float, np.integer, np.floating), str: (str,)}
    called = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    for key, value in settings.items():
        wanted = hints.get(key)
        odd = isinstance(value, bool) and wanted is not bool  # True is a whole number to Python
        if wanted in plain and (odd or not isinstance(value, plain[wanted])):
            raise ValueError(f"environment {name!r}: {key} is {value!r}; it must be {called[wanted]}")


def observation_space(env: Environment) -> spaces.Dict:
    """The dictionary of observation, achieved_goal and desired_goal of one environment.

    Bounds are finite where the environment knows them; those of goals follow where goals are coordinates.
    """
    low = torch.full((env.observation_dim,), -torch.inf)
    high = -low
    known = getattr(env, "observation_bounds", None)
    if known is not None:
        low, high = (bound.cpu() for bound in known())
    if isinstance(env.goal_space, BoxGoals):
        goal_low, goal_high = env.goal_space.achieved(low), env.goal_space.achieved(high)
    else:
        goal_low = torch.full((env.goal_space.dim,), -torch.inf)
        goal_high = -goal_low
    return spaces.Dict(
        {
            "observation": _box(low, high),
            "achieved_goal": _box(goal_low, goal_high),
            "desired_goal": _box(goal_low, goal_high),
        }
    )


def action_space(env: Environment) -> spaces.Box:
    """The cube [-1, 1] of one environment."""
    return spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32)


def _box(low: torch.Tensor, high: torch.Tensor) -> spaces.Box:
    return spaces.Box(low.numpy().astype(np.float32), high.numpy().astype(np.float32), dtype=np.float32)
