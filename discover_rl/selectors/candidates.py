"""What every selector is given, what it answers, and the contract it keeps."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MASTERY_RATE = 0.2  # weight of the last round in the running mean


class Estimate(NamedTuple):
    """A value for each candidate with its uncertainty, in minus steps (0 is best).

    Attributes:
        mean: Ensemble mean.
        std: Ensemble standard deviation, the epistemic uncertainty.
    """

    mean: Float[Tensor, "*lead cand"]
    std: Float[Tensor, "*lead cand"]


class Candidates(NamedTuple):
    """The goals that could be chosen, as tensors over any leading axes (one of them the run axis).

    Attributes:
        goals: The candidates.
        valid: Which of them may be chosen (solved at the start, say, may not).
        start: Value from the start to the candidate: achievability and novelty. None unless asked for.
        target: Value from the candidate to the target: relevance. None unless asked for.
        desired: Targets, for selectors that compare densities.
        distance: True distance to the target in steps, for the oracle. None unless asked for.
    """

    goals: Float[Tensor, "*lead cand goal"]
    valid: Bool[Tensor, "*lead cand"]
    start: Estimate | None = None
    target: Estimate | None = None
    desired: Float[Tensor, "*lead desired goal"] | None = None
    distance: Float[Tensor, "*lead cand"] | None = None


@dataclass(frozen=True)
class Choice:
    """One answer per episode.

    Attributes:
        index: Which candidate; meaningless where ``use_target``.
        use_target: Whether the episode is commanded to its own target instead.
        uncounted: Whether success in the episode says nothing of the state that ``Selector.update`` adapts. An
            episode sent to its target is never counted, unless all are.
    """

    index: Int[Tensor, "*lead env"]
    use_target: Bool[Tensor, "*lead env"]
    uncounted: Bool[Tensor, "*lead env"] | None = None

    def counted(self) -> Bool[Tensor, "*lead env"]:
        """The episodes whose success ``Selector.update`` is told of."""
        own = ~self.use_target
        own = own if self.uncounted is None else own & ~self.uncounted
        return own | ~own.any(-1, keepdim=True)


class Plan(NamedTuple):
    """What each episode of a round is for, known before its goal is.

    Attributes:
        alpha, beta: With which its goal is scored.
        use_target: Whether it is commanded to its own target.
        uncounted: As in ``Choice``.
    """

    alpha: Float[Tensor, "*lead env"]
    beta: Float[Tensor, "*lead env"]
    use_target: Bool[Tensor, "*lead env"]
    uncounted: Bool[Tensor, "*lead env"]


class SelectorState(NamedTuple):
    """What a selector remembers from round to round, one number a run each.

    Attributes:
        alpha: Balance between achievability (1) and relevance (0).
        cutoff: Lowest value, in minus steps, at which MEGA holds a goal achievable.
        beta: Factor on novelty.
        mastery: Running mean of the success of episodes commanded to their target.
    """

    alpha: Float[Tensor, "*lead"]
    cutoff: Float[Tensor, "*lead"]
    beta: Float[Tensor, "*lead"]
    mastery: Float[Tensor, "*lead"]

    def seen(self, commanded_success: Float[Tensor, "*lead"]) -> "SelectorState":
        """With one more round in the running mean of mastery."""
        return self._replace(mastery=self.mastery.lerp(commanded_success, MASTERY_RATE))


@runtime_checkable
class Selector(Protocol):
    """The contract. A selector is a frozen dataclass: its fields are its configuration.

    Attributes:
        name: Its name in configs and tables.
        needs_values: Whether ``Candidates.start`` and ``.target`` must be filled.
        needs_distance: Whether ``Candidates.distance`` must be filled.
    """

    @property
    def name(self) -> str:
        """Its name in configs and tables."""
        ...

    @property
    def needs_values(self) -> bool:
        """Whether ``Candidates.start`` and ``.target`` must be filled."""
        ...

    @property
    def needs_distance(self) -> bool:
        """Whether ``Candidates.distance`` must be filled."""
        ...

    def init(self, lead: tuple[int, ...], device: torch.device) -> SelectorState:
        """The state before the first round."""
        ...

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """Choose a goal for each of ``num_envs`` episodes."""
        ...

    def update(
        self, state: SelectorState, success_rate: Float[Tensor, "*lead"], commanded_success: Float[Tensor, "*lead"]
    ) -> SelectorState:
        """The state after a round.

        Args:
            state: The state before it.
            success_rate: Share of the chosen goals that were achieved (those that count, see ``Choice``).
            commanded_success: Share of the episodes commanded to their target that came there; 0 if there were none.
        """
        ...


def initial_state(lead: tuple[int, ...], device: torch.device, alpha: float, cutoff: float) -> SelectorState:
    """The same numbers for every run."""
    return SelectorState(*(torch.full(lead, value, device=device) for value in (alpha, cutoff, 1.0, 0.0)))
