"""The environment: a body in a maze, simulated by one of the two steppers."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import math
from typing import TYPE_CHECKING, Any, ClassVar

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from discover_envs.layout import generate
from discover_envs.mujoco_maze.body import Body
from discover_envs.mujoco_maze.config import GENERATED, MujocoMazeConfig
from discover_envs.mujoco_maze.full_state import FullStateGoals
from discover_envs.mujoco_maze.grid import UNREACHABLE, GridLayout
from discover_envs.mujoco_maze.model import Physics, build_model, half_width
from discover_envs.mujoco_maze.stepper import make_stepper
from discover_rl.goals.cells import CellMap
from discover_rl.goals.environment import Step
from discover_rl.goals.space import BoxGoals, GoalSpace

if TYPE_CHECKING:
    from discover_envs.mujoco_maze.camera import Camera

SETTLING = 2.0  # seconds after which a body dropped at its start rests


class MujocoMaze:
    """A vector of MuJoCo mazes: the contract is ``discover_rl.goals.Environment``. Subclasses name their body.

    An observation is ``qpos`` and ``qvel`` side by side, and what a subclass adds; so x and y are its first two
    numbers, in metres. Nothing is read back from the device within ``step`` and ``reset``. A world whose simulation has
    diverged, or whose body has come to lie on a wall or outside the maze, is cut (``truncated``); the observation then
    is the last good one.

    Args:
        config: Settings.
        num_envs: Number of worlds, at least 1.
        device: Where every tensor lives.
        seed: Seed of starts and targets.

    Attributes:
        grid: The maze.
        model: The MuJoCo model.
        step_seconds: Simulated time of an environment step.
        invalid_actions: True for every world that has been given a nan since the flag was last cleared; a nan acts
            as zero.

    Raises:
        ValueError: If ``num_envs`` is not positive, the layout is bad, a start may lie within the success radius of the
            target, or cells are too small for the body.
        FileNotFoundError: If the layout file is not there.
    """

    Config: ClassVar[type[Any]] = MujocoMazeConfig
    body: ClassVar[Body]
    start_numbers: ClassVar[int] = 6  # two places of two coordinates, two choices of a cell

    def __init__(self, config: MujocoMazeConfig, num_envs: int, device: torch.device, seed: int) -> None:
        self._what = config.name.replace("_", " ")
        if num_envs < 1:
            raise ValueError(f"{self._what}: num_envs must be at least 1, got {num_envs}")
        self.config, self.num_envs, self.device = config, num_envs, torch.device(device)
        self.grid = _build_grid(config)
        _check_start(self.grid, config, self._what)
        physics = Physics(config.timestep, config.integrator, config.cone, config.iterations, config.ls_iterations)
        self.model = build_model(
            self.body, self.grid, config.cell_size, config.wall_height, config.success_radius, physics
        )
        _check_room(self.grid, config, half_width(self.model), self._what)
        self.observation_dim, self.action_dim = len(self.body.names), self.model.nu
        self.max_episode_steps = config.max_episode_steps
        self.step_seconds = config.frame_skip * config.timestep
        self.ends_early, self.terminate_on_success = True, False
        self.capturable = False  # but for ``simulate``, on the GPU a CUDA graph of its own, it could be
        self.targets_vary = config.random_targets or config.target_noise > 0
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.goal_space = self._make_goal_space()
        xy_scale = config.xy_scale or min(config.cell_size, 2 * config.success_radius)
        self.observation_scale = torch.tensor([xy_scale] * 2 + list(self.body.scales), device=self.device)
        self.goal_scale = self.observation_scale[: self.goal_space.dim]
        self._build_tables()
        self._state = torch.zeros(num_envs, self.model.nq + self.model.nv, device=self.device)
        self._targets = torch.zeros(num_envs, self.goal_space.dim, device=self.device)
        self._never = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.invalid_actions = self._never.clone()
        self._diverged = torch.zeros(num_envs, device=self.device)
        self._escaped = self._diverged.clone()
        self._camera: Camera | None = None
        self._stepper = make_stepper(
            self.model,
            num_envs,
            config.frame_skip,
            self.device,
            config.backend,
            config.num_threads,
            config.nconmax,
            config.njmax,
        )
        self.reset()

    # -- the contract ------------------------------------------------------------------------------------

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Start new episodes where ``mask`` is True (everywhere if None), at rest, in the pose of the model.

        One start and one target is drawn for every world whatever the mask.

        Raises:
            ValueError: If the shape of ``mask`` is wrong.
        """
        if mask is not None and mask.shape != (self.num_envs,):
            raise ValueError(f"{self._what}: mask has shape {tuple(mask.shape)}, expected {(self.num_envs,)}")
        shape = (self.num_envs, self.start_numbers)
        return self.reset_from(torch.rand(shape, generator=self.generator, device=self.device), mask)

    def reset_from(
        self, numbers: Float[Tensor, "env number"], mask: Bool[Tensor, "env"] | None = None
    ) -> Float[Tensor, "env obs"]:
        """As ``reset``, with independent numbers uniform in [0, 1) in place of draws from ``generator``."""
        mask = ~self._never if mask is None else mask
        start, target = self._places(numbers)
        state = torch.where(mask[:, None], self._start_state(start, numbers), self._state)
        self._targets.copy_(torch.where(mask[:, None], target, self._targets))
        self._state.copy_(state)
        self._stepper.write(mask, state[:, : self.model.nq], state[:, self.model.nq :])
        return self._observe(state)

    def targets(self) -> Float[Tensor, "env goal"]:
        """The target of each running episode; shared, not to be written to."""
        return self._targets

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Advance every world by ``frame_skip`` physics steps.

        Args:
            action: Shares of the motors' strength; values beyond [-1, 1] are clipped.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        self.begin_step(action)
        self.simulate()
        return self.end_step()

    def begin_step(self, action: Float[Tensor, "env act"]) -> None:
        """See ``discover_rl.goals.environment.Simulated``."""
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(
                f"{self._what}: action has shape {tuple(action.shape)}, expected (num_envs, action_dim) = "
                f"{(self.num_envs, self.action_dim)}"
            )
        self.invalid_actions.logical_or_(action.isnan().any(1))
        if self.body.velocity_clip:
            clip, velocity = self.body.velocity_clip, self._state[:, self.model.nq :]
            self._stepper.write(~self._never, self._state[:, : self.model.nq], velocity.clamp(-clip, clip))
        self._stepper.control.copy_(action.nan_to_num(nan=0.0).clamp(-1, 1))

    def simulate(self) -> None:
        """See ``discover_rl.goals.environment.Simulated``."""
        self._stepper.step()

    def end_step(self) -> Step:
        """See ``discover_rl.goals.environment.Simulated``."""
        state = torch.cat([self._stepper.qpos, self._stepper.qvel], dim=1)
        diverged = ~state.isfinite().all(1) | (state[:, self.model.nq :].abs() > self.config.velocity_limit).any(1)
        state = torch.where(diverged[:, None], self._state, state)
        escaped = self._walls[self._cell_of(state[:, :2])]
        self._diverged += diverged
        self._escaped += escaped
        self._state.copy_(state)
        # a diverged world stands still at its last good state until it is reset, and spoils no other
        self._stepper.write(diverged, state[:, : self.model.nq], torch.zeros_like(state[:, self.model.nq :]))
        flipped = self._flipped(state) if self.config.terminate_flipped else self._never
        return Step(self._observe(state), flipped, diverged | escaped)

    # -- what is optional --------------------------------------------------------------------------------

    def monitor(self) -> dict[str, Float[Tensor, "env"]]:
        """Counts of each world since the last call, by tag.

        Raises:
            ValueError: If a buffer of the simulation has overflowed.
        """
        self._stepper.check()
        counts = {"rollout/diverged_worlds": self._diverged.clone(), "rollout/escaped_worlds": self._escaped.clone()}
        self._diverged.zero_()
        self._escaped.zero_()
        return counts

    def distance_to_target(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead"]:
        """The way from cell to cell to the middle of the target's cell, in steps at the body's usual speed.

        Returns:
            Steps; +inf in walls and where the target cannot be reached. Only a rough number: bodies speed up and
            cut corners.
        """
        place = goal[..., :2]
        cell = self._cell_of(place)
        # by way of the middle of this cell or of one beside it, whichever is shortest
        beside = self._beside[cell]
        leg = (place[..., None, :] - self._middles[beside]).square().sum(-1).sqrt()
        metres = (leg + self._metres[beside]).amin(-1)
        return metres.masked_fill(self._walls[cell], math.inf) / (self.body.speed * self.step_seconds)

    def cell_map(self) -> CellMap:
        """The maze in cells, told from the start."""
        config, fixed = self.config, not self.config.random_targets
        start = torch.tensor(self.grid.position(self.grid.start), dtype=torch.float32, device=self.device)

        def to_cells(goal: Tensor) -> Tensor:
            return goal[..., :2] / config.cell_size - start

        def from_cells(cells: Tensor) -> Tensor:
            place = (cells + start) * config.cell_size
            return self.goal_space.achieved(torch.cat([place, self._rest.expand(*place.shape[:-1], -1)], -1))

        return CellMap(
            self.grid.cells_from_start(), self.grid.target_from_start if fixed else None, to_cells, from_cells
        )

    def state_at(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead obs"]:
        """The goal's place with the body at rest there; a full-state goal itself."""
        if goal.shape[-1] == self.observation_dim:
            return goal
        return torch.cat([goal[..., :2], self._rest.expand(*goal.shape[:-1], -1)], -1)

    def render(
        self, index: int, goal: Float[Tensor, "goal"], width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        """World ``index`` as a camera above the maze sees it, with ``goal`` as a red disc.

        Raises:
            RuntimeError: If this machine cannot draw it.
        """
        from discover_envs.mujoco_maze.camera import Camera  # OpenGL, which training does without

        if self._camera is None or self._camera.size != (width, height):
            self._camera = Camera(self.model, width, height)
        qpos, place = self._state[index, : self.model.nq], goal[:2]
        return self._camera.picture(qpos.double().cpu().numpy(), place.double().cpu().numpy())

    def draw(self, axes: Any) -> None:  # noqa: ANN401 - a matplotlib Axes
        """Draw the maze from above on a matplotlib ``Axes``, in metres."""
        grid, size = self.grid, self.config.cell_size
        low, high = (corner * size for corner in grid.corners)
        shade = np.where(grid.walls, 0.45, 1.0)
        axes.imshow(shade.T, origin="lower", extent=(low[0], high[0], low[1], high[1]), cmap="gray", vmin=0, vmax=1)
        start, target = (np.array(grid.position(cell)) * size for cell in (grid.start, grid.target))
        if not self.config.random_starts:
            axes.plot(*start, "o", color="tab:blue", label="start")
        if not self.config.random_targets:
            axes.plot(*target, "*", color="tab:red", markersize=12, label="target")
            around, reach = np.linspace(0, 2 * np.pi, 65), self.config.success_radius
            circle = target[0] + reach * np.cos(around), target[1] + reach * np.sin(around)
            axes.plot(*circle, color="tab:red", label="_target")  # not in legends
        axes.set_aspect("equal")

    def close(self) -> None:
        """Free the camera; a later ``render`` makes a new one."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    # -- parts -------------------------------------------------------------------------------------------

    def _start_state(
        self, place: Float[Tensor, "env 2"], numbers: Float[Tensor, "env number"]
    ) -> Float[Tensor, "env state"]:
        """``qpos`` and ``qvel`` of an episode that begins at a place; ``numbers`` are those of ``reset_from``."""
        del numbers
        return torch.cat([place, self._pose.expand(len(place), -1)], 1)

    def _observe(self, state: Float[Tensor, "*lead state"]) -> Float[Tensor, "*lead obs"]:
        """The observation in a state."""
        return state

    def _make_goal_space(self) -> GoalSpace:
        config, names = self.config, self.body.names
        if config.goals == "xy":
            return BoxGoals([0, 1], config.success_radius, names[:2])
        return FullStateGoals(config.success_radius, config.pose_tolerance, self.body.scales, names, self.device)

    def _build_tables(self) -> None:
        """Cells by number, column by column: which are walls, where they are, how far from the target."""
        grid, size = self.grid, self.config.cell_size
        rows = grid.shape[1]

        def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=self.device)

        cells = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 2)
        self._walls = tensor(grid.walls.ravel(), torch.bool)
        self._middles = tensor((cells - np.array(grid.origin)) * size)
        metres = np.where(grid.distances == UNREACHABLE, np.inf, grid.distances * size)
        self._metres = tensor(metres.ravel())
        moves = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
        beside = (cells[:, None] + moves).clip(0, np.array(grid.shape) - 1)
        self._beside = tensor(beside[..., 0] * rows + beside[..., 1], torch.int64)
        self._rows, self._shape = rows, tensor(np.array(grid.shape), torch.int64)
        self._corner = tensor(grid.corners[0] * size)
        free = grid.free_cells
        self._free = tensor(free[:, 0] * rows + free[:, 1], torch.int64)
        start, target = (torch.tensor(c[0] * rows + c[1], device=self.device) for c in (grid.start, grid.target))
        self._start_place = int((self._free == start).nonzero()[0])
        self._target_place = int((self._free == target).nonzero()[0])
        dropped, rested = _poses(self.model, np.array(grid.position(grid.start)) * size)
        self._pose, self._rest = tensor(dropped), self._observe(tensor(rested))[2:]
        self._noise = tensor(np.array([[self.config.start_noise], [self.config.target_noise]]) * size)

    def _cell_of(self, place: Float[Tensor, "*lead 2"]) -> Int64[Tensor, "*lead"]:
        """Number of the cell in which a place lies; of one of the shell where it lies outside."""
        cell = ((place - self._corner) / self.config.cell_size).floor().long()
        cell = torch.minimum(cell.clamp_min(0), self._shape - 1)
        return cell[..., 0] * self._rows + cell[..., 1]

    def _places(self, numbers: Float[Tensor, "env number"]) -> tuple[Float[Tensor, "env 2"], Float[Tensor, "env goal"]]:
        """A start and a target for every world, from numbers uniform in [0, 1)."""
        config, count = self.config, len(self._free)
        target = torch.full((self.num_envs,), self._target_place, device=self.device)
        if config.random_targets:
            target = (numbers[:, 4] * count).long().clamp_max(count - 1)
        start = torch.full_like(target, self._start_place)
        if config.random_starts or config.random_targets:
            other = (numbers[:, 5] * (count - 1)).long().clamp_max(count - 2)
            other = other + (other >= target)  # any cell but the target's
            start = other if config.random_starts else torch.where(start == target, other, start)
        noise = (numbers[:, :4] * 2 - 1).unflatten(1, (2, 2)) * self._noise
        places = self._middles[self._free[torch.stack([start, target], 1)]] + noise
        return places[:, 0], self.goal_space.achieved(
            torch.cat([places[:, 1], self._rest.expand(self.num_envs, -1)], 1)
        )

    def _flipped(self, state: Float[Tensor, "env obs"]) -> Bool[Tensor, "env"]:
        """Whether the body's own upward axis points down."""
        if self.body.upright is None:
            return self._never
        x, y = state[:, self.body.upright + 1], state[:, self.body.upright + 2]
        return x.square() + y.square() > 0.5


def _poses(
    model: mujoco.MjModel, start: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "state_without_xy"], Float[np.ndarray, "state"]]:
    """The pose in which episodes start, without x and y, and the state in which the body rests without motors."""
    data = mujoco.MjData(model)
    dropped = np.concatenate([data.qpos[2:], data.qvel])
    data.qpos[:2] = start
    mujoco.mj_step(model, data, nstep=round(SETTLING / model.opt.timestep))
    return dropped, np.concatenate([data.qpos, np.zeros(model.nv)])


def _build_grid(config: MujocoMazeConfig) -> GridLayout:
    if config.layout == GENERATED:
        layout = generate(2, config.radius, config.corridors, config.dead_ends, config.layout_seed)
        return GridLayout.from_point_maze(layout)
    return GridLayout.from_name(config.layout, config.LAYOUTS)


def _check_start(grid: GridLayout, config: MujocoMazeConfig, what: str) -> None:
    """Raise ``ValueError`` if a start could already have reached the target."""
    slack = config.start_noise + config.target_noise
    apart = np.abs(np.array(grid.target_from_start))
    if config.random_starts or config.random_targets:
        apart = np.array([1, 0])
    nearest = float(np.linalg.norm(np.maximum(apart - slack, 0))) * config.cell_size
    if nearest <= config.success_radius:
        raise ValueError(
            f"{what}: a start may lie {nearest:.2f} m from its target, within the success radius "
            f"{config.success_radius}; lower success_radius, start_noise or target_noise"
        )


def _check_room(grid: GridLayout, config: MujocoMazeConfig, half_width: float, what: str) -> None:
    """Raise ``ValueError`` if the body cannot stand between two walls, or may overlap one where it starts."""
    drawn = config.random_starts or config.random_targets  # where a target falls on the start, the start moves too
    cells = grid.free_cells if drawn else np.array([grid.start])
    beside_wall = any(grid.walls[c - 1 : c + 2, r - 1 : r + 2].any() for c, r in cells.tolist())
    noise = config.start_noise if beside_wall else 0.0
    least = math.ceil(1_000 * half_width / (0.5 - noise) - 1e-6) / 1_000  # in whole millimetres
    if config.cell_size >= least:
        return
    where = f", and starts up to {noise:g} cells off the middle of one beside a wall" if noise else ""
    most = math.floor(1_000 * (0.5 - half_width / config.cell_size) + 1e-6) / 1_000
    raise ValueError(
        f"{what}: cell_size={config.cell_size:g} is too small, the body reaches {half_width:.3g} m to each side"
        f"{where}; cell_size must be at least {least:g}" + (f", or start_noise at most {most:g}" if most >= 0 else "")
    )
