"""What callers give at ``reset`` and ``step``, looked at before it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import logger, spaces
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.config import did_you_mean
from discover_rl.goals import Environment


def read_goal(
    options: Mapping[str, Any] | None, env: Environment, space: spaces.Space[Any], allowed: Sequence[str]
) -> Float[Tensor, "env goal"] | None:
    """The goals that a reset is given; None if it is given none.

    Args:
        options: Options of the reset.
        env: The environments.
        space: Space of one goal.
        allowed: Names of the options that the caller knows.

    Raises:
        ValueError: If an option is unknown, or the goals are not numbers, have the wrong shape or lie outside the
            goal space. Where the environment knows that no way leads to one of them, a warning.
    """
    options = options or {}
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(
            f"reset: no option named {unknown[0]!r}{did_you_mean(unknown[0], allowed)}; allowed: {', '.join(allowed)}"
        )
    if options.get("goal") is None:
        return None
    shapes = [(env.goal_space.dim,)] + [(env.num_envs, env.goal_space.dim)] * (env.num_envs > 1)
    try:
        goals = torch.as_tensor(options["goal"], dtype=torch.float32, device=env.device)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"reset: options['goal'] must be numbers of shape {' or '.join(map(str, shapes))}, got {options['goal']!r}"
        ) from error
    if tuple(goals.shape) not in shapes:
        raise ValueError(
            f"reset: options['goal'] has shape {tuple(goals.shape)}, expected {' or '.join(map(str, shapes))}"
        )
    assert isinstance(space, spaces.Box)
    low, high = (torch.from_numpy(bound).to(env.device) for bound in (space.low, space.high))
    if not bool(((goals >= low) & (goals <= high) & goals.isfinite()).all()):
        raise ValueError(
            f"reset: options['goal'] {goals.tolist()} lies outside the goal space, from {space.low.tolist()} to "
            f"{space.high.tolist()}" + (", without infinities and NaN" if not bool(goals.isfinite().all()) else "")
        )
    measure = getattr(env, "distance_to_target", None)
    if measure is not None and bool(measure(goals).isinf().any()):
        logger.warn(f"reset: options['goal'] {goals.tolist()} lies in a wall, or where no way leads")
    return goals.expand(env.num_envs, env.goal_space.dim)


def read_mask(options: Mapping[str, Any] | None, num_envs: int) -> Bool[np.ndarray, "env"] | None:
    """Which environments a reset is for, from ``options["reset_mask"]``; None for all of them.

    Raises:
        ValueError: If it is no array of ``num_envs`` bools, or holds no True.
    """
    given = (options or {}).get("reset_mask")
    if given is None:
        return None
    mask = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_:
        raise ValueError(
            f"reset: options['reset_mask'] must hold {num_envs} bools, got {mask.dtype} of shape {mask.shape}"
        )
    if not mask.any():
        raise ValueError("reset: options['reset_mask'] is False everywhere; name at least one environment")
    return mask


def read_action(given: Any, env: Environment, shape: tuple[int, ...]) -> Float[Tensor, "env act"]:  # noqa: ANN401
    """The action of each environment as a tensor on the device.

    Args:
        given: An array or tensor of this shape.
        env: The environments.
        shape: What the caller calls the shape of an action.

    Raises:
        ValueError: If the shape is wrong, or an action holds a NaN (looked at on the CPU only: on a GPU the
            answer would have to be waited for).
    """
    action = torch.as_tensor(given, dtype=torch.float32, device=env.device)
    if tuple(action.shape) != shape:
        raise ValueError(f"step: the action has shape {tuple(action.shape)}, expected {shape}")
    if env.device.type == "cpu" and bool(action.isnan().any()):
        raise ValueError(f"step: the action holds a NaN: {action.tolist()}; its numbers lie in [-1, 1]")
    return action.reshape(env.num_envs, env.action_dim)
