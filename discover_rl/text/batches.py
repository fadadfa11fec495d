"""What a batch of practice tasks is: how it is made, what is in it, and why."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.selectors import Candidates, Discover, Plan, SelectorState
from discover_rl.text.belief import BeliefConfig
from discover_rl.text.tasks import Task

ESTIMATORS = ("posterior", "logit_shift")
TARGET = "target:"  # before the ids of targets that are practised, which may be those of tasks too


@runtime_checkable
class TurnSelector(Protocol):
    """A selector whose goals can be chosen one after the other, as ``Discover``."""

    def init(self, lead: tuple[int, ...], device: torch.device) -> SelectorState:
        """The state before the first round."""
        ...

    def plan(self, state: SelectorState, num_envs: int) -> Plan:
        """What each episode is for."""
        ...

    def score(self, state: SelectorState, candidates: Candidates) -> Float[Tensor, "*lead cand"]:
        """The score of every candidate."""
        ...

    def update(
        self, state: SelectorState, success_rate: Float[Tensor, "*lead"], commanded_success: Float[Tensor, "*lead"]
    ) -> SelectorState:
        """The state after a round."""
        ...


def practice(**changes: Any) -> Discover:  # noqa: ANN401 - fields of Discover
    """DISCOVER as it suits texts: the paper's rule and controller, no attempt at the targets themselves.

    Nothing is standardised: all four numbers are shares or pass rates already. Standardised, deviations of 0.04 and
    0.05 would weigh as much as pass rates of 0.1 and 0.9, and once all is known novelty alone would choose.

    Args:
        changes: Fields to set otherwise.
    """
    given = {
        "novelty_in_bracket": True,
        "target_novelty": 1.0,
        "standardise": False,
        "novelty_share": 0.0,
        "target_share": 0.0,
        "mastered_share": 0.0,
        "controller": "proportional",
        "alpha_start": 0.5,
        "alpha_max": 1.0,
        "beta_max": 1.0,
        "beta_min": 1.0,
    }
    return Discover(**given | changes)


@dataclass(frozen=True)
class CurriculumConfig:
    """How batches are made. The rest is the selector's.

    Attributes:
        batch_size: Different tasks in a batch.
        explore: Share of a batch drawn uniformly, which shows how far the estimates hold elsewhere; 1 ignores the
            selector. These tasks do not count for alpha.
        ahead: Batches chosen at once and shuffled. 1 uses what the last batch taught.
        once: Whether the tasks are chosen a single time and gone through again and again.
        skip_mastered: Whether tasks that are surely solved nearly every time are passed over.
        band: Least and greatest pass rate of a task that may be chosen, as in TTC-RL's achievable curriculum; None
            admits all.
        band_least: Where fewer tasks lie in the band, those nearest to its middle fill up to this number.
        estimator: ``posterior``, or ``logit_shift`` for the pass rates of TTC-RL's achievable curriculum, whose
            kernel forgets at each choice what was practised before.
        rest: Batches that pass before a task may be chosen again, while no more than a quarter of the corpus rests.
            Without it a few tasks between easy and hard stand in nearly every batch, and a model that practises the
            same prompts again and again learns their answers.
        practise_targets: Whether the selector may send attempts to the targets themselves, scored by majority vote.
        belief: The prior over pass rates.
    """

    batch_size: int = 8
    explore: float = 0.1
    ahead: int = 1
    once: bool = False
    skip_mastered: bool = True
    band: tuple[float, float] | None = None
    band_least: int = 1000
    estimator: str = "posterior"
    rest: int = 10
    practise_targets: bool = False
    belief: BeliefConfig = field(default_factory=BeliefConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "ahead", "band_least"):
            if getattr(self, name) < 1:
                raise ValueError(f"curriculum.{name} must be at least 1, got {getattr(self, name)}")
        if self.rest < 0:
            raise ValueError(
                f"curriculum.rest must not be negative, got {self.rest}; 0 lets every task come again at once"
            )
        if not 0 <= self.explore <= 1:
            raise ValueError(f"curriculum.explore must lie in [0, 1], got {self.explore}")
        if self.band is not None and not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError(f"curriculum.band must be two pass rates, 0 <= least < greatest <= 1, got {self.band}")
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"curriculum.estimator is {self.estimator!r}; allowed: {', '.join(ESTIMATORS)}")


@dataclass(frozen=True)
class Pick:
    """A task of a batch, and why it was chosen: what was believed of it at that moment.

    Attributes:
        task: The task.
        index: Its place in ``TextCurriculum.tasks``; -1 for a target.
        rate: Expected pass rate.
        start, target: The four numbers that the selector saw, mean and deviation each.
        score: The selector's; nan where it was not asked.
        counted: Whether its success counts for alpha.
    """

    task: Task
    index: int
    rate: float
    start: tuple[float, float]
    target: tuple[float, float]
    score: float
    counted: bool

    def plain(self) -> list[Any]:
        """Numbers, texts and lists of them; the task by its place, a target by its id."""
        own = self.task.id.removeprefix(TARGET)
        return [self.index, own, self.rate, list(self.start), list(self.target), self.score, self.counted]


class Batch(NamedTuple):
    """Tasks to attempt together.

    Attributes:
        number: Of the batch, from 0.
        picks: What is in it, and why.
    """

    number: int
    picks: list[Pick]

    @property
    def tasks(self) -> list[Task]:
        """The tasks."""
        return [pick.task for pick in self.picks]

    @property
    def ids(self) -> list[str]:
        """Their ids, for ``update``."""
        return [pick.task.id for pick in self.picks]
