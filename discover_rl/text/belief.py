"""What is believed of every task: its pass rate, how sure that is, and what practising it would do for the targets.

One Gaussian posterior over tasks fills the four numbers that a selector asks for. From start to goal it is learnt from
attempts. From goal to target it is a *proxy*: tasks that are near to a target in the model's representation are
assumed to help with it. On mazes the same number is a learned value of the way from goal to target; here nothing
measures whether practising one task helps with another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from discover_rl.selectors import Estimate
from discover_rl.text.kernel import TaskKernel

ACHIEVABILITY = ("pass_rate", "learnability", "mixed")


@dataclass(frozen=True)
class BeliefConfig:
    """The prior over pass rates, and how fast attempts are forgotten.

    Pass rate of a task x: m + w·z(x), with z the embedding (centred, unit norm), w ~ N(0, prior_std²·I) and the level
    m ~ N(prior_mean, level_std²) common to all tasks, which follows the model as it gets better everywhere.

    Attributes:
        prior_mean: Pass rate expected before any attempt.
        prior_std: Deviation of pass rates between tasks.
        level_std: Deviation of the common level.
        noise: λ, variance of what an attempted task says of its pass rate, in units of prior_std². SIFT's λ.
        sampling_noise: Whether p·(1-p)/attempts is added to it. Without it, and with forget = 1, batch after batch is
            chosen as SIFT continues its list.
        forget: Factor on the weight of all earlier attempts at each update: the model that made them is no longer the
            one at hand. 0.95 halves their weight in 14 updates.
        opposites: Whether tasks whose embeddings point away from a target count as informative about it, as in SIFT as
            published. There embeddings are not centred and nothing points away; centred ones of unrelated tasks do,
            and are no help. Where nothing points away the two are the same.
        achievability: ``mixed``, see ``mixed_chance``; ``learnability``, 4·p·(1-p), twice what that is for two
            attempts; or ``pass_rate``.
        attempts: Attempts that a task gets each time it is practised.
    """

    prior_mean: float = 0.5
    prior_std: float = 0.35
    level_std: float = 0.35
    noise: float = 0.1
    sampling_noise: bool = True
    forget: float = 0.95
    opposites: bool = False
    achievability: str = "mixed"
    attempts: int = 8

    def __post_init__(self) -> None:
        if self.achievability not in ACHIEVABILITY:
            allowed = ", ".join(ACHIEVABILITY)
            raise ValueError(f"belief.achievability is {self.achievability!r}; allowed: {allowed}")
        for name in ("prior_std", "level_std", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(f"belief.{name} must be positive, got {getattr(self, name)}")
        if self.attempts < 2:
            raise ValueError(f"belief.attempts must be at least 2, got {self.attempts}; one alone is never mixed")
        if not 0 <= self.prior_mean <= 1:
            raise ValueError(f"belief.prior_mean must lie in [0, 1], got {self.prior_mean}")
        if not 0 < self.forget <= 1:
            raise ValueError(f"belief.forget must lie in (0, 1], got {self.forget}; 1 forgets nothing")


def mixed_chance(rates: Float[Tensor, "*any"], attempts: int) -> Float[Tensor, "*any"]:
    """Chance that of ``attempts`` at a task some are solved and some are not, 1 - pⁿ - (1-p)ⁿ.

    A group-relative policy gradient learns from these groups only, and once rewards are divided by their deviation from
    all of them alike. With eight attempts that is above 0.9 for pass rates from 0.3 to 0.7, and still 0.57 for 0.1.
    """
    return 1 - rates**attempts - (1 - rates) ** attempts


def worth_practising(rates: Float[Tensor, "*any"], attempts: int) -> Float[Tensor, "*any"]:
    """What practice of a task can give: what is left to learn, 1-p, if the attempts can teach it; about 1 at p = 1/2.

    Not 1-p alone: the tasks nearest to the targets would be chosen on and on although none of them is ever solved.
    """
    return 2 * (1 - rates) * mixed_chance(rates, attempts)


class PassRates:
    """Gaussian posterior over the pass rates of all tasks, and over what they say of the targets.

    Bayesian linear regression in the weights: the cost of an update does not grow with the attempts seen before.

    Args:
        tasks: Embeddings of the practice tasks, centred and of unit norm.
        targets: Embeddings of the targets, likewise.
        config: The prior.

    Attributes:
        precision: Of the weights, in units of the prior: the identity without attempts.
        weighted: Σ z / noise over attempts; ``moment`` Σ z·rate / noise.
        weight, rate_sum: Σ 1 / noise and Σ rate / noise.
        attempted: How many attempts each task has seen, ever.
    """

    def __init__(
        self, tasks: Float[Tensor, "cand goal"], targets: Float[Tensor, "desired goal"], config: BeliefConfig
    ) -> None:
        self.tasks, self.targets, self.config = tasks, targets, config
        self._towards = None if config.opposites else tasks @ targets.T >= 0
        dim = tasks.shape[1]
        self.precision = torch.eye(dim, dtype=torch.float64)
        self.weighted = torch.zeros(dim, dtype=torch.float64)
        self.moment = torch.zeros(dim, dtype=torch.float64)
        self.weight = torch.zeros((), dtype=torch.float64)
        self.rate_sum = torch.zeros((), dtype=torch.float64)
        self.attempted = torch.zeros(len(tasks), dtype=torch.int64)
        self._solve()

    def observe(
        self, index: Int[Tensor, "batch"], rates: Float[Tensor, "batch"], attempts: Int[Tensor, "batch"]
    ) -> None:
        """Forget a little, then learn what the attempts of one step say.

        Args:
            index: Which tasks were attempted.
            rates: Mean reward of the attempts at each, in [0, 1].
            attempts: How many there were.
        """
        config, forget = self.config, self.config.forget
        seen, rates = self.tasks[index].double(), rates.double()
        noise = torch.full_like(rates, config.noise)
        if config.sampling_noise:
            smooth = (rates * attempts + 0.5) / (attempts + 1)  # never 0 or 1, where attempts would seem free of noise
            noise += smooth * (1 - smooth) / attempts / config.prior_std**2
        eye = torch.eye(len(self.precision), dtype=torch.float64)
        self.precision = eye + forget * (self.precision - eye) + seen.T @ (seen / noise[:, None])
        self.weighted = forget * self.weighted + seen.T @ (1 / noise)
        self.moment = forget * self.moment + seen.T @ (rates / noise)
        self.weight = forget * self.weight + (1 / noise).sum()
        self.rate_sum = forget * self.rate_sum + (rates / noise).sum()
        self.attempted.index_add_(0, index, attempts)
        self._solve()

    def _solve(self) -> None:
        """Posterior of the weights and of the common level, solved jointly."""
        config = self.config
        self.covariance = torch.cholesky_inverse(torch.linalg.cholesky(self.precision))
        trust = (config.prior_std / config.level_std) ** 2  # precision of the level's prior, in units of prior_std²
        explained = self.covariance @ self.weighted
        level_precision = trust + self.weight - self.weighted @ explained
        level_moment = trust * config.prior_mean + self.rate_sum - self.moment @ explained
        self.level = float(level_moment / level_precision)
        self.weights = self.covariance @ (self.moment - self.level * self.weighted)

    def mean(self, points: Float[Tensor, "any goal"]) -> Float[Tensor, "any"]:
        """Expected pass rate; a Gaussian knows no bounds, so a sure success may lie a little above 1."""
        return self.level + points @ self.weights.to(points.dtype)

    def kernel(self) -> TaskKernel:
        """The posterior kernel, in units of prior_std², to be conditioned on as a batch is chosen."""
        return TaskKernel(self.tasks, self.targets, self.covariance)

    def estimates(self, kernel: TaskKernel, mean: Float[Tensor, "cand"]) -> tuple[Estimate, Estimate]:
        """The four numbers of each task.

        From start to goal: the chance of a mixed group (or what else ``achievability`` says of the pass rate), and the
        deviation of the pass rate. From goal to target: what practising the task now would do for the targets,
        ``worth_practising`` · (mean of k(g,g*)² / (k(g,g)+λ)), as a share of the most that any task would do; and the
        deviation that attempting it would take from the targets, the root of that mean, which is SIFT's criterion (see
        ``BeliefConfig.opposites``). Both fall as tasks like it are practised or chosen for the same batch, and come
        back as that is forgotten: practice spreads over all that is alike.

        Args:
            kernel: The posterior kernel, conditioned on the tasks chosen for the batch already.
            mean: Expected pass rates.
        """
        config, rates = self.config, mean.clamp(0, 1)
        gain = kernel.gain(config.noise, self._towards)
        start = {
            "pass_rate": mean,
            "learnability": 4 * rates * (1 - rates),
            "mixed": mixed_chance(rates, config.attempts),
        }[config.achievability]
        uplift = gain * worth_practising(rates, config.attempts)
        most = uplift.max().clamp_min(torch.finfo(uplift.dtype).tiny)
        return (
            Estimate(start, config.prior_std * kernel.variance.clamp_min(0).sqrt()),
            Estimate(uplift / most, config.prior_std * gain.sqrt()),
        )

    def target_std(self) -> float:
        """Mean deviation of the belief about the targets' pass rates, without that of the common level."""
        targets = self.targets.double()
        variance = ((targets @ self.covariance) * targets).sum(1).clamp_min(0)
        return float(self.config.prior_std * variance.sqrt().mean())

    def state(self) -> dict[str, Tensor]:
        """Everything learnt, by name."""
        return {name: getattr(self, name).clone() for name in _LEARNT}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``.

        Raises:
            ValueError: If it is that of other embeddings or another corpus.
        """
        for name in _LEARNT:
            if name not in state:
                raise ValueError(f"the state of the curriculum lacks {name!r}; it is incomplete")
            if state[name].shape != getattr(self, name).shape:
                raise ValueError(
                    f"the state of the curriculum has {name} of shape {tuple(state[name].shape)}, this corpus needs "
                    f"{tuple(getattr(self, name).shape)}; use the corpus and the embeddings it was made with"
                )
        for name in _LEARNT:
            setattr(self, name, state[name].clone())
        self._solve()


_LEARNT = ("precision", "weighted", "moment", "weight", "rate_sum", "attempted")


class LogitShift:
    """The estimate of pass rates in the released code of TTC-RL's achievable curriculum, for comparison.

    An attempted task gets its observed mean; all others are moved by one common step in logits, the mean of what was
    observed minus what was expected, at most 0.5. It knows neither similarity nor uncertainty.

    Args:
        prior: Pass rate of each task before any attempt.
    """

    def __init__(self, prior: Float[Tensor, "cand"]) -> None:
        self.rates = prior.clone()

    def observe(self, index: Int[Tensor, "batch"], rates: Float[Tensor, "batch"]) -> None:
        """Learn from the mean rewards of one step."""
        surprise = _logit(rates.to(self.rates.dtype)) - _logit(self.rates[index])
        shift = surprise.mean().clamp(-MAX_SHIFT, MAX_SHIFT)
        self.rates = torch.sigmoid(_logit(self.rates) + shift)
        self.rates[index] = rates.to(self.rates.dtype)


MAX_SHIFT, EDGE = 0.5, 0.05


def _logit(rates: Tensor) -> Tensor:
    return torch.logit(rates.clamp(EDGE, 1 - EDGE))
