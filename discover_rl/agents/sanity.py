"""Agents that learn nothing: a maze that they solve is no maze."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.replay import Batch
from discover_rl.selectors import Estimate


@dataclass(frozen=True)
class ZeroConfig:
    """The agent that stands still.

    Attributes:
        name: Name in configs and tables.
    """

    name: str = "zero"


@dataclass(frozen=True)
class RandomConfig:
    """The agent that acts uniformly at random.

    Attributes:
        name: Name in configs and tables.
    """

    name: str = "random"


class ZeroAgent:
    """Always the zero action.

    Args:
        num_runs: Independent runs.
        action_dim: Width of an action.
        generator: Source of random numbers; tells the device.
    """

    batch_multiple = 1
    n_steps = 1
    goal_is_terminal = False

    def __init__(self, num_runs: int, action_dim: int, generator: torch.Generator) -> None:
        self.num_runs, self.action_dim, self.generator = num_runs, action_dim, generator

    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """Zeros."""
        return observation.new_zeros(*observation.shape[:-1], self.action_dim)

    def hold_policy(self) -> None:
        """Nothing: the policy never changes."""

    def explore(
        self,
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
        scale: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch act"]:
        """The same as ``act``."""
        return self.act(observation, goal)

    def values(self, observation: Float[Tensor, "run cand obs"], goal: Float[Tensor, "run cand goal"]) -> Estimate:
        """Zeros: it has no opinion."""
        zeros = observation.new_zeros(observation.shape[:-1])
        return Estimate(zeros, zeros)

    def update(self, batches: Batch) -> None:
        """Nothing."""

    def settle(self, mastery: Float[Tensor, "run"]) -> None:
        """Nothing."""

    def compile(self) -> None:
        """Nothing."""

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """None."""
        return {}

    def parameters(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing."""


class RandomAgent(ZeroAgent):
    """Uniform actions in [-1, 1]."""

    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """A fresh uniform draw."""
        shape = (*observation.shape[:-1], self.action_dim)
        return torch.rand(shape, device=observation.device, generator=self.generator) * 2 - 1
