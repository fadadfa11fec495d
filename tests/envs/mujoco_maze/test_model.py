"""The models against those that they are to be compared with."""
# pyright: reportAttributeAccessIssue=false

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from discover_envs.mujoco_maze.ant import AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ant():
    return AntMaze(AntMazeConfig(layout="large_plain", integrator="RK4"), 1, CPU, 0).model


@pytest.fixture(scope="module")
def gymnasium_ant():
    path = Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"
    return mujoco.MjModel.from_xml_path(str(path))


@pytest.mark.parametrize(
    "field",
    [
        "body_mass", "body_inertia", "dof_damping", "dof_armature", "jnt_range", "jnt_axis", "jnt_pos",
        "actuator_gear", "actuator_ctrlrange", "dof_invweight0", "qpos0",
    ],
)  # fmt: skip
def test_the_ant_is_gymnasiums(ant, gymnasium_ant, field):
    np.testing.assert_allclose(getattr(ant, field), getattr(gymnasium_ant, field), atol=1e-12)


def test_the_ant_moves_as_gymnasiums_does_away_from_walls(ant, gymnasium_ant):
    rng = np.random.default_rng(0)
    controls = rng.uniform(-1, 1, (60, 8))
    ends = []
    for model in (ant, gymnasium_ant):
        data = mujoco.MjData(model)
        data.qpos[:2] = 8.0, 8.0
        for control in controls:
            data.ctrl[:] = control
            mujoco.mj_step(model, data)
        assert data.ncon > 0  # it has landed
        ends.append(np.concatenate([data.qpos, data.qvel]))
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_the_point_moves_as_in_gymnasium_robotics():
    robotics = pytest.importorskip("gymnasium_robotics")
    gymnasium.register_envs(robotics)
    theirs = gymnasium.make("PointMaze_UMaze-v3")
    config = PointMazeMujocoConfig(frame_skip=1, start_noise=0.0)
    ours = PointMazeMujoco(config, 1, CPU, 0)
    observation, _ = theirs.reset(seed=0, options={"reset_cell": np.array([3, 1]), "goal_cell": np.array([1, 1])})
    start = observation["observation"]
    ours._stepper.write(torch.tensor([True]), torch.tensor(start[None, :2]).float(), torch.zeros(1, 2))
    ours._state.copy_(torch.tensor(start[None]).float())
    rng = np.random.default_rng(0)
    for _ in range(80):  # into the walls too
        action = rng.uniform(-0.5, 1, 2)
        observation, *_ = theirs.step(action)
        state = ours.step(torch.tensor(action[None]).float()).observation[0]
        np.testing.assert_allclose(state.numpy(), observation["observation"], atol=2e-3)
    theirs.close()


@pytest.mark.parametrize("integrator", ["implicitfast", "Euler", "RK4"])
def test_options_reach_the_model(integrator):
    config = AntMazeConfig(layout="umaze", integrator=integrator, cone="elliptic", timestep=0.005, iterations=7)
    model = AntMaze(config, 1, CPU, 0).model
    assert model.opt.integrator == getattr(mujoco.mjtIntegrator, f"mjINT_{integrator.upper()}")
    assert model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert (model.opt.timestep, model.opt.iterations) == (0.005, 7)


def test_walls_stand_where_cells_are_walls():
    config = AntMazeConfig(layout="medium", cell_size=3.0, wall_height=1.5, start_noise=0.1)
    maze = AntMaze(config, 1, CPU, 0)
    model = maze.model
    walls = [i for i in range(model.ngeom) if model.geom(i).name.startswith("wall_")]
    area = sum(4 * model.geom_size[i, 0] * model.geom_size[i, 1] for i in walls)
    assert area == pytest.approx(9 * maze.grid.walls.sum())
    assert all(model.geom_size[i, 2] == 0.75 == model.geom_pos[i, 2] for i in walls)
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, "target")
    np.testing.assert_allclose(model.site_pos[site, :2], maze.targets()[0])
