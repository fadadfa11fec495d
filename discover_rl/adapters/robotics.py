"""Gymnasium-Robotics with MuJoCo 4: a comparison that no longer holds, put right."""

import sys
from types import SimpleNamespace

import numpy as np


def repair() -> None:
    """Let Fetch and Hand environments of gymnasium-robotics 1.4.2 be made with mujoco 4.0.

    They ask whether a joint type, a numpy number, is ``in`` a tuple of MuJoCo's enumeration, whose members no longer
    equal numpy numbers. In the one module that asks, plain numbers take their place. Nothing is changed where the
    package has not been imported, or the comparison holds.
    """
    module = sys.modules.get("gymnasium_robotics.utils.mujoco_utils")
    if module is None:
        return
    import mujoco  # which environments without it do without: its import fails where MUJOCO_GL is wrong

    joints = mujoco.mjtJoint  # type: ignore[attr-defined]
    if np.int32(int(joints.mjJNT_HINGE)) in (joints.mjJNT_HINGE,):
        return
    numbers = {name: int(getattr(joints, name)) for name in dir(joints) if name.startswith("mjJNT_")}
    names = {name: getattr(mujoco, name) for name in dir(mujoco)}
    module.mujoco = SimpleNamespace(**{**names, "mjtJoint": SimpleNamespace(**numbers)})  # type: ignore[attr-defined]
