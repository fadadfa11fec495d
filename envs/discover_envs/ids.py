"""Gymnasium ids of the mazes and of the arm: ``Discover/PointMaze_4D-v0`` and so on.

Each id is a plug-in and fields of its configuration, the same as in the recipe of that maze (``env=point_maze/4d``).
All are made by ``discover_rl.gym``, named here as text, so that registering imports nothing heavy.

| family | mazes | observation, action and goal: see the tables of |
|---|---|---|
| ``PointMaze`` | ``2D`` to ``10D`` generated; ``Open``, ``U``, … by hand | ``discover_envs.point_maze.PointMaze`` |
| ``AntMaze`` | ``Plain``, ``SquareSparse``, …, ``UMaze``, ``Medium``, … | ``discover_envs.mujoco_maze.ant.AntMaze`` |
| ``ArmPush`` | ``Simple``, ``Hard`` | ``discover_envs.mujoco_maze.arm.ArmPush`` |
| ``PointMazeMujoco`` | the same as for the ant | ``discover_envs.mujoco_maze.point.PointMazeMujoco`` |

The family without a maze, as ``Discover/PointMaze-v0``, is the maze you name:
``gymnasium.make("Discover/PointMaze-v0", layout="my_maze.txt")``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium

NAMESPACE = "Discover"
VERSION = 0


@dataclass(frozen=True)
class Family:
    """Mazes of one kind.

    Attributes:
        name: Stands first in the ids.
        plugin: Name under the entry-point group ``discover_rl.environments``.
        max_episode_steps: Time limit of all mazes that name no other.
        mazes: What follows in the id, and the fields of the configuration; an empty name is the bare family.
    """

    name: str
    plugin: str
    max_episode_steps: int
    mazes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def ids(self) -> dict[str, dict[str, Any]]:
        """The fields of the configuration by id."""
        return {
            f"{NAMESPACE}/{self.name}{'_' * bool(maze)}{maze}-v{VERSION}": dict(fields)
            for maze, fields in self.mazes.items()
        }


# of the ant mazes of arXiv 2505.19850; UMaze to Giant have those of Gymnasium-Robotics, the defaults. SquareSparse
# to LongHorizon last twice as long as there (250 to 500 steps): MuJoCo's ant takes 6 steps a metre, 13 round a pillar
PUBLISHED_SIZES = {"cell_size": 5.0, "wall_height": 5.0, "success_radius": 0.5}


def _timed(layout: str, max_episode_steps: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"layout": layout, "max_episode_steps": max_episode_steps, **fields}


def _generated(dim: int, radius: int, corridors: int, dead_ends: int) -> dict[str, Any]:
    return {"layout": "generated", "dim": dim, "radius": radius, "corridors": corridors, "dead_ends": dead_ends}


FAMILIES = (
    Family(
        "PointMaze",
        "point_maze",
        100,
        {
            "": {},
            "2D": _generated(2, 10, 3, 4),
            "3D": _generated(3, 7, 90, 20),
            "4D": _generated(4, 5, 240, 60),
            "5D": _generated(5, 4, 3000, 300),
            "6D": _generated(6, 4, 20_000, 500),
            "8D": _generated(8, 3, 100_000, 500),
            "10D": _generated(10, 2, 200_000, 500),
            "Open": {"layout": "open"},
            "U": {"layout": "u"},
            "Cross": {"layout": "cross"},
            "Spiral": {"layout": "spiral"},
            "Serpentine": {"layout": "serpentine"},
            "Misleading": {"layout": "misleading"},
            "DeadEnd": {"layout": "dead_end"},
        },
    ),
    Family(
        "AntMaze",
        "ant_maze",
        200,
        {
            "": {},
            "Plain": _timed("plain", 150, **PUBLISHED_SIZES),
            "SquareSparse": _timed("square_sparse", 500, **PUBLISHED_SIZES),
            "BigSquareSparse": _timed("big_square_sparse", 700, **PUBLISHED_SIZES),
            "LargePlain": _timed("large_plain", 700, **PUBLISHED_SIZES),
            "LongHorizon": _timed("long_horizon", 1000, **PUBLISHED_SIZES),
            "Huge": _timed("huge", 1000, **PUBLISHED_SIZES),
            "SSparse": _timed("s_sparse", 1000, **PUBLISHED_SIZES),
            "UMaze": _timed("umaze", 700, wall_height=2.0),
            "Medium": _timed("medium", 1000, wall_height=2.0),
            "Large": _timed("large", 1000, wall_height=2.0),
            "Giant": _timed("giant", 1000, wall_height=2.0),
        },
    ),
    Family(
        "ArmPush",
        "arm",
        250,
        {"": {}, "Simple": {"layout": "one_wall"}, "Hard": {"layout": "two_walls"}},
    ),
    Family(
        "PointMazeMujoco",
        "point_maze_mujoco",
        200,
        {
            "": {},
            "Plain": _timed("plain", 50),
            "SquareSparse": _timed("square_sparse", 60),
            "BigSquareSparse": _timed("big_square_sparse", 80),
            "LargePlain": _timed("large_plain", 80),
            "LongHorizon": _timed("long_horizon", 100),
            "Huge": _timed("huge", 150),
            "SSparse": _timed("s_sparse", 150),
            "UMaze": _timed("umaze", 60),
            "Medium": _timed("medium", 120),
            "Large": _timed("large", 160),
            "Giant": _timed("giant", 200),
        },
    ),
)


def register_all() -> None:
    """Register every id, once."""
    for family in FAMILIES:
        for id_, fields in family.ids().items():
            steps = fields.pop("max_episode_steps", family.max_episode_steps)
            gymnasium.register(
                id_,
                entry_point="discover_rl.gym:GoalEnv",
                vector_entry_point="discover_rl.gym:GoalVectorEnv",
                max_episode_steps=steps,
                kwargs={"env": family.plugin, **fields},
            )
