"""A grid world of any dimension: one cell along one axis a step, in the layouts of the point mazes.

Observation: the cell, n whole numbers, 0 at the start. Actions: the 2·n directions +x, -x, +y, -y, ..., as preferences,
the greatest of which is taken. A move into a wall leaves the agent where it is.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_envs.layout import UNREACHABLE, MazeLayout, check_name
from discover_rl.goals.environment import Step
from discover_rl.goals.spaces import DiscreteGoals

MOST_CELLS = 2**24  # walls are a table of all cells


@dataclass
class GridWorldConfig:
    """Settings of the grid world.

    Attributes:
        name: Name of the environment; leave it.
        layout: Name of a hand-drawn layout, path to a ``.npz`` or ``.txt`` file, or rows, as for the point maze.
        max_episode_steps: Time limit in steps.
    """

    name: str = "grid_world"
    layout: str = "u"
    max_episode_steps: int = 50

    def __post_init__(self) -> None:
        if self.max_episode_steps < 1:
            raise ValueError(f"grid world: max_episode_steps must be at least 1, got {self.max_episode_steps}")
        check_name(self.layout)


class GridWorld:
    """A vector of grid worlds: the contract is ``discover_rl.goals.Environment``.

    Episodes start in the middle or in a free cell beside it.

    Args:
        config: Settings.
        num_envs: Number of environments.
        device: Where every tensor lives.
        seed: Seed of the starts.

    Raises:
        ValueError: If the layout is bad or too large.
    """

    Config: ClassVar = GridWorldConfig
    discrete_actions = True

    def __init__(self, config: GridWorldConfig, num_envs: int, device: torch.device, seed: int) -> None:
        layout = self.layout = MazeLayout.from_name(config.layout)
        if layout.side**layout.dim > MOST_CELLS:
            raise ValueError(f"grid world: {layout.name} has more than {MOST_CELLS} cells; use env=point_maze")
        self.num_envs, self.device = num_envs, torch.device(device)
        self.observation_dim, self.action_dim = layout.dim, 2 * layout.dim
        self.max_episode_steps = config.max_episode_steps
        self.goal_space = DiscreteGoals(range(layout.dim))
        self.ends_early = self.terminate_on_success = False
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._free = torch.zeros([layout.side] * layout.dim, dtype=torch.bool, device=self.device)
        self._free[tuple(torch.from_numpy(layout.cells.T + layout.radius + 1))] = True
        self._steps = torch.full(self._free.shape, torch.inf, device=self.device)
        steps = torch.from_numpy(layout.distances_to_target()).float()
        steps = steps.masked_fill(steps == UNREACHABLE, torch.inf).to(self.device)
        self._steps[tuple(torch.from_numpy(layout.cells.T + layout.radius + 1))] = steps
        target = np.asarray(layout.target)
        near = (np.abs(layout.cells).sum(1) <= 1) & (layout.cells != target).any(1)
        self._starts = torch.from_numpy(layout.cells[near]).float().to(self.device)
        moves = torch.eye(layout.dim).repeat_interleave(2, 0)
        self._moves = (moves * torch.tensor([1.0, -1.0]).repeat(layout.dim)[:, None]).to(self.device)
        self._targets = torch.from_numpy(target).float().to(self.device).repeat(num_envs, 1)
        self._never = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.cell = torch.zeros(num_envs, layout.dim, device=self.device)
        self.reset()

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Start new episodes where ``mask`` is True."""
        draw = torch.rand(self.num_envs, device=self.device, generator=self.generator)
        start = self._starts[(draw * len(self._starts)).long().clamp_max(len(self._starts) - 1)]
        if mask is not None:
            start = torch.where(mask[:, None], start, self.cell)
        self.cell.copy_(start)
        return start

    def targets(self) -> Float[Tensor, "env goal"]:
        """The target cell, the same in every environment."""
        return self._targets

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Move in the direction with the greatest preference, unless a wall is there.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(
                f"grid world: action has shape {tuple(action.shape)}, expected {(self.num_envs, self.action_dim)}"
            )
        moved = self.cell + self._moves[action.argmax(-1)]
        cell = torch.where(self._at(self._free, moved)[:, None], moved, self.cell)
        self.cell.copy_(cell)
        return Step(cell, self._never, self._never)

    def distance_to_target(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead"]:
        """Number of moves to the target along the shortest way; +inf where there is none."""
        return self._at(self._steps, goal)

    def draw(self, axes: Any) -> None:  # noqa: ANN401 - a matplotlib Axes
        """Draw the first two dimensions: walls grey, the start a dot, the target a star."""
        free = self._free.flatten(2).any(-1) if self.layout.dim > 2 else self._free
        edge = self.layout.radius + 1.5
        axes.imshow(
            free.T.cpu().numpy(), cmap="gray", vmin=-0.8, vmax=1, origin="lower", extent=(-edge, edge, -edge, edge)
        )
        axes.plot(0, 0, "o", color="tab:blue", label="start")
        axes.plot(*self.layout.target[:2], "*", color="tab:red", markersize=12, label="target")

    def _at(self, table: Tensor, cell: Float[Tensor, "*lead goal"]) -> Tensor:
        shell = self.layout.radius + 1
        return table[tuple((cell.round().long() + shell).clamp(0, 2 * shell).unbind(-1))]
