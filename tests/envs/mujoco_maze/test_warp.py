"""MuJoCo Warp against native MuJoCo from identical states: on Warp's CPU device, and on CUDA where there is one."""

import pytest
import torch

from discover_envs.mujoco_maze.ant import AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.arm import ArmPush, ArmPushConfig
from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig

pytest.importorskip("mujoco_warp")

CPU = torch.device("cpu")
MAZES = [
    (AntMaze, AntMazeConfig, "umaze"),
    (PointMazeMujoco, PointMazeMujocoConfig, "umaze"),
    (ArmPush, ArmPushConfig, "one_wall"),
]
NUM_ENVS = 16


def pair(kind, config_type, layout="umaze", device=CPU, **changes):
    """Native and Warp, with the same starts; elliptic, for the pyramidal cone has other contact frames in Warp."""
    values = {"layout": layout, "cone": "elliptic", "num_threads": 1} | changes
    native = kind(config_type(**values, backend="native"), NUM_ENVS, CPU, 0)
    warp = kind(config_type(**values, backend="warp"), NUM_ENVS, device, 0)
    start = torch.rand(NUM_ENVS, native.start_numbers, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(native.reset_from(start), warp.reset_from(start.to(device)).cpu())
    return native, warp


def actions(maze, steps):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(steps, NUM_ENVS, maze.action_dim, generator=generator) * 2 - 1


def agree(native, warp, device):
    apart = {}
    for t, action in enumerate(actions(native, 20), start=1):
        ours, theirs = native.step(action), warp.step(action.to(device))
        apart[t] = (ours.observation - theirs.observation.cpu()).abs().amax(1)
        assert torch.equal(ours.truncated, theirs.truncated.cpu())
    # contacts make the dynamics chaotic: rounding doubles every few steps
    assert apart[1].max() < 1e-4
    assert apart[5].median() < 1e-4 and apart[5].max() < 1e-2
    assert apart[20].median() < 1e-2
    mask = torch.arange(NUM_ENVS) % 3 == 0
    start = torch.rand(NUM_ENVS, native.start_numbers, generator=torch.Generator().manual_seed(2))
    before = warp.step(actions(native, 1)[0].to(device)).observation
    after = warp.reset_from(start.to(device), mask.to(device))
    assert torch.equal(after[~mask], before[~mask])
    native.step(actions(native, 1)[0])
    torch.testing.assert_close(native.reset_from(start, mask)[mask], after[mask].cpu())
    # world 0 was among the reset ones: the others must still feel the floor, and all must start as native ones do
    step = native.step(actions(native, 1)[0]), warp.step(actions(native, 1)[0].to(device))
    torch.testing.assert_close(step[0].observation[mask], step[1].observation.cpu()[mask], rtol=0, atol=1e-3)
    warp.monitor()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "config_type", "layout"), MAZES)
@pytest.mark.parametrize("integrator", ["implicitfast", "RK4"])
def test_warp_on_the_cpu_is_native(kind, config_type, layout, integrator):
    agree(*pair(kind, config_type, layout, integrator=integrator), CPU)


@pytest.mark.slow
def test_a_diverged_world_spoils_no_other():
    (_, warp), (_, twin) = (pair(AntMaze, AntMazeConfig) for _ in range(2))
    warp._stepper.qpos[3] = torch.nan
    warp._stepper.qvel[5] = 1e6
    action = actions(warp, 1)[0]
    step, plain = warp.step(action), twin.step(action)
    assert step.truncated.nonzero().flatten().tolist() == [3, 5]
    assert step.observation.isfinite().all()
    healthy = ~step.truncated
    torch.testing.assert_close(step.observation[healthy], plain.observation[healthy])
    assert warp.monitor()["rollout/diverged_worlds"].nonzero().flatten().tolist() == [3, 5]
    warp.reset(step.truncated)
    for action in actions(warp, 5):
        step = warp.step(action)
        assert step.observation.isfinite().all() and not step.truncated.any()


@pytest.mark.slow
def test_too_few_constraint_rows_are_an_error_that_names_the_setting():
    _, warp = pair(AntMaze, AntMazeConfig, njmax=4)
    for action in actions(warp, 15):
        warp.step(action)
    with pytest.raises(ValueError, match=r"env\.njmax"):
        warp.monitor()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("kind", "config_type", "layout"), MAZES)
def test_warp_on_cuda_is_native(kind, config_type, layout):
    agree(*pair(kind, config_type, layout, torch.device("cuda")), torch.device("cuda"))
