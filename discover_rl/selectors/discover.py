"""DISCOVER: goals that are achievable, novel and relevant to the target (arXiv 2505.19850)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.selectors.alpha import CONTROLLERS, adapt_alpha
from discover_rl.selectors.candidates import Candidates, Choice, SelectorState, initial_state
from discover_rl.selectors.score import PICKS, command_target, pick, standardise


@dataclass(frozen=True)
class Discover:
    """Score of a candidate g, with V and σ the mean and deviation of the value ensemble in minus steps.

    ``novelty_in_bracket=True`` (the paper):
        α·[a·V(s0,g) + n·σ(s0,g)] + (1-α)·[r·V(g,g*) + m·σ(g,g*)]
    ``novelty_in_bracket=False`` (its released code, with m = 0):
        α·a·V(s0,g) + (1-α)·r·V(g,g*) + n·σ(s0,g) + m·σ(g,g*)

    Attributes:
        name: Name in configs and tables.
        achievability: a, the weight of V(s0,g).
        novelty: n, the weight of σ(s0,g).
        relevance: r, the weight of V(g,g*).
        target_novelty: m, the weight of σ(g,g*).
        novelty_in_bracket: Whether alpha scales the deviations too.
        standardise: Whether each term is brought to zero mean and unit deviation over the candidates first.
            V and σ differ in scale by orders of magnitude; without it, novelty is lost where values span
            tens of steps.
        pick: ``top`` or ``pools``, see ``pick``.
        target_share: Share of the episodes commanded to the target itself, which gathers evidence about it.
        controller: How alpha adapts: ``proportional``, ``band`` or ``fixed``.
        alpha_start: Alpha before the first round.
        alpha_step: Step size of the controller.
        target_rate: Share of chosen goals that should be achieved.
        band: Half width of the dead band of the ``band`` controller.
    """

    needs_values: ClassVar[bool] = True
    needs_distance: ClassVar[bool] = False

    name: str = "discover"
    achievability: float = 1.0
    novelty: float = 1.0
    relevance: float = 1.0
    target_novelty: float = 0.0
    novelty_in_bracket: bool = False
    standardise: bool = True
    pick: str = "top"
    target_share: float = 0.25
    controller: str = "band"
    alpha_start: float = 0.0
    alpha_step: float = 0.05
    target_rate: float = 0.5
    band: float = 0.2

    def __post_init__(self) -> None:
        if self.controller not in CONTROLLERS:
            raise ValueError(f"selector.controller is {self.controller!r}; allowed: {', '.join(CONTROLLERS)}")
        if self.pick not in PICKS:
            raise ValueError(f"selector.pick is {self.pick!r}; allowed: {', '.join(PICKS)}")
        for field in ("alpha_start", "target_share", "target_rate", "band"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"selector.{field} must lie in [0, 1], got {getattr(self, field)}")
        if self.alpha_step < 0:
            raise ValueError(f"selector.alpha_step must not be negative, got {self.alpha_step}")

    def init(self, lead: tuple[int, ...], device: torch.device) -> SelectorState:
        """Alpha at its start."""
        return initial_state(lead, device, self.alpha_start, 0.0)

    def score(self, state: SelectorState, candidates: Candidates) -> Float[Tensor, "*lead cand"]:
        """The score of every candidate, whether it may be chosen or not."""
        start, target = candidates.start, candidates.target
        if start is None or target is None:
            raise ValueError("selector discover: Candidates.start and Candidates.target must be filled")
        terms = [start.mean, start.std, target.mean, target.std]
        if self.standardise:
            terms = [standardise(term, candidates.valid) for term in terms]
        reach, novelty, relevance, target_novelty = terms
        alpha = state.alpha[..., None]
        score = alpha * self.achievability * reach + (1 - alpha) * self.relevance * relevance
        if self.novelty_in_bracket:
            return score + alpha * self.novelty * novelty + (1 - alpha) * self.target_novelty * target_novelty
        return score + self.novelty * novelty + self.target_novelty * target_novelty

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """The best candidates, and a share of episodes for the target."""
        del generator
        choice = pick(self.score(state, candidates), candidates.valid, num_envs, self.pick)
        return command_target(choice, self.target_share)

    def update(self, state: SelectorState, success_rate: Float[Tensor, "*lead"]) -> SelectorState:
        """Adapt alpha."""
        alpha = adapt_alpha(state.alpha, success_rate, self.controller, self.alpha_step, self.target_rate, self.band)
        return state._replace(alpha=alpha)


@dataclass(frozen=True)
class AchievabilityNovelty(Discover):
    """DISCOVER without the relevance term: the rival that tells what relevance is worth."""

    name: str = "achievability_novelty"
    relevance: float = 0.0
    target_share: float = 0.0
    controller: str = "fixed"
    alpha_start: float = 1.0
