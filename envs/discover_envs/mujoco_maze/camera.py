"""Pictures of a world as a camera sees it."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import contextlib
import copy
import functools
import importlib
import os
import subprocess
import sys
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from mujoco.rendering.classic import renderer as mujoco_renderer

from discover_envs.mujoco_maze.model import TARGET

PROBE = "import mujoco; mujoco.GLContext(8, 8).free()"


class Camera:
    """Looks down on the whole maze from the front.

    Args:
        model: The model to be seen.
        width: Pixels.
        height: Pixels.

    Raises:
        RuntimeError: If this machine has no way to draw without a screen, or not what ``MUJOCO_GL`` names, or no room
            for so many pixels.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self.size = (width, height)
        model = copy.copy(model)  # its buffer is sized for these frames alone
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._model, self._data = model, mujoco.MjData(model)
        self._target = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, TARGET)
        _load_triton()
        backend, theirs = gl_context(), getattr(mujoco_renderer.gl_context, "GLContext", None)
        mujoco_renderer.gl_context.GLContext = backend  # mujoco chooses at its import only, by MUJOCO_GL
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except (mujoco.FatalError, RuntimeError) as error:
            who, other = (_chosen(), "unset MUJOCO_GL, set it to egl, or ") if _chosen() else ("this machine", "")
            raise RuntimeError(
                f"{who} cannot draw {width} x {height} pixels: {error}; {other}take a smaller frame"
            ) from error
        finally:
            mujoco_renderer.gl_context.GLContext = theirs
        self._view = mujoco.MjvCamera()
        self._view.lookat[:] = model.stat.center
        self._view.distance, self._view.azimuth, self._view.elevation = 1.35 * model.stat.extent, 90, -65

    def picture(
        self, qpos: Float[np.ndarray, "qpos"], goal: Float[np.ndarray, "2"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The body at ``qpos``, the goal as a red disc."""
        self._data.qpos[:] = qpos
        mujoco.mj_forward(self._model, self._data)
        self._data.site_xpos[self._target, :2] = goal
        self._renderer.update_scene(self._data, self._view)
        return self._renderer.render()

    def close(self) -> None:
        """Free what the graphics driver holds."""
        self._renderer.close()


def _load_triton() -> None:
    """Mesa's software renderer and Triton each bring an LLVM; where Mesa's is loaded first, Triton's kills the process.

    PyTorch imports Triton late, at the first optimizer.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton._C.libtriton")


def _chosen() -> str:
    """The user's choice as the user wrote it; empty if there is none."""
    backend = os.environ.get("MUJOCO_GL")
    return f"MUJOCO_GL={backend}" if backend else ""


@functools.cache
def gl_context() -> Any:  # noqa: ANN401 - a class of mujoco's, without a public type
    """How to draw without a screen: what MUJOCO_GL names, else EGL, else OSMesa.

    Tried in another process, for a failed attempt spoils further ones in its own.

    Raises:
        RuntimeError: If none works.
    """
    if os.environ.get("MUJOCO_GL") or sys.platform != "linux":
        backend = getattr(mujoco_renderer.gl_context, "GLContext", None)
        if backend is None:
            raise RuntimeError(f"{_chosen()} switches drawing off; unset MUJOCO_GL, or set it to egl or osmesa")
        return backend
    for backend in ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": backend}
        tried = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, check=False)
        if tried.returncode == 0:
            return importlib.import_module(f"mujoco.{backend}").GLContext
    raise RuntimeError(
        "this machine draws neither with EGL nor with OSMesa; install libegl1 or libosmesa6, or choose with MUJOCO_GL"
    )
