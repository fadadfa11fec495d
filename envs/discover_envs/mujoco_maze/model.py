"""The one builder: a body, a grid of walls and a floor become a MuJoCo model."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

from dataclasses import dataclass

import mujoco
import numpy as np

from discover_envs.mujoco_maze.body import Body, Scene
from discover_envs.mujoco_maze.grid import GridLayout

INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "RK4": mujoco.mjtIntegrator.mjINT_RK4,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
TARGET = "target"
WALL = (0.55, 0.52, 0.48, 1.0)
MARK = 0.0125  # half the height of the disc that marks the target, in cells
RED = (0.84, 0.15, 0.16, 0.6)


@dataclass(frozen=True)
class Physics:
    """How the model is simulated.

    Attributes:
        timestep: Seconds of a physics step.
        integrator: One of ``INTEGRATORS``.
        cone: One of ``CONES``.
        iterations: Limit of the constraint solver.
        ls_iterations: Limit of its line search.
    """

    timestep: float
    integrator: str
    cone: str
    iterations: int
    ls_iterations: int


def build_model(
    body: Body, grid: GridLayout, cell_size: float, wall_height: float, success_radius: float, physics: Physics
) -> mujoco.MjModel:
    """Compile the model of a body in a maze.

    Args:
        body: The body; it stands at (0, 0), environments move it to a start.
        grid: The maze.
        cell_size: Metres of a cell.
        wall_height: Metres of a wall.
        success_radius: Radius of the site that shows the target.
        physics: Simulation options.
    """
    spec = mujoco.MjSpec()
    spec.modelname = f"{body.name} in {grid.name}"
    spec.compiler.degree = False
    option = spec.option
    option.timestep, option.integrator, option.cone = (
        physics.timestep,
        INTEGRATORS[physics.integrator],
        CONES[physics.cone],
    )
    option.iterations, option.ls_iterations = physics.iterations, physics.ls_iterations
    if not body.gravity:
        option.gravity = [0, 0, 0]
    low, high = (corner * cell_size for corner in grid.corners)
    _add_surroundings(spec, low - [0, body.before], high, body, cell_size)
    for index, box in enumerate(grid.boxes()):
        spec.worldbody.add_geom(
            name=f"wall_{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[box.x * cell_size, box.y * cell_size, wall_height / 2],
            size=[box.half_x * cell_size, box.half_y * cell_size, wall_height / 2],
            conaffinity=1,
            rgba=WALL,
            **body.surface.settings(),
        )
    x, y = grid.position(grid.target)
    spec.worldbody.add_site(
        name=TARGET,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=[x * cell_size, y * cell_size, MARK * cell_size],
        size=[success_radius, MARK * cell_size, 0],
        rgba=RED,
    )
    body.add(spec, Scene(low, high, cell_size))
    return spec.compile()


def half_width(model: mujoco.MjModel) -> float:
    """How far what is at x and y extends beyond them along either axis, in the pose of the model, in metres.

    Geoms that touch walls count, of all that hangs on the first joint's tree. Exact for spheres, capsules and upright
    boxes; else up to the corners of the box round the geom.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    tree = model.body_rootid[model.jnt_bodyid[0]]
    ours = (model.body_rootid[model.geom_bodyid] == tree) & (model.geom_contype & 1 == 1)
    frames, boxes = data.geom_xmat[ours].reshape(-1, 3, 3), model.geom_aabb[ours]
    middles = data.geom_xpos[ours] + (frames @ boxes[:, :3, None])[..., 0]
    extents = (np.abs(frames) @ boxes[:, 3:, None])[..., 0]
    radii, lengths = model.geom_size[ours, :1], model.geom_size[ours, 1:2]
    kinds = model.geom_type[ours, None]
    extents = np.where(kinds == mujoco.mjtGeom.mjGEOM_SPHERE, radii, extents)
    extents = np.where(kinds == mujoco.mjtGeom.mjGEOM_CAPSULE, radii + np.abs(frames[..., 2]) * lengths, extents)
    return float((np.abs(middles - [*model.qpos0[:2], 0]) + extents)[:, :2].max())


def _add_surroundings(spec: mujoco.MjSpec, low: np.ndarray, high: np.ndarray, body: Body, cell_size: float) -> None:
    """Floor, light, and a camera that sees all from above."""
    middle, extent = (low + high) / 2, float((high - low).max())
    spec.add_texture(
        name="checker",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.85, 0.87, 0.9],
        rgb2=[0.75, 0.78, 0.82],
        width=256,
        height=256,
    )
    material = spec.add_material(name="floor", texuniform=True, texrepeat=[2 / cell_size, 2 / cell_size])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checker"
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[*middle, 0],
        size=[extent, extent, 1],
        contype=int(body.floor),
        conaffinity=int(body.floor),
        material="floor",
        **body.surface.settings(),
    )
    spec.worldbody.add_light(
        pos=[*middle, extent],
        dir=[0.2, 0.2, -1],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.4, 0.4, 0.4],
        specular=[0, 0, 0],
        castshadow=False,
    )
    spec.visual.headlight.ambient = [0.4, 0.4, 0.4]
    spec.visual.headlight.diffuse = [0.3, 0.3, 0.3]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.stat.extent = extent
    spec.stat.center = [*middle, 0]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 1280
    spec.worldbody.add_camera(name="above", pos=[*middle, 1.35 * extent], quat=[1, 0, 0, 0], fovy=45)
