"""An environment of someone else's with goals and targets of one's own."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from discover_rl.goals.cells import CellMap
from discover_rl.goals.environment import Environment, Step
from discover_rl.goals.space import GoalSpace
from discover_rl.goals.targets import target_draw

REDRAWS = 16  # times that a target which its start has solved, or that start, is drawn anew


class Retargeted:
    """An environment under another goal space, with other targets, or with both; the contract is the same.

    A target that its start has solved is drawn anew, some times over; so is the start, where that can be asked (not
    within a CUDA graph, where such an episode stays as it is). What the environment offers beyond the contract is
    offered here as far as it still holds: a map and cells where goals are coordinates that the environment knows, its
    true distances where the targets are its own.

    Args:
        env: The environment; its own reset must have been called.
        space: The goal space.
        target: See ``target_draw``; None keeps the environment's own targets.

    Raises:
        ValueError: If the environment has a view of its own goals (see ``View``) and the goal space has others, or
            knows that no way leads to the target.
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
        self._draw, self.targets_vary = None, getattr(env, "targets_vary", None)
        if target is not None:
            self._draw, self.targets_vary = target_draw(target, space.dim, env.device)
        self._targets = torch.zeros(env.num_envs, space.dim, device=env.device)
        self._given = None  # the target of all episodes, if it is one that was given
        if self._draw is not None and not self.targets_vary:
            self._given = self._draw(1, self.generator)[0].tolist()
        self._offer()

    def _offer(self) -> None:
        """Take over what the environment offers beyond the contract, as far as it still holds."""
        same = _same_coordinates(self.goal_space, self.env)
        offers = {
            **dict.fromkeys(("monitor", "close", "observation_bounds", "step_seconds")),
            **dict.fromkeys(("begin_step", "simulate", "end_step")),  # see Simulated
            "render": partial(self._render, same == self.goal_space.dim),
            **({"draw": self._draw_map} if same >= 2 else {}),
        }
        if same == self.goal_space.dim:
            offers |= {"cell_map": self._cell_map, "state_at": None, "view": None}
            offers |= {} if self._draw else {"distance_to_target": None}
            self._check_target()
        elif hasattr(self.env, "view"):
            raise ValueError(
                f"{type(self.env).__name__} shows networks where its own goals lie, and goal_space has others "
                f"({self.goal_space.dim} coordinates); switch its view off (the ant's by env.egocentric=false), or "
                "leave goal_space out"
            )
        for name, changed in offers.items():
            if hasattr(self.env, name):
                setattr(self, name, changed or getattr(self.env, name))

    def _check_target(self) -> None:
        """Refuse a target that was given if the environment knows that no way leads there."""
        measure = getattr(self.env, "distance_to_target", None)
        if measure is None or self._given is None:
            return
        if bool(measure(torch.tensor([self._given], device=self.device)).isinf().any()):
            raise ValueError(
                f"target={self._given}: no way leads there in {type(self.env).__name__}, it lies in a wall or outside; "
                "move it to a free place"
            )

    def _render(
        self, known: bool, index: int, goal: Float[Tensor, "goal"], width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        """As the environment; a goal of coordinates that it does not know is not marked, but its own target."""
        env: Any = self.env
        return env.render(index, goal if known else env.targets()[index], width, height)

    def _draw_map(self, axes: Any, coordinates: tuple[int, int] = (0, 1)) -> None:  # noqa: ANN401 - a matplotlib Axes
        """As the environment, with the target that was given in place of its own."""
        env: Any = self.env
        env.draw(axes, **({} if coordinates == (0, 1) else {"coordinates": coordinates}))
        if self._draw is None:
            return
        for line in [line for line in axes.lines if line.get_label() in ("target", "_target")]:
            line.remove()
        if self._given is not None:
            target = [[self._given[axis]] for axis in coordinates]
            axes.plot(*target, "*", color="tab:red", markersize=12, label="target")

    def _cell_map(self) -> CellMap:
        """As the environment's, the target the one that was given."""
        env: Any = self.env
        cells: CellMap = env.cell_map()
        if self._draw is None:
            return cells
        if self._given is None:
            return replace(cells, target=None)
        place = cells.to_cells(torch.tensor(self._given, device=self.device))
        return replace(cells, target=tuple(int(cell) for cell in place.round().tolist()))

    @property
    def invalid_actions(self) -> Bool[Tensor, "env"] | None:
        """As the environment's own, if it has any."""
        return getattr(self.env, "invalid_actions", None)

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """See ``Environment``."""
        observation = self._begin(mask)
        asks = not (self.capturable or (self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()))
        for _ in range(REDRAWS if asks else 0):
            solved = self.goal_space.success(self.goal_space.achieved(observation), self._targets)
            solved = solved if mask is None else solved & mask
            if not bool(solved.any()):
                break
            observation = self._begin(solved)
        return observation

    def _begin(self, mask: Bool[Tensor, "env"] | None) -> Float[Tensor, "env obs"]:
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


def _same_coordinates(space: GoalSpace, env: Environment) -> int:
    """How many of the first coordinates of a goal are those of the environment's own goal space."""
    own = getattr(env, "goal_space", None)
    if own is None or own is space:
        return 0 if own is None else space.dim
    probe = torch.randn(8, env.observation_dim, generator=torch.Generator().manual_seed(0)).to(env.device)
    common = min(space.dim, own.dim)
    same = (space.achieved(probe)[:, :common] == own.achieved(probe)[:, :common]).all(0)
    count = int(same.long().cumprod(0).sum())
    return count if space.dim == own.dim else min(count, space.dim - 1, own.dim)
