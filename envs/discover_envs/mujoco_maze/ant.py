"""The ant: a ball with four legs of two joints, in geometry, masses, gears and damping that of Gymnasium's Ant."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import torch

from discover_envs.mujoco_maze.ant_view import FRONTS, AntView
from discover_envs.mujoco_maze.body import Body, Scene, Surface
from discover_envs.mujoco_maze.config import MujocoMazeConfig
from discover_envs.mujoco_maze.layouts import TABLES
from discover_envs.mujoco_maze.maze import MujocoMaze

GEAR = 150.0  # N m
HEIGHT = 0.75  # of the torso at the start, m
THICKNESS = 0.08  # radius of a leg, m
UPPER, LOWER = 0.2, 0.4  # extent of a thigh and of a shank along x and along y, m
# where a leg points, and on which side of zero its ankle bends; in the order of Gymnasium's joints
LEGS = (("1", 1, 1, 1), ("2", -1, 1, -1), ("3", -1, -1, -1), ("4", 1, -1, 1))
MOTORS = ("4", "1", "2", "3")  # the order of Gymnasium's motors: hip and ankle of each


SURFACE = Surface(condim=3, friction=(1.0, 0.5, 0.5), margin=0.01)


def add_ant(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Add the ant, its torso 0.75 m above the floor."""
    del scene
    torso = spec.worldbody.add_body(name="torso", pos=[0, 0, HEIGHT])
    torso.add_freejoint(name="root")
    torso.add_camera(
        name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=[0, -5, 7], xyaxes=[1, 0, 0, 0, 0.8, 0.6]
    )
    torso.add_geom(name="torso", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.25, 0, 0], **_solid())
    for name, x, y, bend in LEGS:
        hip = torso.add_body(name=f"leg_{name}")
        _capsule(hip, x * UPPER, y * UPPER)
        thigh = hip.add_body(name=f"thigh_{name}", pos=[x * UPPER, y * UPPER, 0])
        _hinge(thigh, f"hip_{name}", [0, 0, 1], (-30, 30))
        _capsule(thigh, x * UPPER, y * UPPER)
        shank = thigh.add_body(name=f"shank_{name}", pos=[x * UPPER, y * UPPER, 0])
        # the horizontal axis at right angles to the leg that has a positive y
        axis = [-y * x, 1, 0]
        _hinge(shank, f"ankle_{name}", axis, (30, 70) if bend > 0 else (-70, -30))
        _capsule(shank, x * LOWER, y * LOWER)
    for name in MOTORS:
        for joint in (f"hip_{name}", f"ankle_{name}"):
            motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            motor.set_to_motor()
            motor.gear = [GEAR, 0, 0, 0, 0, 0]
            motor.ctrllimited, motor.ctrlrange = True, [-1, 1]


def _solid() -> dict[str, Any]:
    """Legs touch the floor and the walls, not one another."""
    return {"density": 5.0, "conaffinity": 0, "rgba": [0.75, 0.45, 0.2, 1], **SURFACE.settings()}


def _capsule(body: mujoco.MjsBody, x: float, y: float) -> None:
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, x, y, 0], size=[THICKNESS, 0, 0], **_solid())


def _hinge(body: mujoco.MjsBody, name: str, axis: list[int], degrees: tuple[int, int]) -> None:
    body.add_joint(
        name=name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=axis,
        range=[math.radians(angle) for angle in degrees],
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        armature=1.0,
        damping=[1.0, 0, 0],
    )


JOINTS = tuple(f"{joint} {leg}" for leg in "1234" for joint in ("hip", "ankle"))

ANT = Body(
    name="ant",
    add=add_ant,
    surface=SURFACE,
    floor=True,
    gravity=True,
    names=(
        "x [m]",
        "y [m]",
        "height [m]",
        "quaternion w",
        "quaternion x",
        "quaternion y",
        "quaternion z",
        *(f"{joint} [rad]" for joint in JOINTS),
        "x velocity [m/s]",
        "y velocity [m/s]",
        "z velocity [m/s]",
        *(f"angular velocity {axis} [rad/s]" for axis in "xyz"),
        *(f"{joint} velocity [rad/s]" for joint in JOINTS),
    ),
    scales=(*[1.0] * 13, *[2.0] * 3, *[5.0] * 11),
    speed=2.0,
    upright=3,
)


@dataclass
class AntMazeConfig(MujocoMazeConfig):
    """Settings of the ant maze."""

    LAYOUTS: ClassVar[tuple[str, ...]] = tuple(name for name in MujocoMazeConfig.LAYOUTS if name not in TABLES)

    name: str = "ant_maze"
    egocentric: bool = False
    """Whether networks see the ant from the side that is its front, see ``AntView``; ``goals=xy`` only."""
    front: str = "goal"
    """What the front of an egocentric ant faces: its ``goal``, or where it moves, ``motion``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front not in FRONTS:
            raise ValueError(f"ant maze: front is {self.front!r}; allowed: {', '.join(FRONTS)}")
        if self.front != "goal" and not self.egocentric:
            raise ValueError(
                f"ant maze: front={self.front} is what an egocentric ant faces, and egocentric=false; set "
                "egocentric=true, or front=goal, which says nothing where it is false"
            )
        if self.egocentric and self.goals != "xy":
            raise ValueError(
                f"ant maze: egocentric=true needs goals that are places, goals=xy; got goals={self.goals}; set "
                "egocentric=false or goals=xy"
            )


class AntMaze(MujocoMaze):
    """An ant in a maze. The goal is where its torso is, x and y, unless ``goals`` says otherwise.

    Observation: ``qpos`` and ``qvel``, by joint; legs 1 to 4 point to (+, +), (-, +), (-, -) and (+, -) of (x, y):

    | Num | Observation | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | x of the torso | -Inf | Inf | ``root`` | m |
    | 1 | y of the torso | -Inf | Inf | ``root`` | m |
    | 2 | height of the torso | -Inf | Inf | ``root`` | m |
    | 3 | orientation of the torso, w of the quaternion | -Inf | Inf | ``root`` | 1 |
    | 4 | orientation of the torso, x of the quaternion | -Inf | Inf | ``root`` | 1 |
    | 5 | orientation of the torso, y of the quaternion | -Inf | Inf | ``root`` | 1 |
    | 6 | orientation of the torso, z of the quaternion | -Inf | Inf | ``root`` | 1 |
    | 7 | angle of the hip | -Inf | Inf | ``hip_1`` | rad |
    | 8 | angle of the ankle | -Inf | Inf | ``ankle_1`` | rad |
    | 9 | angle of the hip | -Inf | Inf | ``hip_2`` | rad |
    | 10 | angle of the ankle | -Inf | Inf | ``ankle_2`` | rad |
    | 11 | angle of the hip | -Inf | Inf | ``hip_3`` | rad |
    | 12 | angle of the ankle | -Inf | Inf | ``ankle_3`` | rad |
    | 13 | angle of the hip | -Inf | Inf | ``hip_4`` | rad |
    | 14 | angle of the ankle | -Inf | Inf | ``ankle_4`` | rad |
    | 15 | velocity of the torso along x | -Inf | Inf | ``root`` | m/s |
    | 16 | velocity of the torso along y | -Inf | Inf | ``root`` | m/s |
    | 17 | velocity of the torso along z | -Inf | Inf | ``root`` | m/s |
    | 18 | angular velocity of the torso about x | -Inf | Inf | ``root`` | rad/s |
    | 19 | angular velocity of the torso about y | -Inf | Inf | ``root`` | rad/s |
    | 20 | angular velocity of the torso about z | -Inf | Inf | ``root`` | rad/s |
    | 21 | angular velocity of the hip | -Inf | Inf | ``hip_1`` | rad/s |
    | 22 | angular velocity of the ankle | -Inf | Inf | ``ankle_1`` | rad/s |
    | 23 | angular velocity of the hip | -Inf | Inf | ``hip_2`` | rad/s |
    | 24 | angular velocity of the ankle | -Inf | Inf | ``ankle_2`` | rad/s |
    | 25 | angular velocity of the hip | -Inf | Inf | ``hip_3`` | rad/s |
    | 26 | angular velocity of the ankle | -Inf | Inf | ``ankle_3`` | rad/s |
    | 27 | angular velocity of the hip | -Inf | Inf | ``hip_4`` | rad/s |
    | 28 | angular velocity of the ankle | -Inf | Inf | ``ankle_4`` | rad/s |

    Action, in the order of Gymnasium's Ant:

    | Num | Action | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | torque at the hip | -1 | 1 | ``hip_4`` | 150 N m |
    | 1 | torque at the ankle | -1 | 1 | ``ankle_4`` | 150 N m |
    | 2 | torque at the hip | -1 | 1 | ``hip_1`` | 150 N m |
    | 3 | torque at the ankle | -1 | 1 | ``ankle_1`` | 150 N m |
    | 4 | torque at the hip | -1 | 1 | ``hip_2`` | 150 N m |
    | 5 | torque at the ankle | -1 | 1 | ``ankle_2`` | 150 N m |
    | 6 | torque at the hip | -1 | 1 | ``hip_3`` | 150 N m |
    | 7 | torque at the ankle | -1 | 1 | ``ankle_3`` | 150 N m |
    """

    Config: ClassVar = AntMazeConfig
    body: ClassVar = ANT

    def __init__(self, config: AntMazeConfig, num_envs: int, device: torch.device, seed: int) -> None:
        super().__init__(config, num_envs, device, seed)
        if config.egocentric:
            self.view = AntView(self.observation_scale, config.front)
