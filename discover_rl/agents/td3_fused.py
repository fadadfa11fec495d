"""The update of TD3 as ten Triton kernels for every two critic updates; the twin of ``PlainUpdate``."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.agents.td3_config import TD3Config
from discover_rl.agents.td3_update import SATURATED, Minibatches, Networks
from discover_rl.nets import kernels

# Triton types the arguments of a kernel as it sees them inside
# pyright: reportArgumentType=false, reportCallIssue=false

# 64 rows and more would go to the warp-group matrix units, whose TF32 products of these layouts came out wrong with
# Triton 3.6 on an H100 (gradients 10 to 100 % off); 32 are faster anyway, for more programs share the work
BLOCKS = (32, 16)
PROGRAMS = 200  # most of the 264 places of an H100, two on each multiprocessor; blocks of rows are made small enough
TILE = 64


class _Scratch(NamedTuple):
    """What a pass leaves for the weight gradient: activations and gradients by them, both (net, layer, row, H)."""

    hidden: Tensor
    delta: Tensor
    head_grad: Tensor


def fused_obstacle(config: TD3Config, batch_size: int) -> str | None:
    """Why the kernels cannot run this configuration; None if they can."""
    widths = set(config.hidden_sizes)
    if len(widths) > 1 or min(widths) % TILE:
        return f"agent.hidden_sizes={list(config.hidden_sizes)} are not all the same multiple of {TILE}"
    if batch_size % 16:
        return f"batch_size={batch_size} is no multiple of 16"
    return None


class FusedUpdate:
    """See ``Update``. Buffers are made at the first call, for its batch size.

    Args:
        networks: What is trained.
        config: Hyperparameters.
        value_max: Largest value there is.
    """

    def __init__(self, networks: Networks, config: TD3Config, value_max: float) -> None:
        self.networks, self.config, self.value_max = networks, config, value_max
        self.num_runs, self.num_critics = networks.critics.shape[:2]
        self.state_dim, self.input_dim = networks.actor_net.sizes[0], networks.critic_net.sizes[0]
        self.action_dim = networks.actor_net.sizes[-1]
        self.batch_size = 0
        self.value = self.error = self.ascended = torch.zeros(0)

    def __call__(self, minibatches: Minibatches, first: int) -> None:
        """See ``Update``."""
        if minibatches.reward.shape[2] != self.batch_size:
            self._allocate(minibatches.reward.shape[2])
        delay = self.config.policy_delay
        self._target_values(minibatches, first)
        for k in range(delay):
            self._critic_step(minibatches, first + k, k, polyak=k == delay - 1)
        self._actor_step(minibatches, first + delay - 1)

    def compile(self) -> None:
        """Nothing: the kernels are compiled as they are."""

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """See ``Update``."""
        if not self.batch_size:
            zeros = self.networks.actor.new_zeros(self.num_runs)
            return {"train/critic_loss": zeros, "train/actor_loss": zeros, "train/q_mean": zeros}
        return {
            "train/critic_loss": self.error.square().mean((1, 2)),
            "train/actor_loss": -self.ascended.mean((1, 2)),
            "train/q_mean": self.value.mean((1, 2)),
        }

    # -- buffers -----------------------------------------------------------------------------------------

    def _allocate(self, batch_size: int) -> None:
        config, runs, act = self.config, self.num_runs, self.action_dim
        members, several = self.num_critics, config.policy_delay * batch_size
        layers, width = len(config.hidden_sizes), config.hidden_sizes[0]

        def zeros(*shape: int) -> Tensor:
            return self.networks.actor.new_zeros(*shape)

        def scratch(nets: int, outputs: int) -> _Scratch:
            shape = (nets, layers, batch_size, width)
            return _Scratch(zeros(*shape), zeros(*shape), zeros(nets, batch_size, outputs))

        self.batch_size = batch_size
        self.target_hidden = zeros(runs * config.target_critics, layers, several, width)
        self.target_q = zeros(runs, config.target_critics, several)
        self.target_action = zeros(runs, several, act)  # before its noise; written, but only the actor needs it
        self.of_critics = scratch(runs * members, 1)
        self.of_ascent = scratch(runs * config.actor_critics, 1)
        self.of_actor = scratch(runs, act)
        self.action = zeros(runs, batch_size, act)
        self.grad_action = zeros(runs, config.actor_critics, batch_size, act)
        self.value, self.error = zeros(runs, members, batch_size), zeros(runs, members, batch_size)
        self.ascended = zeros(runs, config.actor_critics, batch_size)

    # -- launches ----------------------------------------------------------------------------------------

    def _shape(self, nets: int, rows: int) -> tuple[tuple[int, int], dict[str, Any]]:
        """The grid of a kernel that walks rows through networks, and its compile-time constants."""
        config = self.config
        fitting = [size for size in BLOCKS if self.batch_size % size == 0]
        block = next((size for size in fitting if nets * rows // size >= PROGRAMS), fitting[-1])
        width = config.hidden_sizes[0]
        constants = {
            "H": width,
            "L": len(config.hidden_sizes),
            "BM": block,
            # a program is bound by how fast weights arrive, so it takes them in long rows
            "BN": next(size for size in (256, 128, TILE) if width % size == 0),
            "BK": 32,
            "PRECISION": _precision(),
            "num_warps": 4,
            "num_stages": 3,
        }
        return (rows // block, nets), constants

    def _target_values(self, minibatches: Minibatches, first: int) -> None:
        config, networks, several = self.config, self.networks, self.config.policy_delay * self.batch_size
        x, noise = minibatches.next_inputs[:, first:], minibatches.target_noise[:, first:]
        members = minibatches.target_members[:, first:]
        grid, constants = self._shape(self.num_runs, several)
        kernels.policy_kernel[grid](
            networks.target_actor,
            **_inputs(x),
            noise=noise,
            noise_run_stride=noise.stride(0),
            raw=self.target_action,
            hidden=self.target_hidden,
            P=networks.actor_net.num_parameters,
            ROWS=several,
            IN=self.state_dim,
            ACT=self.action_dim,
            ACT_PAD=_padded(self.action_dim),
            BI=_input_block(self.state_dim),
            **constants,
        )
        grid, constants = self._shape(self.num_runs * config.target_critics, several)
        kernels.target_kernel[grid](
            networks.target_critics,
            **_inputs(x),
            members=members,
            members_run_stride=members.stride(0),
            q=self.target_q,
            hidden=self.target_hidden,
            P=networks.critic_net.num_parameters,
            E=self.num_critics,
            C=config.target_critics,
            B=self.batch_size,
            ROWS=several,
            IN=self.input_dim,
            BI=_input_block(self.input_dim),
            **constants,
        )

    def _critic_step(self, minibatches: Minibatches, k: int, place: int, polyak: bool) -> None:
        networks, nets = self.networks, self.num_runs * self.num_critics
        x, reward = minibatches.inputs[:, k], minibatches.reward[:, k]
        q = self.target_q[:, :, place * self.batch_size :]
        (moments,) = networks.critic_adam.state.values()
        grid, constants = self._shape(nets, self.batch_size)
        kernels.critic_kernel[grid](
            networks.critics,
            **_inputs(x),
            q=q,
            q_stride=q.stride(1),
            reward=reward,
            discount=minibatches.discount[:, k],
            lower=minibatches.lower[:, k],
            row_run_stride=reward.stride(0),
            value_max=self.value_max,
            hidden=self.of_critics.hidden,
            delta=self.of_critics.delta,
            head_grad=self.of_critics.head_grad,
            value=self.value,
            error=self.error,
            step=moments["step"],
            P=networks.critic_net.num_parameters,
            E=self.num_critics,
            C=self.config.target_critics,
            B=self.batch_size,
            IN=self.input_dim,
            RELATIVE=self.config.relative_gradients,
            BI=_input_block(self.input_dim),
            **constants,
        )
        self._adam(networks.critics, networks.target_critics, moments, x, self.of_critics, self.input_dim, polyak)

    def _actor_step(self, minibatches: Minibatches, k: int) -> None:
        networks, config = self.networks, self.config
        x, noise = minibatches.inputs[:, k], minibatches.actor_noise[:, k]
        members = minibatches.actor_members[:, k]
        (moments,) = networks.actor_adam.state.values()
        actions = {"ACT": self.action_dim, "ACT_PAD": _padded(self.action_dim)}
        grid, constants = self._shape(self.num_runs, self.batch_size)
        # the batch's own actions are overwritten: nothing needs them any more
        kernels.policy_kernel[grid](
            networks.actor,
            **_inputs(x),
            noise=noise,
            noise_run_stride=noise.stride(0),
            raw=self.action,
            hidden=self.of_actor.hidden,
            P=networks.actor_net.num_parameters,
            ROWS=self.batch_size,
            IN=self.state_dim,
            BI=_input_block(self.state_dim),
            **actions,
            **constants,
        )
        ascent_grid, ascent_constants = self._shape(self.num_runs * config.actor_critics, self.batch_size)
        kernels.ascend_kernel[ascent_grid](
            networks.critics,
            **_inputs(x),
            members=members,
            members_run_stride=members.stride(0),
            hidden=self.of_ascent.hidden,
            delta=self.of_ascent.delta,
            value=self.ascended,
            grad_action=self.grad_action,
            P=networks.critic_net.num_parameters,
            E=self.num_critics,
            A=config.actor_critics,
            B=self.batch_size,
            IN=self.input_dim,
            RELATIVE=self.config.relative_gradients,
            BI=_input_block(self.input_dim),
            **actions,
            **ascent_constants,
        )
        kernels.actor_kernel[grid](
            networks.actor,
            noise=noise,
            noise_run_stride=noise.stride(0),
            raw=self.action,
            grad_action=self.grad_action,
            hidden=self.of_actor.hidden,
            delta=self.of_actor.delta,
            head_grad=self.of_actor.head_grad,
            step=moments["step"],
            penalty=config.saturation_penalty / self.batch_size,
            saturated=SATURATED,
            P=networks.actor_net.num_parameters,
            A=config.actor_critics,
            B=self.batch_size,
            IN=self.state_dim,
            **actions,
            **constants,
        )
        self._adam(networks.actor, networks.target_actor, moments, x, self.of_actor, self.state_dim, polyak=True)

    def _adam(
        self,
        params: Tensor,
        target: Tensor,
        moments: dict[str, Tensor],
        x: Tensor,
        scratch: _Scratch,
        input_dim: int,
        polyak: bool,
    ) -> None:
        config = self.config
        width, layers, outputs = config.hidden_sizes[0], len(config.hidden_sizes), scratch.head_grad.shape[-1]
        across, block = width // TILE, _input_block(input_dim)
        programs = -(-input_dim // block) * across + (layers - 1) * across**2 + across
        nets = scratch.hidden.shape[0]
        kernels.adam_kernel[programs, nets](
            params,
            mean=moments["exp_avg"],
            square=moments["exp_avg_sq"],
            target=target,
            step=moments["step"],
            rates=self.networks.learning_rates,
            tau=config.tau,
            **_inputs(x),
            hidden=scratch.hidden,
            delta=scratch.delta,
            head_grad=scratch.head_grad,
            P=params.shape[-1],
            E=nets // self.num_runs,
            B=self.batch_size,
            IN=input_dim,
            OUT=outputs,
            OUT_PAD=_padded(outputs),
            H=width,
            L=layers,
            TILE=TILE,
            BI=block,
            BK=min(64, self.batch_size & -self.batch_size),
            POLYAK=polyak,
            PRECISION=_precision(),
            num_warps=4,
            num_stages=2,
        )


def _inputs(x: Tensor) -> dict[str, Any]:
    """Rows of one or several batches, and how they lie."""
    return {"x": x, "x_run_stride": x.stride(0), "WIDTH": x.shape[-1]}


def _precision() -> str:
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _padded(width: int) -> int:
    """A matrix product needs 16 columns, and a power of two."""
    return max(16, 1 << (width - 1).bit_length())


def _input_block(width: int) -> int:
    return min(TILE, _padded(width))
