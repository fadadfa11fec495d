"""A point mass driven by two forces, the body of Gymnasium-Robotics' PointMaze: 4.2 kg, 100 N, damping 1 N s/m."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

from dataclasses import dataclass
from typing import ClassVar

import mujoco

from discover_envs.mujoco_maze.body import Body, Scene, Surface
from discover_envs.mujoco_maze.config import MujocoMazeConfig
from discover_envs.mujoco_maze.maze import MujocoMaze

GEAR = 100.0  # N
SURFACE = Surface(condim=1, friction=(0.5, 0.1, 0.1), margin=0.002)


def add_point(spec: mujoco.MjSpec, scene: Scene) -> None:
    """A ball of radius 0.1 m on two slides. It meets walls without friction and hovers over the floor."""
    del scene
    body = spec.worldbody.add_body(name="point", pos=[0, 0, 0.1])
    for name, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, damping=[1.0, 0, 0])
        motor = spec.add_actuator(name=f"motor_{name}", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_motor()
        motor.gear = [GEAR, 0, 0, 0, 0, 0]
        motor.ctrllimited, motor.ctrlrange = True, [-1, 1]
    body.add_geom(
        name="ball",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[0.1, 0, 0],
        density=1000,
        conaffinity=0,
        rgba=[0.12, 0.35, 0.8, 1],
        **SURFACE.settings(),
    )


POINT = Body(
    name="point",
    add=add_point,
    surface=SURFACE,
    floor=False,
    gravity=False,
    names=("x [m]", "y [m]", "x velocity [m/s]", "y velocity [m/s]"),
    scales=(2.0, 2.0),
    speed=4.0,
    velocity_clip=5.0,
)


@dataclass
class PointMazeMujocoConfig(MujocoMazeConfig):
    """Settings of the point maze simulated with MuJoCo."""

    name: str = "point_maze_mujoco"
    layout: str = "umaze"
    cell_size: float = 1.0
    wall_height: float = 0.4
    integrator: str = "Euler"


class PointMazeMujoco(MujocoMaze):
    """A ball pushed through a maze. The goal is where it is, x and y, unless ``goals`` says otherwise.

    Velocities are cut to 5 m/s before each environment step, as Gymnasium-Robotics does.

    | Num | Observation | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | place along x | -Inf | Inf | ``x`` | m |
    | 1 | place along y | -Inf | Inf | ``y`` | m |
    | 2 | velocity along x | -Inf | Inf | ``x`` | m/s |
    | 3 | velocity along y | -Inf | Inf | ``y`` | m/s |

    | Num | Action | Min | Max | Name | Unit |
    |---|---|---|---|---|---|
    | 0 | force along x | -1 | 1 | ``motor_x`` | 100 N |
    | 1 | force along y | -1 | 1 | ``motor_y`` | 100 N |
    """

    Config: ClassVar = PointMazeMujocoConfig
    body: ClassVar = POINT
