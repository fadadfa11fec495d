"""An arm that pushes a cube round walls on a table: shoulder, elbow, and a stick that goes up and down (a SCARA)."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import math
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from discover_envs.mujoco_maze.body import Body, Scene, Surface
from discover_envs.mujoco_maze.config import MujocoMazeConfig
from discover_envs.mujoco_maze.maze import MujocoMaze
from discover_rl.goals.space import BoxGoals, GoalSpace

HALF_CUBE = 0.04  # m
CUBE_MASS = 0.3  # kg
STICK_RADIUS = 0.02  # m
STICK_LENGTH = 0.4  # m
CLEARANCE = 0.01  # of the lowered stick above the table, m
LIFT = 0.12  # how far the stick goes up: over the cube, not over the walls, m
BEHIND = 0.35  # of the shoulder before the table's edge, m
ELBOW = (0.2, 2.6)  # least and greatest angle, rad: it bends to one side only
SPEEDS = (1.2, 2.0, 0.4)  # of shoulder and elbow in rad/s, of the lift in m/s, for an action of 1
GAINS = (40.0, 20.0, 40.0)  # N m s/rad, N m s/rad, N s/m
STRENGTHS = (60.0, 40.0, 20.0)  # N m, N m, N
JOINTS = ("shoulder", "elbow", "lift")
TIP = "tip"
CUBE_BIT = 2  # sticks touch cubes, beside what all bodies touch
SURFACE = Surface(condim=3, friction=(0.5, 0.005, 0.0001), margin=0.0)


@dataclass(frozen=True)
class Linkage:
    """Where the shoulder is and how long the links are, such that the stick reaches every place of the table.

    Attributes:
        x: Of the shoulder, in metres.
        y: Of the shoulder, in metres.
        link: Length of upper arm and of forearm.
        turn: Least and greatest angle of the shoulder, from the x axis.
    """

    x: float
    y: float
    link: float
    turn: tuple[float, float]

    @classmethod
    def of(cls, scene: Scene) -> "Linkage":
        """The linkage of a table."""
        middle = float(scene.low[0] + scene.high[0]) / 2
        shoulder = float(scene.low[1]) - BEHIND
        half_width, depth = float(scene.high[0]) - middle, float(scene.high[1]) - shoulder
        link = math.hypot(half_width, depth) / (2 * math.cos(ELBOW[0] / 2))
        side = math.atan2(BEHIND, half_width)  # of the nearer corners
        return cls(middle, shoulder, link, (side - ELBOW[1] / 2, math.pi - side))

    def tip(self, joints: Float[Tensor, "*lead 3"]) -> Float[Tensor, "*lead 3"]:
        """Where the lower end of the stick is, given the positions of the joints."""
        shoulder, elbow, lift = joints.unbind(-1)
        both = shoulder + elbow
        return torch.stack(
            [
                self.x + self.link * (shoulder.cos() + both.cos()),
                self.y + self.link * (shoulder.sin() + both.sin()),
                CLEARANCE + lift,
            ],
            -1,
        )

    def joints(self, place: Float[Tensor, "*lead 2"]) -> Float[Tensor, "*lead 3"]:
        """Positions of the joints with the lowered stick at a place, or as near to it as the arm comes."""
        x, y = place[..., 0] - self.x, place[..., 1] - self.y
        apart = (x.square() + y.square()).sqrt()
        elbow = (2 * (apart / (2 * self.link)).clamp(0, 1).acos()).clamp(*ELBOW)
        shoulder = (torch.atan2(y, x) - elbow / 2).clamp(*self.turn)  # links of equal length
        return torch.stack([shoulder, elbow, torch.zeros_like(elbow)], -1)


def add_arm(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Add the cube in the middle and the arm at the lower edge of the table."""
    linkage = Linkage.of(scene)
    cube = spec.worldbody.add_body(name="cube", pos=[0, 0, HALF_CUBE])
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[HALF_CUBE] * 3,
        mass=CUBE_MASS,
        conaffinity=CUBE_BIT,
        rgba=[0.12, 0.35, 0.8, 1],
        **SURFACE.settings(),
    )
    height = CLEARANCE + STICK_LENGTH
    upper = spec.worldbody.add_body(name="upper_arm", pos=[linkage.x, linkage.y, height])
    spec.worldbody.add_geom(
        name="post",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=[linkage.x, linkage.y, height / 2],
        size=[0.05, height / 2, 0],
        **_unfelt(),
    )
    fore = upper.add_body(name="forearm", pos=[linkage.link, 0, 0])
    stick = fore.add_body(name="stick", pos=[linkage.link, 0, 0], gravcomp=1)
    for body, name, turn, mass in ((upper, "shoulder", linkage.turn, 1.0), (fore, "elbow", ELBOW, 0.6)):
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1], range=list(turn), **_joint())
        link = {"fromto": [0, 0, 0, linkage.link, 0, 0], "size": [0.03, 0, 0], "mass": mass}
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, **link, **_unfelt())
    stick.add_joint(name="lift", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 0, 1], range=[0, LIFT], **_joint())
    stick.add_geom(
        name="stick",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[0, 0, STICK_RADIUS - STICK_LENGTH, 0, 0, 0.0],
        size=[STICK_RADIUS, 0, 0],
        mass=0.2,
        contype=1 | CUBE_BIT,
        conaffinity=0,
        rgba=[0.9, 0.5, 0.1, 1],
        **SURFACE.settings(),
    )
    stick.add_site(name=TIP, pos=[0, 0, -STICK_LENGTH])
    reach = (linkage.link**2, linkage.link**2, 1.0)  # torques grow with the inertia of the links
    for name, speed, gain, strength, scale in zip(JOINTS, SPEEDS, GAINS, STRENGTHS, reach, strict=True):
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_velocity(kv=gain * scale)
        servo.gainprm[0] *= speed  # so that a control of 1 asks for this speed
        servo.ctrllimited, servo.ctrlrange = True, [-1, 1]
        servo.forcelimited, servo.forcerange = True, [-strength * scale, strength * scale]


def _unfelt() -> dict[str, object]:
    """The arm above the walls touches nothing."""
    return {"contype": 0, "conaffinity": 0, "rgba": [0.6, 0.62, 0.66, 1]}


def _joint() -> dict[str, object]:
    return {"limited": mujoco.mjtLimited.mjLIMITED_TRUE, "armature": 0.1, "damping": [0.5, 0, 0]}


ARM = Body(
    name="arm",
    add=add_arm,
    surface=SURFACE,
    floor=True,
    gravity=True,
    names=(
        "x of the cube [m]",
        "y of the cube [m]",
        "z of the cube [m]",
        "quaternion w of the cube",
        "quaternion x of the cube",
        "quaternion y of the cube",
        "quaternion z of the cube",
        "shoulder [rad]",
        "elbow [rad]",
        "lift [m]",
        "x velocity of the cube [m/s]",
        "y velocity of the cube [m/s]",
        "z velocity of the cube [m/s]",
        *(f"angular velocity {axis} of the cube [rad/s]" for axis in "xyz"),
        "shoulder velocity [rad/s]",
        "elbow velocity [rad/s]",
        "lift velocity [m/s]",
        *(f"{axis} of the stick [m]" for axis in "xyz"),
    ),
    scales=(0.1, *[1.0] * 4, 1.0, 1.0, 0.1, *[0.5] * 3, *[5.0] * 3, 1.0, 1.0, 0.4, *[0.1] * 3),
    speed=0.3,
    before=BEHIND,
)


@dataclass
class ArmPushConfig(MujocoMazeConfig):
    """Settings of the arm that pushes a cube."""

    GOALS: ClassVar[tuple[str, ...]] = ("xyz", "full_state")

    name: str = "arm"
    layout: str = "one_wall"
    cell_size: float = 0.1
    wall_height: float = 0.2
    success_radius: float = 0.1
    max_episode_steps: int = 250
    goals: str = "xyz"
    nconmax: int = 32
    njmax: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wall_height < LIFT + 0.05:
            raise ValueError(
                f"arm: wall_height must be at least {LIFT + 0.05:g} m, or the stick goes over the walls; "
                f"got {self.wall_height:g}"
            )
        if self.cell_size < 0.1:
            raise ValueError(f"arm: cell_size must be at least 0.1 m, to let the cube through; got {self.cell_size:g}")


class ArmPush(MujocoMaze):
    """An arm pushes a cube to a place on a table with walls. The goal is where the cube is, x, y and z.

    A table is drawn as a maze is: the cube starts at ``S``, its target is ``G``. A rim as high as the walls keeps the
    cube on the table; should it come to lie on a wall or beyond the rim all the same, the episode is cut
    (``truncated``) and counted as escaped, as in mazes. The lifted stick passes over the cube, not over walls; the arm
    above them touches nothing. Episodes start with the stick on a side of the cube that is drawn among those without a
    wall. The arm is as long as the table asks for, so that it reaches every place of it.

    | Num | Observation | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | x of the cube | -Inf | Inf | ``cube`` | m |
    | 1 | y of the cube | -Inf | Inf | ``cube`` | m |
    | 2 | height of the cube's middle above the table | -Inf | Inf | ``cube`` | m |
    | 3 | orientation of the cube, w of the quaternion | -Inf | Inf | ``cube`` | 1 |
    | 4 | orientation of the cube, x of the quaternion | -Inf | Inf | ``cube`` | 1 |
    | 5 | orientation of the cube, y of the quaternion | -Inf | Inf | ``cube`` | 1 |
    | 6 | orientation of the cube, z of the quaternion | -Inf | Inf | ``cube`` | 1 |
    | 7 | angle of the shoulder | -Inf | Inf | ``shoulder`` | rad |
    | 8 | angle of the elbow | -Inf | Inf | ``elbow`` | rad |
    | 9 | lift of the stick | -Inf | Inf | ``lift`` | m |
    | 10 | velocity of the cube along x | -Inf | Inf | ``cube`` | m/s |
    | 11 | velocity of the cube along y | -Inf | Inf | ``cube`` | m/s |
    | 12 | velocity of the cube along z | -Inf | Inf | ``cube`` | m/s |
    | 13 | angular velocity of the cube about x | -Inf | Inf | ``cube`` | rad/s |
    | 14 | angular velocity of the cube about y | -Inf | Inf | ``cube`` | rad/s |
    | 15 | angular velocity of the cube about z | -Inf | Inf | ``cube`` | rad/s |
    | 16 | angular velocity of the shoulder | -Inf | Inf | ``shoulder`` | rad/s |
    | 17 | angular velocity of the elbow | -Inf | Inf | ``elbow`` | rad/s |
    | 18 | velocity of the lift | -Inf | Inf | ``lift`` | m/s |
    | 19 | x of the stick's lower end | -Inf | Inf | ``tip`` | m |
    | 20 | y of the stick's lower end | -Inf | Inf | ``tip`` | m |
    | 21 | height of the stick's lower end | -Inf | Inf | ``tip`` | m |

    | Num | Action | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | speed asked of the shoulder | -1 | 1 | ``shoulder`` | 1.2 rad/s |
    | 1 | speed asked of the elbow | -1 | 1 | ``elbow`` | 2 rad/s |
    | 2 | speed asked of the lift | -1 | 1 | ``lift`` | 0.4 m/s |
    """

    Config: ClassVar = ArmPushConfig
    body: ClassVar = ARM
    start_numbers: ClassVar[int] = MujocoMaze.start_numbers + 1  # and the side on which the stick stands

    def state_at(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead obs"]:
        """The cube at rest at the goal, the stick beside it; a full-state goal itself."""
        if goal.shape[-1] == self.observation_dim:
            return goal
        place = goal[..., :2]
        sides = torch.zeros(place.shape[:-1], device=self.device)
        return self._observe(self._with_stick(place, sides))

    def _make_goal_space(self) -> GoalSpace:
        if self.config.goals == "xyz":
            return BoxGoals([0, 1, 2], self.config.success_radius, self.body.names[:3])
        return super()._make_goal_space()

    def _build_tables(self) -> None:
        size = self.config.cell_size
        low, high = (corner * size for corner in self.grid.corners)
        self._linkage = Linkage.of(Scene(low, high, size))
        super()._build_tables()
        moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * size
        self._sides = torch.as_tensor(moves, dtype=torch.float32, device=self.device)

    def _start_state(
        self, place: Float[Tensor, "env 2"], numbers: Float[Tensor, "env number"]
    ) -> Float[Tensor, "env state"]:
        return self._with_stick(place, numbers[:, -1])

    def _with_stick(
        self, place: Float[Tensor, "*lead 2"], side: Float[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead state"]:
        """The cube at a place, at rest, the stick lowered in the next cell on one of its free sides.

        Args:
            place: Of the cube, in metres.
            side: Uniform in [0, 1): which of the free sides.
        """
        free = ~self._walls[self._beside[self._cell_of(place)][..., 1:]]
        rank = (side[..., None] * free.sum(-1, keepdim=True)).long()
        chosen = (free & (free.cumsum(-1) == rank + 1)).float().argmax(-1)
        joints = self._linkage.joints(place + self._sides[chosen])
        # sunk in as it rests: a contact at distance 0 is one or none, as rounding has it
        height, pose = (x.expand(*place.shape[:-1], -1) for x in (self._rest[:1], self._pose[1:]))
        return torch.cat([place, height, pose[..., :4], joints, pose[..., 7:]], -1)

    def _observe(self, state: Float[Tensor, "*lead state"]) -> Float[Tensor, "*lead obs"]:
        return torch.cat([state, self._linkage.tip(state[..., 7:10])], -1)
