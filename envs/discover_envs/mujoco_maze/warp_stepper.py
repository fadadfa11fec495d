"""MuJoCo Warp: all worlds on one CUDA device, an environment step as one CUDA graph, tensors shared with torch."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import contextlib
import gc
import sys
from pathlib import Path

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor

# bit of Data.overflow -> what ran out, and the setting that gives more
SETTINGS = {
    1: ("constraint rows", "njmax"),
    2: ("entries of the constraint Jacobian", "njmax"),
    4: ("candidate pairs of the broad phase", "nconmax"),
    8: ("contacts", "nconmax"),
    16: ("pairs of the convex collision", "nconmax"),
}


class WarpStepper:
    """Worlds of MuJoCo Warp. On its CPU device it does the same, slowly, for tests.

    The solver's loop is a conditional node of the graph, so the graph cannot be captured again inside one of
    torch's; it is launched on a stream of its own that waits for torch's current stream and is waited for. What else is
    on the device has lower priority: a step is many small kernels, each of which would wait for one of the others.

    Args:
        model: The model.
        num_envs: Worlds.
        frame_skip: Physics steps of an environment step.
        device: Where.
        nconmax: Room for contacts per world (they share one pool).
        njmax: Room for constraint rows per world.
    """

    def __init__(
        self, model: mujoco.MjModel, num_envs: int, frame_skip: int, device: torch.device, nconmax: int, njmax: int
    ) -> None:
        self.frame_skip = frame_skip
        wp.init()
        if not any(Path(wp.config.kernel_cache_dir or ".").glob("*")):
            print("MuJoCo Warp compiles its kernels at first use, which takes a minute or so", file=sys.stderr)
        index = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device.index
        self._device = wp.device_from_torch(torch.device(device.type, index))  # Warp wants the number
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None
        self._warp_stream = wp.stream_from_torch(self._stream) if self._stream is not None else None
        with self._on_stream(), wp.ScopedDevice(self._device):
            self._model = mjw.put_model(model)
            self._model.opt.warn_overflow = 0  # the flags are read instead; a line of output per event is not wanted
            self._data = mjw.make_data(model, nworld=num_envs, nconmax=nconmax, njmax=njmax)
            self.qpos, self.qvel = wp.to_torch(self._data.qpos), wp.to_torch(self._data.qvel)
            self.control = wp.to_torch(self._data.ctrl)
            self._warmstart = wp.to_torch(self._data.qacc_warmstart)
            self._overflow = wp.to_torch(self._data.overflow)
            self._graph = self._capture()

    def _capture(self) -> wp.Graph:
        """One plain step first: it compiles and loads what the capture may not."""
        start = self.qpos.clone(), self.qvel.clone()
        mjw.step(self._model, self._data)
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a graph finalised during a capture would spoil it
        try:
            with wp.ScopedCapture(device=self._device, stream=self._warp_stream) as capture:
                for _ in range(self.frame_skip):
                    mjw.step(self._model, self._data)
        finally:
            if collecting:
                gc.enable()
        self.qpos.copy_(start[0])
        self.qvel.copy_(start[1])
        self._warmstart.zero_()
        self._overflow.zero_()
        if capture.graph is None:
            raise RuntimeError("MuJoCo Warp: the step could not be captured")
        return capture.graph

    @contextlib.contextmanager
    def _on_stream(self):  # noqa: ANN202 - a context manager
        if self._stream is None:
            yield
            return
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), wp.ScopedStream(self._warp_stream):
            yield
        current.wait_stream(self._stream)

    def step(self) -> None:
        """Advance every world by one environment step under its controls."""
        if self._stream is None:
            wp.capture_launch(self._graph)
            return
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        wp.capture_launch(self._graph, stream=self._warp_stream)
        current.wait_stream(self._stream)

    def write(
        self, mask: Bool[Tensor, "env"], qpos: Float[Tensor, "env qpos"], qvel: Float[Tensor, "env qvel"]
    ) -> None:
        """Put worlds into a state where ``mask`` is True, and forget what the solver remembers of them.

        What follows from the state (``xpos`` and so on) stays as it was until the next step computes it anew.
        """
        self.qpos.copy_(torch.where(mask[:, None], qpos, self.qpos))
        self.qvel.copy_(torch.where(mask[:, None], qvel, self.qvel))
        self._warmstart.masked_fill_(mask[:, None], 0.0)

    def check(self) -> None:
        """Read the overflow flags of all worlds.

        Raises:
            ValueError: If a buffer has overflowed: contacts or constraints were lost.
        """
        seen = 0
        for bit in SETTINGS:
            seen |= bit * int((self._overflow & bit).any())
        if seen:
            lost = [f"{what} (env.{setting})" for bit, (what, setting) in SETTINGS.items() if seen & bit]
            raise ValueError(
                f"MuJoCo Warp: too little room for {' and '.join(lost)}; raise the setting (a training goes on from "
                "its checkpoint with resume=RUN_DIR)"
            )
