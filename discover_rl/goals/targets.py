"""Targets of one's own: fixed ones, several at once, a box of them, or whatever a function draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.config import load_object
from discover_rl.goals.environment import Environment, Step
from discover_rl.goals.space import GoalSpace

REDRAWS = 16  # times that a target which its start has solved is drawn anew

TargetDraw = Callable[[int, torch.Generator], Float[Tensor, "count goal"]]
"""Targets of so many episodes, on the device of the generator."""


def target_draw(target: Any, dim: int, device: torch.device) -> tuple[TargetDraw, bool]:  # noqa: ANN401 - see Args
    """What draws the targets that a configuration asks for.

    Args:
        target: One target ``[x, y]``; several ``[[x, y], [x, y]]``, each episode draws one of them;
            ``{low: [x, y], high: [x, y]}``, each episode draws one uniformly in between; or ``package.module:function``
            (or the function) that takes a count and a generator and returns targets of shape (count, dim).
        dim: Number of goal coordinates.
        device: Where targets are wanted.

    Returns:
        The draw, and whether targets differ from episode to episode.

    Raises:
        ValueError: If the target does not fit the goal space.
    """
    if isinstance(target, str):
        target = load_object(target)
    if callable(target):
        return _checked(target, dim), True
    if isinstance(target, Mapping):
        if set(target) != {"low", "high"}:
            raise ValueError(f"target: a box has the keys low and high, got {', '.join(map(str, target)) or 'none'}")
        low, high = (_numbers([target[key]], dim, device)[0] for key in ("low", "high"))
        if bool((low > high).any()):
            raise ValueError(f"target: low must not be above high, got {low.tolist()} and {high.tolist()}")
        return lambda count, generator: low + (high - low) * _uniform(count, dim, generator), True
    if isinstance(target, Sequence) and target and not isinstance(target[0], Sequence):
        target = [target]
    table = _numbers(target, dim, device)
    size = len(table)
    if size == 1:
        return lambda count, generator: table.expand(count, dim), False
    return lambda count, generator: table[
        (_uniform(count, 1, generator)[:, 0] * size).long().clamp_max(size - 1)  # float32 rounding may reach size
    ], True


def _uniform(count: int, dim: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, dim, device=generator.device, generator=generator)


def _numbers(rows: Any, dim: int, device: torch.device) -> Float[Tensor, "row goal"]:  # noqa: ANN401 - from YAML
    try:
        table = torch.tensor([[float(x) for x in row] for row in rows])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"target must be numbers [x, y], several such lists, a box {{low: [...], high: [...]}}, or "
            f"package.module:function; got {rows!r}"
        ) from error
    if table.dim() != 2 or table.shape[1] != dim or not all(map(math.isfinite, table.flatten().tolist())):
        raise ValueError(f"target: the goal space has {dim} coordinates; give {dim} finite numbers, got {rows!r}")
    return table.to(device)


def _checked(draw: Callable[..., Any], dim: int) -> TargetDraw:
    def checked(count: int, generator: torch.Generator) -> Tensor:
        drawn = draw(count, generator)
        if not isinstance(drawn, Tensor) or drawn.shape != (count, dim) or drawn.dtype != torch.float32:
            given = f"{drawn.dtype} {tuple(drawn.shape)}" if isinstance(drawn, Tensor) else type(drawn).__name__
            raise ValueError(f"target: the function must return float32 of shape {(count, dim)}, got {given}")
        return drawn

    return checked


class Retargeted:
    """An environment under another goal space, with other targets, or with both; the contract is the same.

    A target that its start has solved is drawn anew, some times over.

    Args:
        env: The environment; its own reset must have been called.
        space: The goal space.
        target: See ``target_draw``; None keeps the environment's own targets.
    """

    def __init__(self, env: Environment, space: GoalSpace, target: Any) -> None:  # noqa: ANN401 - see target_draw
        self.env, self.goal_space = env, space
        self.num_envs, self.device, self.generator = env.num_envs, env.device, env.generator
        self.observation_dim, self.action_dim = env.observation_dim, env.action_dim
        self.max_episode_steps = env.max_episode_steps
        self.ends_early, self.terminate_on_success = env.ends_early, env.terminate_on_success
        self.capturable = getattr(env, "capturable", True)
        self.discrete_actions = getattr(env, "discrete_actions", False)
        self.observation_scale = getattr(env, "observation_scale", None)
        if self.observation_scale is not None:  # what a goal may be, if observations are of this size
            size = space.achieved(self.observation_scale).abs()
            self.goal_scale = torch.where(size > 0, size, 1.0)
        if hasattr(env, "monitor"):
            self.monitor = env.monitor  # type: ignore[attr-defined]
        self._draw, self.targets_vary = None, getattr(env, "targets_vary", None)
        if target is not None:
            self._draw, self.targets_vary = target_draw(target, space.dim, env.device)
        self._targets = torch.zeros(env.num_envs, space.dim, device=env.device)

    @property
    def invalid_actions(self) -> Bool[Tensor, "env"] | None:
        """As the environment's own, if it has any."""
        return getattr(self.env, "invalid_actions", None)

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """See ``Environment``."""
        observation = self.env.reset(mask)
        if self._draw is None:
            self._targets.copy_(self.env.targets())
            return observation
        achieved = self.goal_space.achieved(observation)
        targets = self._draw(self.num_envs, self.generator)
        for _ in range(REDRAWS if self.targets_vary else 0):  # as often every time: a captured call cannot branch
            solved = self.goal_space.success(achieved, targets)
            targets = torch.where(solved[:, None], self._draw(self.num_envs, self.generator), targets)
        self._targets.copy_(targets if mask is None else torch.where(mask[:, None], targets, self._targets))
        return observation

    def targets(self) -> Float[Tensor, "env goal"]:
        """See ``Environment``."""
        return self._targets.clone()

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """See ``Environment``."""
        return self.env.step(action)
