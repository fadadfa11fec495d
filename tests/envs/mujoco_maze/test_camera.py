import subprocess
import sys

import pytest

from discover_envs.mujoco_maze.camera import gl_context


def test_torch_can_still_import_triton_after_the_first_picture():
    """As PyTorch does at the first optimizer; in a process of its own, for it would kill this one."""
    pytest.importorskip("triton")
    try:
        gl_context()
    except RuntimeError as error:
        pytest.skip(str(error))
    code = """
import gymnasium
env = gymnasium.make("discover_envs:Discover/PointMazeMujoco_UMaze-v0", render_mode="rgb_array", width=32, height=32)
env.reset(seed=0)
env.render()
env.close()
import triton._C.libtriton
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
