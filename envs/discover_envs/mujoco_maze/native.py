"""Native MuJoCo on the CPU, its own threads stepping all worlds."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import copy
import os
import threading

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float
from mujoco import rollout
from torch import Tensor

STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


def _say_nothing(message: str) -> None:
    """In place of MuJoCo's warnings, one a diverging world, which fill the screen and a file in the working folder."""


class _Quiet:
    """Silences MuJoCo's warnings while steppers step, in any thread, unless the user has said what takes them.

    What takes them is one for the whole process: the first stepper sets it, the last takes it away.
    """

    def __init__(self) -> None:
        self._lock, self._stepping = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._stepping += 1
            if mujoco.get_mju_user_warning() is None:
                mujoco.set_mju_user_warning(_say_nothing)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stepping -= 1
            if not self._stepping and mujoco.get_mju_user_warning() is _say_nothing:
                mujoco.set_mju_user_warning(None)


_QUIET = _Quiet()


class NativeStepper:
    """Worlds as rows of one float64 array; ``mujoco.rollout`` advances them.

    Every environment step begins with a cold solver, so what a world does depends on its state and nothing else,
    whichever thread steps it.

    Args:
        model: The model.
        num_envs: Worlds.
        frame_skip: Physics steps of an environment step.
        num_threads: Threads; 0 takes as many as the process may use.
    """

    def __init__(self, model: mujoco.MjModel, num_envs: int, frame_skip: int, num_threads: int) -> None:
        self.model = copy.copy(model)
        # a state that has become nan must be seen, not replaced
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.frame_skip = frame_skip
        threads = min(num_threads or _usable_cores(), num_envs)
        self._datas = [mujoco.MjData(self.model) for _ in range(threads)]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)
        data = self._datas[0]
        width = mujoco.mj_stateSize(self.model, STATE)
        start = np.empty(width)
        mujoco.mj_getState(self.model, data, start, STATE)
        self._state = np.tile(start, (num_envs, 1))
        self._trace = np.empty((num_envs, frame_skip, width))
        self._qpos = slice(1, 1 + self.model.nq)  # behind the time
        self._qvel = slice(1 + self.model.nq, 1 + self.model.nq + self.model.nv)
        self.qpos = torch.empty(num_envs, self.model.nq)
        self.qvel = torch.empty(num_envs, self.model.nv)
        self.control = torch.zeros(num_envs, self.model.nu)
        self._show()

    def step(self) -> None:
        """Advance every world by one environment step under its controls."""
        controls = self.control.double().numpy()[:, None]
        with _QUIET:
            self._rollout.rollout(
                self.model,
                self._datas,
                self._state,
                controls,
                nstep=self.frame_skip,
                state=self._trace,
                skip_checks=False,
            )
        self._state[:] = self._trace[:, -1]
        self._show()

    def write(
        self, mask: Bool[Tensor, "env"], qpos: Float[Tensor, "env qpos"], qvel: Float[Tensor, "env qvel"]
    ) -> None:
        """Put worlds into a state where ``mask`` is True."""
        chosen = mask.numpy()
        self._state[chosen, 0] = 0.0
        self._state[chosen, self._qpos] = qpos[mask].double().numpy()
        self._state[chosen, self._qvel] = qvel[mask].double().numpy()
        self._show()

    def check(self) -> None:
        """Nothing can overflow: MuJoCo's own arena grows."""

    def _show(self) -> None:
        self.qpos.copy_(torch.from_numpy(self._state[:, self._qpos]))
        self.qvel.copy_(torch.from_numpy(self._state[:, self._qvel]))


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
