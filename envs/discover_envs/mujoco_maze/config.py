"""Settings that all MuJoCo mazes share."""

import math
from dataclasses import dataclass
from typing import ClassVar

from discover_envs.layout import check_name
from discover_envs.mujoco_maze.grid import KNOWN

GENERATED = "generated"
BACKENDS = ("auto", "native", "warp")
INTEGRATORS = ("implicitfast", "Euler", "RK4")
CONES = ("pyramidal", "elliptic")


@dataclass
class MujocoMazeConfig:
    """Settings of a MuJoCo maze.

    Raises:
        ValueError: If a value is out of range or the layout is unknown.
    """

    GOALS: ClassVar[tuple[str, ...]] = ("xy", "full_state")
    LAYOUTS: ClassVar[tuple[str, ...]] = KNOWN
    REDRAWN: ClassVar[dict[str, int]] = dict.fromkeys(
        ("plain", "square_sparse", "big_square_sparse", "large_plain", "long_horizon"), 3
    )
    FREE_KEYS: ClassVar[tuple[str, ...]] = ("backend", "num_threads", "nconmax", "njmax")

    name: str = "mujoco_maze"
    """Name of the environment; leave it."""
    layout: str = "plain"
    """Name of a layout, path to a ``.txt`` or ``.npz`` file, ``generated``, or the rows of a maze in one text."""
    radius: int = 5
    """Radius of a generated maze in cells, at least 1."""
    corridors: int = 3
    """Corridors of a generated maze, at least 1; the first leads to the target."""
    dead_ends: int = 2
    """Short branches off the corridors of a generated maze."""
    layout_seed: int = 0
    """Seed of a generated maze; the seed of the run does not change the maze."""
    cell_size: float = 4.0
    """Metres of a cell."""
    wall_height: float = 4.0
    """Metres of a wall. Gymnasium-Robotics has 2 m for the ant, which its strong motors can throw over."""
    success_radius: float = 0.45
    """Distance in metres within which a goal counts as reached, its rim included."""
    xy_scale: float = 0.0
    """Metres of x and y that networks see as 1; 0 takes twice the success radius, or a cell where cells are smaller.
    Seen in much larger units, goals that lie a success radius apart hardly differ."""
    max_episode_steps: int = 200
    """Time limit in environment steps."""
    start_noise: float = 0.25
    """Half-width of the square in which episodes start, as a share of a cell."""
    target_noise: float = 0.0
    """Half-width of the square in which the target lies, as a share of a cell, drawn for each episode."""
    random_starts: bool = False
    """Whether each episode starts in a random free cell (not that of its target), as in Gymnasium-Robotics."""
    random_targets: bool = False
    """Whether each episode has its target in a random free cell, as in Gymnasium-Robotics."""
    goals: str = "xy"
    """Goal space: ``xy``, or ``full_state``, the whole observation."""
    pose_tolerance: float = 1.0
    """``full_state`` only: how far the rest of the state may be off, as a root mean square in units of its scales."""
    frame_skip: int = 5
    """Physics steps of an environment step."""
    timestep: float = 0.01
    """Seconds of a physics step."""
    integrator: str = "implicitfast"
    """``implicitfast`` or ``Euler`` (the same numbers for our bodies), one evaluation a step, or ``RK4``, four.

    Gymnasium's ant has RK4. Beside RK4 at a tenth of the timestep, an environment step of the ant (random actions,
    64 worlds, 40 steps) is off by 0.2 mm in x and y (median; 1.6 mm in one of ten) with RK4 and by 2.4 mm (9.4 mm) with
    implicitfast, where the step itself is 42 mm. Over 150 random steps the ant gets 2.4 m far with RK4 and 2.1 m with
    implicitfast (192 episodes each, standard error 0.1 m), and 70 and 86 % end on their back.
    """
    cone: str = "pyramidal"
    """Friction cone, ``pyramidal`` or ``elliptic``. Only with the latter do MuJoCo and MuJoCo Warp agree closely."""
    iterations: int = 100
    """Limit of the constraint solver's iterations."""
    ls_iterations: int = 50
    """Limit of its line search."""
    velocity_limit: float = 200.0
    """Any velocity above it (m/s or rad/s), or nan, counts as a diverged simulation; the episode is cut."""
    terminate_flipped: bool = False
    """Whether an episode ends where the body lies on its back, as a failure."""
    backend: str = "auto"
    """``native`` (MuJoCo's threads on the CPU), ``warp`` (MuJoCo Warp), or ``auto``: warp on CUDA."""
    num_threads: int = 0
    """Threads of the native backend; 0 takes as many as the process may use."""
    nconmax: int = 24
    """MuJoCo Warp: room for contacts, per world."""
    njmax: int = 64
    """MuJoCo Warp: room for constraint rows, per world."""

    def __post_init__(self) -> None:
        what = self.name.replace("_", " ")
        ones = (
            "radius",
            "corridors",
            "max_episode_steps",
            "frame_skip",
            "iterations",
            "ls_iterations",
            "nconmax",
            "njmax",
        )
        bounds = dict.fromkeys(ones, 1) | {"dead_ends": 0, "layout_seed": 0, "num_threads": 0}
        for key, bound in bounds.items():
            if getattr(self, key) < bound:
                raise ValueError(f"{what}: {key} must be at least {bound}, got {getattr(self, key)}")
        for key in ("cell_size", "wall_height", "success_radius", "timestep", "velocity_limit", "pose_tolerance"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{what}: {key} must be positive and finite, got {getattr(self, key)}")
        if not 0 <= self.xy_scale < math.inf:
            raise ValueError(f"{what}: xy_scale must be positive and finite, or 0, got {self.xy_scale}")
        for key in ("start_noise", "target_noise"):
            if not 0 <= getattr(self, key) < 0.5:
                raise ValueError(f"{what}: {key} must be at least 0 and below 0.5, got {getattr(self, key)}")
        for key, allowed in (
            ("goals", self.GOALS),
            ("integrator", INTEGRATORS),
            ("cone", CONES),
            ("backend", BACKENDS),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{what}: {key} is {getattr(self, key)!r}; allowed: {', '.join(allowed)}")
        if self.layout != GENERATED:
            check_name(self.layout, self.LAYOUTS)
            given = [
                f"{key}={getattr(self, key)}"
                for key in ("radius", "corridors", "dead_ends", "layout_seed")
                if getattr(self, key) != getattr(MujocoMazeConfig, key)
            ]
            if given:
                raise ValueError(
                    f"{what}: {', '.join(given)} is of mazes that are generated, and layout is {self.layout!r}; "
                    f"leave it out, or set layout={GENERATED}"
                )
