"""Selectors that look at how often goals were achieved: MEGA, OMEGA and uniform over the support."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.selectors.candidates import Candidates, Choice, Estimate, SelectorState, initial_state
from discover_rl.selectors.score import pick
from discover_rl.selectors.simple import Stateless

SAMPLES = 5_000
CHUNK = 512  # queries at a time: bounds memory to lead x CHUNK x cand floats


def kde_log_density(
    query: Float[Tensor, "*lead query goal"], data: Float[Tensor, "*lead cand goal"], bandwidth: float
) -> Float[Tensor, "*lead query"]:
    """Log density of a Gaussian kernel estimate, in coordinates standardised by ``data``.

    Args:
        query: Where.
        data: Achieved goals.
        bandwidth: Standard deviation of the kernel, in standard deviations of the data.
    """
    mean = data.mean(-2, keepdim=True)
    scale = data.std(-2, keepdim=True).clamp_min(1e-6)
    x, y = (query - mean) / scale, (data - mean) / scale
    count, dim = data.shape[-2], data.shape[-1]
    norm = math.log(count) + dim * math.log(bandwidth * math.sqrt(2 * math.pi))
    parts = [
        (-0.5 * torch.cdist(part, y).square() / bandwidth**2).logsumexp(-1) - norm for part in x.split(CHUNK, dim=-2)
    ]
    return torch.cat(parts, dim=-1)


def _subsample(candidates: Candidates, samples: int, num_envs: int) -> Candidates:
    """The first candidates, a random draw themselves: the cost of a density grows with the square of their number."""
    count = max(samples, num_envs)
    start = candidates.start
    return candidates._replace(
        goals=candidates.goals[..., :count, :],
        valid=candidates.valid[..., :count],
        start=Estimate(*(part[..., :count] for part in start)) if start is not None else None,
    )


def _check_estimate(bandwidth: float, samples: int) -> None:
    if not bandwidth > 0:
        raise ValueError(f"selector.bandwidth must be positive, got {bandwidth}")
    if samples < 1:
        raise ValueError(f"selector.samples must be at least 1, got {samples}")


@dataclass(frozen=True)
class Uniform(Stateless):
    """Uniform over the goals achieved so far: drawn with probability inverse to their density (DISCERN).

    Attributes:
        name: Name in configs and tables.
        bandwidth: Of the density estimate.
        samples: Candidates to choose among and to estimate their density from; see ``_subsample``.
    """

    name: str = "uniform"
    bandwidth: float = 0.1
    samples: int = SAMPLES

    def __post_init__(self) -> None:
        _check_estimate(self.bandwidth, self.samples)

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """A weighted draw without replacement, by the Gumbel top-k rule."""
        del state
        candidates = _subsample(candidates, self.samples, num_envs)
        log_weight = -kde_log_density(candidates.goals, candidates.goals, self.bandwidth)
        noise = torch.rand(log_weight.shape, device=log_weight.device, generator=generator).clamp_min(1e-20)
        gumbel = -(-noise.log()).clamp_min(1e-20).log()
        return pick(log_weight + gumbel, candidates.valid, num_envs, "top")


@dataclass(frozen=True)
class Mega:
    """MEGA (Pitis et al. 2020, arXiv 2007.02832): the rarest achieved goal among the achievable ones.

    Attributes:
        name: Name in configs and tables.
        bandwidth: Of the density estimate.
        samples: Candidates to choose among and to estimate their density from; see ``_subsample``.
        cutoff_start: Cutoff before the first round, in minus steps; it never rises above it.
        cutoff_min: Lowest cutoff, in minus steps.
        cutoff_step: How far it moves in a round: down where the success rate is high, up where it is low.
        high: Success rate from which the cutoff moves down.
        low: Success rate up to which it moves up.
    """

    needs_values: ClassVar[bool] = True  # the cutoff is on V(s0, g)
    needs_distance: ClassVar[bool] = False

    name: str = "mega"
    bandwidth: float = 0.1
    samples: int = SAMPLES
    cutoff_start: float = -3.0
    cutoff_min: float = -400.0
    cutoff_step: float = 1.0
    high: float = 0.7
    low: float = 0.3

    def __post_init__(self) -> None:
        _check_estimate(self.bandwidth, self.samples)
        if not self.cutoff_min <= self.cutoff_start <= 0:
            raise ValueError(
                "selector: cutoff_min <= cutoff_start <= 0 must hold (minus steps), got "
                f"{self.cutoff_min} and {self.cutoff_start}"
            )
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"selector: 0 <= low < high <= 1 must hold, got {self.low} and {self.high}")

    def init(self, lead: tuple[int, ...], device: torch.device) -> SelectorState:
        """The cutoff at its start."""
        return initial_state(lead, device, 0.0, self.cutoff_start)

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """For each episode the rarest of its own pool of candidates, the unachievable dropped.

        Where the cutoff leaves nothing at all, it is waived for that run.
        """
        del generator
        candidates = _subsample(candidates, self.samples, num_envs)
        if candidates.start is None:
            raise ValueError(f"selector {self.name}: Candidates.start must be filled")
        rarity = -kde_log_density(candidates.goals, candidates.goals, self.bandwidth)
        achievable = candidates.valid & (candidates.start.mean >= state.cutoff[..., None])
        allowed = torch.where(achievable.any(-1, keepdim=True), achievable, candidates.valid)
        choice = pick(rarity, allowed, num_envs, "pools")
        # a pool without an achievable goal takes the rarest of all; none at all leaves the target
        rarest = torch.where(allowed, rarity, -torch.inf).argmax(-1, keepdim=True)
        index = torch.where(choice.use_target, rarest, choice.index)
        return Choice(index, choice.use_target & ~allowed.any(-1, keepdim=True))

    def update(
        self, state: SelectorState, success_rate: Float[Tensor, "*lead"], commanded_success: Float[Tensor, "*lead"]
    ) -> SelectorState:
        """Move the cutoff."""
        move = (success_rate <= self.low).float() - (success_rate >= self.high).float()
        cutoff = (state.cutoff + self.cutoff_step * move).clamp(self.cutoff_min, self.cutoff_start)
        return state.seen(commanded_success)._replace(cutoff=cutoff)


@dataclass(frozen=True)
class Omega(Mega):
    """OMEGA: MEGA, or the target with probability 1 / max(bias + KL(target ‖ achieved), 1).

    With one target the divergence is, up to a constant, minus the log density of the achieved goals there.

    Attributes:
        bias: b in the formula, -3 in the paper.
    """

    name: str = "omega"
    bias: float = -3.0

    def select(self, state: SelectorState, candidates: Candidates, num_envs: int, generator: torch.Generator) -> Choice:
        """MEGA's choice, replaced by the target at random."""
        choice = super().select(state, candidates, num_envs, generator)
        if candidates.desired is None:
            raise ValueError("selector omega: Candidates.desired must be filled")
        achieved = _subsample(candidates, self.samples, num_envs).goals
        divergence = -kde_log_density(candidates.desired, achieved, self.bandwidth).mean(-1)
        probability = 1 / (self.bias + divergence).clamp_min(1.0)
        shape = choice.use_target.shape
        draw = torch.rand(shape, device=choice.index.device, generator=generator)
        return Choice(choice.index, choice.use_target | (draw < probability[..., None]))
