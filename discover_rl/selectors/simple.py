"""Selectors without a model of what is worth practising: HER, random goals, and the oracle."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.selectors.candidates import Candidates, Choice, SelectorState, initial_state
from discover_rl.selectors.score import PICKS, pick


@dataclass(frozen=True)
class Stateless:
    """Selectors that only keep count of success."""

    needs_values: ClassVar[bool] = False
    needs_distance: ClassVar[bool] = False

    def init(self, lead: tuple[int, ...], device: torch.device) -> SelectorState:
        """Zeros."""
        return initial_state(lead, device, 0.0, 0.0)

    def update(
        self, state: SelectorState, success_rate: Float[Tensor, "*lead"], commanded_success: Float[Tensor, "*lead"]
    ) -> SelectorState:
        """The running mean of mastery."""
        del success_rate
        return state.seen(commanded_success)


@dataclass(frozen=True)
class HER(Stateless):
    """Always the target; all learning from easier goals is left to hindsight (arXiv 1707.01495)."""

    name: str = "her"

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """The target for every episode."""
        del state, generator
        shape = (*candidates.goals.shape[:-2], num_envs)
        device = candidates.goals.device
        return Choice(
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.ones(shape, dtype=torch.bool, device=device),
        )


@dataclass(frozen=True)
class Random(Stateless):
    """Any achieved goal, as often as it was visited."""

    name: str = "random"

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """A uniform draw without replacement from the valid candidates."""
        del state
        valid = candidates.valid
        noise = torch.rand(valid.shape, device=valid.device, generator=generator)
        return pick(noise, valid, num_envs, "top")


@dataclass(frozen=True)
class Oracle(Stateless):
    """For diagnosis: the achieved goal nearest to the target by the environment's own distance.

    It tells failures of the goal choice from failures of the learner.
    """

    needs_distance: ClassVar[bool] = True

    name: str = "oracle"
    pick: str = "pools"

    def __post_init__(self) -> None:
        if self.pick not in PICKS:
            raise ValueError(f"selector.pick is {self.pick!r}; allowed: {', '.join(PICKS)}")

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """The candidates with the least true distance."""
        del state, generator
        if candidates.distance is None:
            raise ValueError("selector oracle: Candidates.distance must be filled")
        return pick(-candidates.distance, candidates.valid, num_envs, self.pick)
