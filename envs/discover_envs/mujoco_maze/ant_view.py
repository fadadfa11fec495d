"""The ant as seen from the side that faces its goal, or the way it goes."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from discover_rl.goals import Seen

NUM_LEGS = 4
BENDS = (1.0, -1.0, -1.0, 1.0)  # the side of zero on which the ankles of legs 1 to 4 bend
MOTOR_LEGS = (3, 0, 1, 2)  # the legs that the motors move, hip and ankle in turn
VELOCITY = 15  # where qvel begins
FRONTS = ("goal", "motion")
PULL = 1.0  # m/s, half of an ant's walking speed; with 0.5 it falls more often (32 and 37 % instead of 14 to 24)


class AntView:
    """Its legs are alike, and its left is its right in a mirror: seen from the right side, an ant faces where it goes.

    An ant whose leg k points where leg 1 of another one does, with all else turned by as much, is the same ant with its
    legs counted from elsewhere. So legs are counted here from the one to the left of a direction, everything is told in
    the frame of the torso that this makes the front, and left and right are exchanged where the direction lies to the
    right: eight sides in all. What is learnt of one direction is learnt of all; the direction is within 45 degrees of
    the front. Where the ant stands and where its front points in the maze is seen too, for the walls. Symmetric
    representations like this one: van der Pol et al. 2020 (arXiv 2006.16908).

    The direction is the goal's (``front="goal"``), or that in which the ant moves (``front="motion"``): that of its
    velocity with 1 m/s towards the goal added, so that an ant slower than that faces its goal. In the open the two are
    much the same. Where the way leads off from the goal, round a wall, an ant that faces its goal walks sideways and
    backwards, which it has to learn in each of its eight sides; one that faces where it moves walks forwards there too.
    That helps a point mass (``examples/point_view.py``); with ants no gain has been measured yet.

    Columns: the goal from the ant (2); x and y (2), and, with ``front="motion"``, those of the goal (2); cosine and
    sine of the front's direction, and 1 or -1 for exchanged sides (3); height (1); the vertical in the frame of the
    torso (3); velocity, the horizontal part in the direction of the front (3); angular velocity (3); for each leg, hip
    and ankle angle (8) and their velocities (8).

    Args:
        scale: Typical sizes of the numbers of an observation, by which networks see them divided; those of x and y are
            goals' too, and alike numbers have the same.
        front: ``goal`` or ``motion``.
    """

    def __init__(self, scale: Float[Tensor, "obs"], front: str = "goal") -> None:
        self._scale, device = scale, scale.device
        self._moves = front == "motion"
        self.width = 35 if self._moves else 33
        ankle = torch.tensor([sign for bend in BENDS for sign in (1.0, bend)])
        joints, motors = [], []
        signs = []
        for side in range(2 * NUM_LEGS):
            turn, mirrored = side % NUM_LEGS, side >= NUM_LEGS
            # leg 1 points at 45 degrees, each next one 90 further; in the mirror they are counted backwards
            legs = [(turn - leg - 1 if mirrored else turn + leg) % NUM_LEGS for leg in range(NUM_LEGS)]
            joints.append([2 * leg + part for leg in legs for part in range(2)])
            motors.append([2 * MOTOR_LEGS.index(leg) + part for leg in legs for part in range(2)])
            signs.append([-1.0 if mirrored else 1.0, 1.0] * NUM_LEGS)
        self._joints = torch.tensor(joints, device=device)
        self._signs = (torch.tensor(signs) * ankle[torch.tensor(joints)]).to(device)
        self._motors = torch.tensor(motors, device=device)
        self._motors_back = self._motors.argsort(1)
        self._signs_back = self._signs.gather(1, self._motors_back)

    def see(self, observation: Float[Tensor, "*lead obs"], goal: Float[Tensor, "*lead goal"]) -> Seen:
        """See ``View``."""
        seen = observation / self._scale
        place, (w, x, y, z) = seen[..., :2], seen[..., 3:7].unbind(-1)
        there = goal / self._scale[:2]
        ahead = there - place
        # the torso's heading is the turn about the vertical that, followed by a tilt about a horizontal axis, makes up
        # its orientation; half of its angle is that of (w, z)
        heading = 2 * torch.atan2(z, w)
        towards = self._velocity_and_pull(observation, ahead) if self._moves else ahead
        bearing = torch.atan2(towards[..., 1], towards[..., 0]) - heading
        turn = (bearing * (2 / math.pi)).round()
        front = heading + turn * (math.pi / 2)
        mirror = torch.where((bearing - turn * (math.pi / 2)).sin() < 0, -1.0, 1.0)
        side = (turn.long() % NUM_LEGS) + NUM_LEGS * (mirror < 0)
        cos, sin = front.cos(), front.sin()
        forward, left = _along(ahead, cos, sin)
        speed, drift = _along(seen[..., VELOCITY : VELOCITY + 2], cos, sin)
        # the vertical as the torso sees it, and the torso's own axes turned to its front
        tilt = torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x)], -1)
        spin = seen[..., VELOCITY + 3 : VELOCITY + 6]
        quarter_cos, quarter_sin = (turn * (math.pi / 2)).cos(), (turn * (math.pi / 2)).sin()
        tilt_front, tilt_left = _along(tilt, quarter_cos, quarter_sin)
        spin_front, spin_left = _along(spin[..., :2], quarter_cos, quarter_sin)
        columns = (
            *(forward, left * mirror),
            *place.unbind(-1),
            *(there.unbind(-1) if self._moves else ()),
            *(cos, sin, mirror),
            seen[..., 2],
            *(tilt_front, tilt_left * mirror, 1 - 2 * (x.square() + y.square())),
            *(speed, drift * mirror, seen[..., VELOCITY + 2]),
            # what turns is mirrored the other way round
            *(spin_front * mirror, spin_left, spin[..., 2] * mirror),
        )
        order, signs = self._joints[side], self._signs[side]
        angles, rates = (seen[..., start : start + 8].gather(-1, order) * signs for start in (7, VELOCITY + 6))
        return Seen((torch.stack(columns, -1), angles, rates), side)

    @staticmethod
    def _velocity_and_pull(
        observation: Float[Tensor, "*lead obs"], ahead: Float[Tensor, "*lead 2"]
    ) -> Float[Tensor, "*lead 2"]:
        towards_goal = ahead / ahead.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        return observation[..., VELOCITY : VELOCITY + 2] + PULL * towards_goal

    def seen_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """See ``View``."""
        return action.gather(-1, self._motors[side]) * self._signs[side]

    def own_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """See ``View``."""
        return action.gather(-1, self._motors_back[side]) * self._signs_back[side]


def _along(
    vector: Float[Tensor, "*lead 2"], cos: Float[Tensor, "*lead"], sin: Float[Tensor, "*lead"]
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
    """Parts of a horizontal vector along a direction and to the left of it."""
    x, y = vector.unbind(-1)
    return x * cos + y * sin, y * cos - x * sin
