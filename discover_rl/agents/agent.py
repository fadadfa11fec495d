"""The agent contract, and the transform of values into steps."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.replay import Batch
from discover_rl.selectors import Estimate


class Generators(NamedTuple):
    """One generator per purpose, all on the agent's device.

    Attributes:
        init: Initial parameters.
        explore: Exploration noise.
        learn: Target noise and the choice of critics.
    """

    init: torch.Generator
    explore: torch.Generator
    learn: torch.Generator


@runtime_checkable
class Agent(Protocol):
    """The contract. Every tensor has a leading run axis, and runs never mix.

    Attributes:
        batch_multiple: ``update`` takes a multiple of this many batches.
        goal_is_terminal: Whether batches should mark transitions into their goal as terminated.
        n_steps: Most steps that a transition of a batch may span, see ``Batch.steps``.
    """

    batch_multiple: int
    goal_is_terminal: bool
    n_steps: int

    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """The deterministic policy; actions in [-1, 1]."""
        ...

    def hold_policy(self) -> None:
        """Let ``explore`` act with the policy of this moment until the next call, whatever is learned meanwhile.

        The copy keeps its address, for a captured rollout reads it.
        """
        ...

    def explore(
        self,
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
        scale: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch act"]:
        """The held policy with exploration noise, ``scale`` times the usual; actions in [-1, 1]."""
        ...

    def values(self, observation: Float[Tensor, "run cand obs"], goal: Float[Tensor, "run cand goal"]) -> Estimate:
        """V(observation, goal) in minus steps: mean and standard deviation over the ensemble."""
        ...

    def update(self, batches: Batch) -> None:
        """One gradient step on each of several batches, stacked along the second axis: (run, count, batch, ...)."""
        ...

    def settle(self, mastery: Float[Tensor, "run"]) -> None:
        """Be told how reliably each run reaches its target, in [0, 1], after every round."""
        ...

    def compile(self) -> None:
        """Pass what ``update`` does through torch.compile, if that can help."""
        ...

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """What the last update said, by TensorBoard tag; tensors on the device."""
        ...

    def parameters(self) -> dict[str, Tensor]:
        """The networks by name, as references: what evaluation needs."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything else that learning goes on from (optimisers, targets), as references."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors named as in ``parameters`` and ``state`` into place, and hold the policy that they make.

        Raises:
            ValueError: If a tensor is missing or has another shape.
        """
        ...


def value_in_steps(q: Float[Tensor, "*lead"], gamma: float, goal_is_terminal: bool) -> Float[Tensor, "*lead"]:
    """Turn discounted values into minus the number of steps to the goal.

    With reward 1 for each step within the goal and no termination, Q is about γ^d / (1-γ) at d steps from it;
    where success ends the episode, about γ^d. The floor keeps the logarithm finite (arXiv 2505.19850, released
    code): v = -log_γ((1-γ)·max(Q + 0.01, 0.001)).

    Args:
        q: Values of one or more critics.
        gamma: Discount factor.
        goal_is_terminal: Whether the goal pays once instead of at each step.
    """
    scale = 1.0 if goal_is_terminal else 1 - gamma
    return -(scale * (q + 0.01).clamp_min(0.001)).log() / math.log(gamma)


def value_horizon(gamma: float, goal_is_terminal: bool) -> float:
    """Steps to the goal at which ``value_in_steps`` ends: what is worth nothing is held for as far as this."""
    return -float(value_in_steps(torch.zeros((), dtype=torch.float64), gamma, goal_is_terminal))


def make_adam(parameter: Tensor, learning_rate: float) -> torch.optim.Adam:
    """Adam for one flat tensor, its gradient and its moments in place from the start."""
    parameter.grad = torch.zeros_like(parameter)  # written in place by the backward passes
    optimizer = torch.optim.Adam([parameter], lr=learning_rate, fused=True, capturable=parameter.is_cuda)
    # torch makes these at the first step; a captured update and a checkpoint need them before
    optimizer.state[parameter] = {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }
    return optimizer


def copy_into(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy tensors by name, in place; nothing is copied if one of them does not fit.

    Raises:
        ValueError: If one is missing or has another shape.
    """
    for name, tensor in own.items():
        if name not in given:
            raise ValueError(f"checkpoint: tensor {name!r} is missing; it has {', '.join(sorted(given))}")
        if given[name].shape != tensor.shape:
            raise ValueError(
                f"checkpoint: tensor {name!r} has shape {tuple(given[name].shape)}, this configuration needs "
                f"{tuple(tensor.shape)}; use the configuration that it was trained with"
            )
    for name, tensor in own.items():
        tensor.copy_(given[name])
