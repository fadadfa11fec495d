"""The N-D point maze: a point moves in a maze of any dimension, every coordinate by up to half a cell a step.

Observation: the position, n coordinates in cells. Action: the direction, n numbers in [-1, 1]. The rule is
``x' = x + step_size * clip(action, -1, 1)``; if the cell ``trunc(x')`` is wall the whole move is cancelled.
Only the end point is tested, so a diagonal move may cut a corner.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from discover_envs.layout import FILE_SUFFIXES, UNREACHABLE, MazeLayout, check_name, generate
from discover_rl.goals.cells import CellMap
from discover_rl.goals.environment import Step
from discover_rl.goals.space import BoxGoals

GENERATED = "generated"
DENSE_LIMIT = 2**24  # largest number of cells for which a table of all cells is kept: 16 MiB of bool


@dataclass
class PointMazeConfig:
    """Settings of the point maze.

    Raises:
        ValueError: If a value is out of range or the layout is unknown.
    """

    name: str = "point_maze"
    """Name of the environment; leave it."""
    layout: str = "u"
    """Name of a hand-drawn 2-D layout, path to a ``.npz`` or ``.txt`` file, ``generated``, or the rows of a maze in one
    text, a line each."""
    dim: int = 2
    """Number of dimensions of a generated maze, at least 2. Other layouts bring their own: if set at all, to theirs."""
    radius: int = 10
    """Radius of a generated maze in cells, at least 1. Other layouts bring their own: if set at all, to theirs."""
    corridors: int = 5
    """Corridors of a generated maze, at least 1; the first leads to the target."""
    dead_ends: int = 4
    """Short branches off the corridors of a generated maze."""
    layout_seed: int = 0
    """Seed of a generated maze, 0 for other layouts; the seed of the run does not change the maze."""
    max_episode_steps: int = 100
    """Time limit in steps."""
    success_radius: float = 0.5
    """Euclidean distance in cells within which a goal counts as reached."""
    step_size: float = 0.5
    """Largest move along each axis in one step, in cells, above 0 and at most 1."""
    start_noise: float = 0.1
    """Half-width of the cube round the origin in which episodes start, in cells, above 0 and below 1."""

    def __post_init__(self) -> None:
        least = {
            "dim": 2,
            "radius": 1,
            "corridors": 1,
            "dead_ends": 0,
            "layout_seed": 0,
            "max_episode_steps": 1,
        }
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ValueError(f"point maze: {key} must be at least {bound}, got {getattr(self, key)}")
        if not 0 < self.step_size <= 1:
            raise ValueError(f"point maze: step_size must be above 0 and at most 1, got {self.step_size}")
        if not 0 < self.start_noise < 1:
            raise ValueError(f"point maze: start_noise must be above 0 and below 1, got {self.start_noise}")
        if not 0 < self.success_radius < math.inf:
            raise ValueError(f"point maze: success_radius must be positive and finite, got {self.success_radius}")
        if self.layout == GENERATED:
            return
        check_name(self.layout)
        if self.dim != 2 and not self.layout.endswith(FILE_SUFFIXES):
            raise ValueError(
                f"point maze: layout {self.layout!r} is 2-D but dim is {self.dim}; for a maze of "
                f"{self.dim} dimensions set layout={GENERATED}"
            )


class PointMaze:
    """A vector of point mazes: the contract is ``discover_rl.goals.Environment``, the rule above.

    ``step`` and ``reset`` read nothing back from the device and have fixed shapes, so they can be captured in
    a CUDA graph; register ``generator`` with a graph that captures ``reset``. Returned observations are new
    tensors; the returned masks and targets are shared and must not be written to.

    Observation, n numbers in a maze of n dimensions and radius r; the goal is the same n numbers:

    | Num | Observation | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | i = 0 … n-1 | position along axis i; the start is at 0 | -(r+1) | r+1 | ``x{i}`` | cell |

    Action, n numbers:

    | Num | Action | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | i = 0 … n-1 | move along axis i | -1 | 1 | ``a{i}`` | ``step_size`` cells, half a cell by default |

    A goal is reached within ``success_radius``, 0.5 cells by default, Euclidean. An episode ends by the time limit
    only: 100 steps by default.

    Args:
        config: Settings.
        num_envs: Number of environments, at least 1.
        device: Where every tensor lives.
        seed: Seed of the starts.

    Attributes:
        layout: The maze.
        position: Where each environment is; part of a checkpoint together with ``generator``.
        invalid_actions: True for every environment that has been given a NaN since the flag was last cleared.
            Such an action does not move the point. The training loop reads the flag when it logs.

    Raises:
        ValueError: If ``num_envs`` is not positive, the layout is bad or not what ``dim`` or ``radius`` say, or a start
            may lie within the success radius of the target.
        FileNotFoundError: If the layout file is not there.
    """

    Config: ClassVar = PointMazeConfig

    def __init__(self, config: PointMazeConfig, num_envs: int, device: torch.device, seed: int) -> None:
        if num_envs < 1:
            raise ValueError(f"point maze: num_envs must be at least 1, got {num_envs}")
        self.layout = _build_layout(config)
        _check_start(self.layout, config)
        self.config = config
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.observation_dim = self.action_dim = self.start_numbers = self.layout.dim
        self.max_episode_steps = config.max_episode_steps
        self.goal_space = BoxGoals(range(self.layout.dim), config.success_radius)
        self.ends_early = False
        self.terminate_on_success = False
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._build_tables()
        self._targets = torch.tensor(self.layout.target, dtype=torch.float32, device=self.device).repeat(num_envs, 1)
        self._never = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.invalid_actions = torch.zeros_like(self._never)
        self.position = torch.zeros(num_envs, self.layout.dim, device=self.device)
        self.reset()

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Start new episodes where ``mask`` is True (everywhere if None).

        Starts are uniform in a cube round the origin. One start is drawn for every environment whatever the
        mask, so a draw never depends on which episodes ended.

        Returns:
            All positions, in cells.

        Raises:
            ValueError: If the shape of ``mask`` is wrong.
        """
        if mask is not None and mask.shape != (self.num_envs,):
            raise ValueError(f"point maze: mask has shape {tuple(mask.shape)}, expected {(self.num_envs,)}")
        return self.reset_from(torch.rand(self.position.shape, generator=self.generator, device=self.device), mask)

    def reset_from(
        self, numbers: Float[Tensor, "env number"], mask: Bool[Tensor, "env"] | None = None
    ) -> Float[Tensor, "env obs"]:
        """As ``reset``, each coordinate of a start from a number uniform in [0, 1)."""
        noise = self.config.start_noise
        start = numbers.mul(2 * noise).sub_(noise)
        if mask is not None:
            start = torch.where(mask[:, None], start, self.position)
        self.position.copy_(start)
        return start

    def observation_bounds(self) -> tuple[Float[Tensor, "obs"], Float[Tensor, "obs"]]:
        """From -r-1 to r+1: the inner faces of the shell."""
        reach = torch.full((self.observation_dim,), self.layout.radius + 1.0, device=self.device)
        return -reach, reach

    def targets(self) -> Float[Tensor, "env goal"]:
        """The target cell's own coordinates, the same in every environment."""
        return self._targets

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Move every point, unless the end of its move lies in a wall or its action holds a NaN.

        Args:
            action: Direction; values beyond [-1, 1] are clipped.

        Returns:
            The positions after the step, in cells; no episode ever ends by itself.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        if action.shape != self.position.shape:
            raise ValueError(
                f"point maze: action has shape {tuple(action.shape)}, expected (num_envs, action_dim) = "
                f"{tuple(self.position.shape)}"
            )
        action = action.clamp(-1, 1)
        invalid = action.sum(-1).isnan()  # a finite sum after clipping: only a NaN in the action makes it NaN
        self.invalid_actions.logical_or_(invalid)
        moved = torch.add(self.position, action, alpha=self.config.step_size)
        allowed = self.is_free(self.cells_of(moved)) & ~invalid
        observation = torch.where(allowed[:, None], moved, self.position)
        # In place for CUDA graphs, and a copy: what is returned must outlive the next step.
        self.position.copy_(observation)
        return Step(observation, self._never, self._never)

    def cells_of(self, position: Float[Tensor, "*lead obs"]) -> Int64[Tensor, "*lead obs"]:
        """Cells of positions: truncated towards zero, and drawn to the shell where beyond it."""
        shell = self.layout.radius + 1
        # Clamped as integers: what a NaN becomes differs by device, but every integer is brought inside here.
        return position.long().clamp_(-shell, shell)

    def is_free(self, cells: Int64[Tensor, "*lead obs"]) -> Bool[Tensor, "*lead"]:
        """Whether cells, given by coordinates from -r-1 to r+1, are free."""
        keys = self._keys_of(cells)
        if self._free_table is not None:
            return _is_free_dense(keys, self._free_table)
        return _is_free_sparse(keys, self._free_keys)

    def distance_to_target(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead"]:
        """Cells from the goal's cell to the target's divided by ``step_size``: environment steps.

        Cells are counted along the shortest way by moves of one cell along one axis. Within a corridor this
        is the number of steps of full size, up to the two cells at its ends and cell 0, which is two units
        wide; where a diagonal move saves a corner it is too large. It is not a bound in either direction.

        Returns:
            Steps; +inf in walls, outside the maze, and where the target cannot be reached.
        """
        keys = self._keys_of(self.cells_of(goal))
        index = _position_among(keys, self._free_keys)
        return self._steps_to_target[index].masked_fill(self._free_keys[index] != keys, math.inf)

    def draw(self, axes: Any, coordinates: tuple[int, int] = (0, 1)) -> None:  # noqa: ANN401 - a matplotlib Axes
        """Draw the maze on a matplotlib ``Axes``; beyond 2-D, seen along all but two coordinates.

        Walls are grey and free cells white. Beyond 2-D a column of cells is the lighter the more of them
        are free. The start is a dot, the target a star inside its success radius.
        """
        layout, radius = self.layout, self.layout.radius
        free = np.zeros((layout.side, layout.side))
        np.add.at(free, tuple((layout.cells[:, list(coordinates)] + radius + 1).T), 1.0)
        # Free cells span 0.75 to 1 and walls are grey, so that one free cell in ten dimensions still shows.
        shade = np.where(free > 0, 0.75 + 0.25 * free / free.max(), 0.45)
        ends = np.arange(1, radius + 3)
        edges = np.concatenate([-ends[::-1], ends])  # cell 0 reaches from -1 to 1
        axes.pcolormesh(edges, edges, shade.T, cmap="gray", vmin=0, vmax=1)
        axes.plot(0, 0, "o", color="tab:blue", label="start")
        target = [layout.target[i] for i in coordinates]
        axes.plot(*target, "*", color="tab:red", markersize=12, label="target")
        around = np.linspace(0, 2 * np.pi, 65)
        reach = self.goal_space.radius
        axes.plot(
            target[0] + reach * np.cos(around),
            target[1] + reach * np.sin(around),
            color="tab:red",
            label="_target",  # not in legends
        )
        axes.set_aspect("equal")

    def cell_map(self) -> CellMap:
        """The maze in cells. Cell 0 is two units wide along each axis and the others one."""

        def to_cells(goal: Tensor) -> Tensor:
            return torch.where(goal.abs() <= 1, goal / 2, goal - goal.sign() / 2)

        def from_cells(cells: Tensor) -> Tensor:
            return torch.where(cells.abs() <= 0.5, cells * 2, cells + cells.sign() / 2)

        free = frozenset(tuple(cell) for cell in self.layout.cells.tolist())
        return CellMap(free, self.layout.target, to_cells, from_cells)

    def state_at(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead obs"]:
        """The goal itself: a position is all there is."""
        return goal

    def _keys_of(self, cells: Int64[Tensor, "*lead obs"]) -> Int64[Tensor, "*lead"]:
        return (cells * self._strides).sum(-1) + self._origin_key

    def _build_tables(self) -> None:
        """Put the free cells, their distances and, if it is small, the table of all cells on the device."""
        layout = self.layout
        self._strides = torch.from_numpy(layout.strides).to(self.device)
        self._origin_key = int(layout.strides.sum()) * (layout.radius + 1)
        self._free_keys = torch.from_numpy(layout.keys).to(self.device)
        cells = torch.from_numpy(layout.distances_to_target()).to(self.device, torch.float32)
        self._steps_to_target = (cells / self.config.step_size).masked_fill(cells == UNREACHABLE, math.inf)
        self._free_table = None
        if layout.side**layout.dim <= DENSE_LIMIT:
            self._free_table = torch.zeros(layout.side**layout.dim, dtype=torch.bool, device=self.device)
            self._free_table[self._free_keys] = True


def _is_free_dense(keys: Int64[Tensor, "*lead"], table: Bool[Tensor, "all_cells"]) -> Bool[Tensor, "*lead"]:
    return table[keys]


def _is_free_sparse(keys: Int64[Tensor, "*lead"], free_keys: Int64[Tensor, "cell"]) -> Bool[Tensor, "*lead"]:
    return free_keys[_position_among(keys, free_keys)] == keys


def _position_among(keys: Int64[Tensor, "*lead"], free_keys: Int64[Tensor, "cell"]) -> Int64[Tensor, "*lead"]:
    """Where each key would stand among the sorted free keys, kept inside their range."""
    return torch.searchsorted(free_keys, keys).clamp_(max=len(free_keys) - 1)


def _build_layout(config: PointMazeConfig) -> MazeLayout:
    if config.layout == GENERATED:
        return generate(config.dim, config.radius, config.corridors, config.dead_ends, config.layout_seed)
    layout = MazeLayout.from_name(config.layout)
    _check_agrees(layout, config)
    return layout


def _check_agrees(layout: MazeLayout, config: PointMazeConfig) -> None:
    """Raise ``ValueError`` if what is set for a generated maze is not so in the layout that is taken instead.

    A value that is the default may not have been given at all, so it contradicts nothing.
    """
    given = repr(config.layout) if config.layout.endswith(FILE_SUFFIXES) else f"layout {layout.name!r}"
    what = f"{given}, a {layout.dim}-D maze of radius {layout.radius}"
    for key in ("dim", "radius"):
        value = getattr(config, key)
        if value not in (getattr(layout, key), getattr(PointMazeConfig, key)):
            raise ValueError(
                f"point maze: {key}={value} contradicts {what}; leave {key} out (env=point_maze sets none, "
                f"env=point_maze/4d does), or set layout={GENERATED}"
            )
    for key in ("corridors", "dead_ends", "layout_seed"):
        value = getattr(config, key)
        if value != getattr(PointMazeConfig, key):
            raise ValueError(
                f"point maze: {key}={value} draws nothing with {what}; leave {key} out, or set layout={GENERATED}"
            )


def _check_start(layout: MazeLayout, config: PointMazeConfig) -> None:
    """Raise ``ValueError`` if a start could already have reached the target."""
    nearest = math.sqrt(sum(max(0.0, abs(x) - config.start_noise) ** 2 for x in layout.target))
    if nearest <= config.success_radius:
        raise ValueError(
            f"point maze: the target {layout.target} lies {nearest:.2f} from the nearest start, within the "
            f"success radius {config.success_radius}; lower success_radius or start_noise, or move the target"
        )
