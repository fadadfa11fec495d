"""MuJoCo mazes: one builder, one environment, two steppers (MuJoCo Warp on CUDA, native threads on the CPU).

A body is one small file, see ``point.py``, ``ant.py`` and ``arm.py``: its bodies and motors, its configuration, and a
class. For the arm the maze is a table: what goes through it is the cube.
"""

import os

try:
    import mujoco  # noqa: F401
except Exception as error:  # what its import raises differs from one value of MUJOCO_GL to the other
    if "MUJOCO_GL" not in os.environ:
        raise
    raise ImportError(
        f"MUJOCO_GL={os.environ['MUJOCO_GL']} does not work on this machine ({error}); unset it, or set egl, osmesa or "
        "disable"
    ) from error
