"""A view of one's own: a point mass that sees the world from the side that it faces.

Networks may see a body from another side than the environment tells it, so that what they learn of one direction holds
for all (``discover_rl/goals/view.py``). Which side decides what they learn easily. A point mass needs no such view, and
so shows what a view costs: facing its goal it hardly finds the way round the wall of a U, for where the way leads off
from the goal it has to learn anew in each of eight sides what to do.

In the repository's folder:

discover-rl train experiment=point_maze_mujoco env.name=examples.point_view:FacingPointMaze +env.front=motion
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig
from discover_rl.goals import Seen

FRONTS = ("goal", "motion")
PULL = 0.3  # m/s that the goal's direction adds to the velocity


@dataclass
class FacingPointMazeConfig(PointMazeMujocoConfig):
    """Settings of the point maze, and what the front faces: the ``goal``, or where the point goes, ``motion``."""

    front: str = "goal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front not in FRONTS:
            raise ValueError(f"front is {self.front!r}; allowed: {', '.join(FRONTS)}")


class PointView:
    """Quarter turns and a mirror that bring what the point faces ahead, and to the left of ahead.

    Args:
        scale: Typical sizes of the numbers of an observation; those of x and y are alike, and those of their speeds.
        front: ``goal`` or ``motion``.
    """

    def __init__(self, scale: Float[Tensor, "obs"], front: str) -> None:
        self._scale, self._moves = scale, front == "motion"
        self.width = 11 if self._moves else 9

    def see(self, observation: Float[Tensor, "*lead obs"], goal: Float[Tensor, "*lead goal"]) -> Seen:
        """See ``View``: the goal from the point, x and y (and the goal's), the front's direction, the velocity."""
        seen, there = observation / self._scale, goal / self._scale[:2]
        place = seen[..., :2]
        ahead = towards = there - place
        if self._moves:
            towards = observation[..., 2:] + PULL * ahead / ahead.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        bearing = torch.atan2(towards[..., 1], towards[..., 0]) * (2 / math.pi)
        turn = bearing.round()
        side = turn.long() % 4 + 4 * (bearing < turn)
        columns = [
            self.seen_action(ahead, side),
            place,
            *([there] if self._moves else []),
            torch.stack(_axes(side), -1),
            self.seen_action(seen[..., 2:], side),
        ]
        return Seen((torch.cat(columns, -1),), side)

    def seen_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """See ``View``."""
        (x, y), (cos, sin, mirror) = action.unbind(-1), _axes(side)
        return torch.stack([x * cos + y * sin, mirror * (y * cos - x * sin)], -1)

    def own_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """See ``View``."""
        (forward, left), (cos, sin, mirror) = action.unbind(-1), _axes(side)
        return torch.stack([forward * cos - mirror * left * sin, forward * sin + mirror * left * cos], -1)


def _axes(side: Int64[Tensor, "*lead"]) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine and sine of the front's direction, and -1 where left and right are exchanged."""
    turn = (side % 4) * (math.pi / 2)
    return turn.cos().round(), turn.sin().round(), torch.where(side >= 4, -1.0, 1.0)


class FacingPointMaze(PointMazeMujoco):
    """The point maze with a view; everything but the networks goes on seeing plain observations."""

    Config: ClassVar = FacingPointMazeConfig

    def __init__(self, config: FacingPointMazeConfig, num_envs: int, device: torch.device, seed: int) -> None:
        super().__init__(config, num_envs, device, seed)
        self.view = PointView(self.observation_scale, config.front)
