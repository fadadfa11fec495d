"""What moves the worlds: the contract of the two steppers, and which of them a device gets."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

from typing import Protocol, runtime_checkable

import mujoco
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class Stepper(Protocol):
    """Many worlds of one model, stepped together.

    Attributes:
        qpos: Positions of each world; a view that each step rewrites, not to be written to.
        qvel: Velocities of each world, likewise.
        control: Controls of each world, to be written to before a step.
    """

    qpos: Float[Tensor, "env qpos"]
    qvel: Float[Tensor, "env qvel"]
    control: Float[Tensor, "env act"]

    def step(self) -> None:
        """Advance every world by one environment step under its controls."""
        ...

    def write(
        self, mask: Bool[Tensor, "env"], qpos: Float[Tensor, "env qpos"], qvel: Float[Tensor, "env qvel"]
    ) -> None:
        """Put worlds into a state where ``mask`` is True, and forget what the solver remembers of them."""
        ...

    def check(self) -> None:
        """Raise ``ValueError`` if a buffer has overflowed since the start; the message names the setting."""
        ...


def make_stepper(
    model: mujoco.MjModel,
    num_envs: int,
    frame_skip: int,
    device: torch.device,
    backend: str,
    num_threads: int,
    nconmax: int,
    njmax: int,
) -> Stepper:
    """MuJoCo Warp on CUDA, native MuJoCo on the CPU, unless ``backend`` says otherwise.

    Raises:
        ValueError: If the native backend is asked for on CUDA, or MuJoCo Warp is wanted and not installed.
    """
    wants_warp = backend == "warp" or (backend == "auto" and device.type == "cuda")
    if not wants_warp:
        if device.type != "cpu":
            raise ValueError(f"backend=native steps on the CPU, but device is {device}; use backend=auto or device=cpu")
        from discover_envs.mujoco_maze.native import NativeStepper

        return NativeStepper(model, num_envs, frame_skip, num_threads)
    try:
        import warp

        warp.config.log_level = warp.LOG_WARNING  # no line per module; before the next line, which starts Warp
        from discover_envs.mujoco_maze.warp_stepper import WarpStepper
    except ImportError as error:
        raise ValueError(
            f"MuJoCo Warp is not installed ({error}); pip install 'discover-rl[gpu]', or train on the CPU with "
            "device=cpu"
        ) from error
    return WarpStepper(model, num_envs, frame_skip, device, nconmax, njmax)
