import os
import subprocess
import sys

import pytest
import torch

from discover_envs.mujoco_maze.camera import gl_context
from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig
from discover_rl.gym import GoalEnv


@pytest.fixture
def drawing():
    """Where a machine cannot draw there is nothing to see."""
    try:
        gl_context()
    except RuntimeError as error:
        pytest.skip(str(error))


def test_torch_can_still_import_triton_after_the_first_picture(drawing):
    """As PyTorch does at the first optimizer; in a process of its own, for it would kill this one."""
    pytest.importorskip("triton")
    code = """
import gymnasium
env = gymnasium.make("discover_envs:Discover/PointMazeMujoco_UMaze-v0", render_mode="rgb_array", width=32, height=32)
env.reset(seed=0)
env.render()
env.close()
import triton._C.libtriton
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_a_frame_may_be_large(drawing):
    env = GoalEnv("point_maze_mujoco", render_mode="rgb_array", width=1400, height=64)
    env.reset(seed=0)
    frame = env.render()
    env.close()
    assert frame is not None and frame.shape == (64, 1400, 3)


def test_a_frame_that_is_too_large_is_said_and_spoils_no_other(drawing):
    maze = PointMazeMujoco(PointMazeMujocoConfig(num_threads=1), 1, torch.device("cpu"), 0)
    with pytest.raises(RuntimeError, match=r"cannot draw 100000 x 16 pixels: .*take a smaller frame"):
        maze.render(0, maze.targets()[0], 100_000, 16)
    assert maze.render(0, maze.targets()[0], 32, 16).shape == (16, 32, 3)
    maze.close()


def test_a_wrong_mujoco_gl_is_named():
    """In a process of its own: it is read when mujoco is imported."""
    code = "import discover_envs.mujoco_maze.ant"
    environment = {**os.environ, "MUJOCO_GL": "foo"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ImportError: MUJOCO_GL=foo does not work on this machine (" in ended.stderr
    assert ended.stderr.strip().endswith("unset it, or set egl, osmesa or disable")


def test_the_reason_comes_last_and_what_needs_no_mujoco_is_loaded():
    command = [sys.executable, "-m", "discover_rl", "train", "env=ant_maze/plain", "--cfg", "job"]
    environment = {**os.environ, "MUJOCO_GL": "foo"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    *warnings, sentence = ended.stderr.splitlines()
    assert ended.returncode == 2 and sentence.startswith("discover-rl: env=ant_maze/plain: the plug-in 'ant_maze' (")
    assert "MUJOCO_GL=foo does not work on this machine (" in sentence
    assert not any("'gymnasium'" in warning for warning in warnings)
