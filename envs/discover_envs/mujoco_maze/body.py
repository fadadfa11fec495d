"""What a body is to a maze: how it is built, how it starts, and how large its numbers are."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Scene:
    """Where a body finds itself.

    Attributes:
        low: Lower left corner of the maze in metres, its shell of walls included.
        high: Upper right corner.
        cell_size: Metres of a cell.
    """

    low: Float[np.ndarray, "2"]
    high: Float[np.ndarray, "2"]
    cell_size: float


@dataclass(frozen=True)
class Surface:
    """What touches: geoms of the body, of the walls and of the floor alike.

    Attributes:
        condim: 1 for contacts without friction, 3 with it.
        friction: Sliding, torsional and rolling.
        margin: Distance in metres at which contacts begin.
    """

    condim: int
    friction: tuple[float, float, float]
    margin: float

    def settings(self) -> dict[str, Any]:
        """As arguments of ``add_geom``."""
        return {"condim": self.condim, "friction": list(self.friction), "margin": self.margin}


@dataclass(frozen=True)
class Body:
    """A body that can be put into a maze. Its first two positions in ``qpos`` are x and y in metres.

    Attributes:
        name: How it is called in messages.
        add: Adds its bodies, joints and motors to the model of a scene, at (0, 0), so that the first two positions
            are x and y in the maze. Geoms that shall touch walls and floor have contype 1; the walls' conaffinity is 1.
        surface: How it touches the maze.
        floor: Whether the maze has a floor to touch.
        gravity: Whether there is gravity.
        names: A name for each number of an observation (``qpos``, then ``qvel``, then what the environment adds), with
            units, for reports.
        scales: A typical size for each of them but x and y, in the same order: networks see numbers divided by it.
        speed: What a good policy covers in a second, in metres: turns distances into steps, roughly.
        velocity_clip: Bound on every velocity before each environment step; 0 for none.
        upright: Index in ``qpos`` of the quaternion that tells whether the body has flipped; None if it cannot.
        before: How far it stands out over the lower edge of the maze, in metres, for pictures.
    """

    name: str
    add: Callable[[mujoco.MjSpec, Scene], None]
    surface: Surface
    floor: bool
    gravity: bool
    names: tuple[str, ...]
    scales: tuple[float, ...]
    speed: float
    velocity_clip: float = 0.0
    upright: int | None = None
    before: float = 0.0
