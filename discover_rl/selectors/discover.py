"""DISCOVER: goals that are achievable, novel and relevant to the target (arXiv 2505.19850)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.selectors.alpha import CONTROLLERS, adapt_alpha
from discover_rl.selectors.candidates import Candidates, Choice, Plan, SelectorState, initial_state
from discover_rl.selectors.score import PICKS, command_target, last_share, pick, standardise


@dataclass(frozen=True)
class Discover:
    """Score of a candidate g, with V and σ the mean and deviation of the value ensemble in minus steps.

    ``novelty_in_bracket=True`` (the paper, with β = 1):
        α·[a·V(s0,g) + β·n·σ(s0,g)] + (1-α)·[r·V(g,g*) + β·m·σ(g,g*)]
    ``novelty_in_bracket=False`` (its released code, with m = 0 and β = 1):
        α·a·V(s0,g) + (1-α)·r·V(g,g*) + β·[n·σ(s0,g) + m·σ(g,g*)]

    V(s0,g) + V(g,g*) is greatest on the way from start to target and falls to its sides, so α = 1/2 looks for goals
    on the way, wherever on it, and greater α gives the direction up.

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
        novelty_share: Share of the episodes whose goals are chosen with alpha = 1, by achievability and novelty
            alone. Relevance can lead into a dead end whose goals are all achieved, which holds alpha at 0;
            these episodes go on widening the frontier elsewhere. They do not count for alpha, and their share
            shrinks to nothing as the target is mastered.
        target_share: Share of the episodes commanded to the target itself, which gathers evidence about it.
        mastered_share: What that share grows to as the target is mastered, so that success stays.
        controller: How alpha and beta adapt: ``proportional``, ``band`` or ``fixed``.
        alpha_start: Alpha before the first round.
        alpha_step: Step size of the controller.
        alpha_max: Largest alpha. At 0 beta alone adapts: where goals are missed, novelty gives way and relevance
            does not, so that the frontier goes on towards the target. The more alpha, the nearer to the start it
            stands still; that is right only where nothing is easy at first, as for a body that cannot walk yet.
        beta_max: Largest beta: it rises from 1 once alpha is at 0 and goals are still achieved too often.
        beta_min: Smallest beta: it falls from 1 once alpha is at its largest and goals are still missed too often,
            for many of the most novel states are flukes, such as a robot thrown across the room.
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
    novelty_share: float = 0.25
    target_share: float = 0.25
    mastered_share: float = 0.5
    controller: str = "band"
    alpha_start: float = 0.0
    alpha_step: float = 0.05
    alpha_max: float = 0.0
    beta_max: float = 10.0
    beta_min: float = 0.1
    target_rate: float = 0.3
    band: float = 0.2

    def __post_init__(self) -> None:
        if self.controller not in CONTROLLERS:
            raise ValueError(f"selector.controller is {self.controller!r}; allowed: {', '.join(CONTROLLERS)}")
        if self.pick not in PICKS:
            raise ValueError(f"selector.pick is {self.pick!r}; allowed: {', '.join(PICKS)}")
        for field in (
            "alpha_start",
            "alpha_max",
            "novelty_share",
            "target_share",
            "mastered_share",
            "target_rate",
            "band",
        ):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"selector.{field} must lie in [0, 1], got {getattr(self, field)}")
        if self.mastered_share < self.target_share:
            raise ValueError(
                f"selector.mastered_share={self.mastered_share} is less than target_share={self.target_share}; "
                "the share of the target only grows, so raise mastered_share too"
            )
        if self.alpha_start > self.alpha_max:
            raise ValueError(
                f"selector.alpha_start={self.alpha_start} is more than alpha_max={self.alpha_max}; raise alpha_max too"
            )
        if self.alpha_step < 0:
            raise ValueError(f"selector.alpha_step must not be negative, got {self.alpha_step}")
        if self.beta_max < 1:
            raise ValueError(f"selector.beta_max must be at least 1, got {self.beta_max}")
        if not 0 < self.beta_min <= 1:
            raise ValueError(f"selector.beta_min must lie in (0, 1], got {self.beta_min}")

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
        alpha, beta = state.alpha[..., None], state.beta[..., None]
        novelty, target_novelty = beta * self.novelty * novelty, beta * self.target_novelty * target_novelty
        score = alpha * self.achievability * reach + (1 - alpha) * self.relevance * relevance
        if self.novelty_in_bracket:
            return score + alpha * novelty + (1 - alpha) * target_novelty
        return score + novelty + target_novelty

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """The best candidates, with a share of episodes for novelty and one for the target."""
        del generator
        valid = candidates.valid
        best = pick(self.score(state, candidates), valid, num_envs, self.pick)
        if self.novelty_share:
            widest = state._replace(alpha=torch.ones_like(state.alpha), beta=torch.ones_like(state.beta))
            frontier = pick(self.score(widest, candidates), valid, num_envs, self.pick)
            first = self._first_seek_novelty(state, num_envs)
            best = Choice(
                torch.where(first, frontier.index, best.index),
                torch.where(first, frontier.use_target, best.use_target),
                first,
            )
        return command_target(best, self._share_for_target(state))

    def plan(self, state: SelectorState, num_envs: int) -> Plan:
        """What ``select`` would use each episode for, for callers who choose their goals one by one."""
        novel = self._first_seek_novelty(state, num_envs)
        return Plan(
            alpha=torch.where(novel, 1.0, state.alpha[..., None]),
            beta=torch.where(novel, 1.0, state.beta[..., None]),
            use_target=last_share(self._share_for_target(state), num_envs),
            uncounted=novel,
        )

    def _first_seek_novelty(self, state: SelectorState, num_envs: int) -> Bool[Tensor, "*lead env"]:
        novel = (self.novelty_share * (1 - state.mastery) * num_envs).round()
        return torch.arange(num_envs, device=novel.device) < novel[..., None]

    def _share_for_target(self, state: SelectorState) -> Float[Tensor, "*lead"]:
        return self.target_share + (self.mastered_share - self.target_share) * state.mastery

    def update(
        self, state: SelectorState, success_rate: Float[Tensor, "*lead"], commanded_success: Float[Tensor, "*lead"]
    ) -> SelectorState:
        """Adapt alpha and beta; with the target mastered, novelty has no more reason to grow."""
        state = state.seen(commanded_success)
        alpha, beta = adapt_alpha(
            state.alpha,
            state.beta,
            success_rate,
            self.controller,
            self.alpha_step,
            self.target_rate,
            self.band,
            self.alpha_max,
            self.beta_max ** (1 - state.mastery),
            self.beta_min,
        )
        return state._replace(alpha=alpha, beta=beta)


@dataclass(frozen=True)
class AchievabilityNovelty(Discover):
    """DISCOVER without the relevance term: the rival that tells what relevance is worth."""

    name: str = "achievability_novelty"
    relevance: float = 0.0
    novelty_share: float = 0.0
    target_share: float = 0.0
    mastered_share: float = 0.0
    controller: str = "fixed"
    alpha_start: float = 1.0
    alpha_max: float = 1.0
