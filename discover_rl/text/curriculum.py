"""Which tasks a language model practises next: batches by a selector, chosen one after another.

choose a batch -> the model attempts it -> score -> the model learns -> ``update``
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.selectors import Candidates, Discover, Estimate, Plan, SelectorState
from discover_rl.text.attempts import OpenBatches, Outcome, group_rewards
from discover_rl.text.belief import BeliefConfig, LogitShift, PassRates
from discover_rl.text.embed import Embedder, Words, embed_tasks
from discover_rl.text.kernel import TaskKernel
from discover_rl.text.tasks import Task, clean_corpus, fingerprint, task_from_record

MASTERED_RATE, MASTERED_STD = 0.95, 0.05  # a task surely solved every time has nothing left to teach
ESTIMATORS = ("posterior", "logit_shift")
MOST_REFILLS = 3  # then a batch is smaller: more attempts at targets are wanted than there are targets
RECENT = 4  # batches out at a time of which choosing takes account
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

    Nothing is standardised: all four numbers are pass rates already. Standardised, deviations of 0.04 and 0.05 would
    weigh as much as pass rates of 0.1 and 0.9, and once all is known novelty alone would choose.

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
        "target_rate": 0.5,
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
    practise_targets: bool = False
    belief: BeliefConfig = field(default_factory=BeliefConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "ahead", "band_least"):
            if getattr(self, name) < 1:
                raise ValueError(f"curriculum.{name} must be at least 1, got {getattr(self, name)}")
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


class TextCurriculum:
    """Batches of practice tasks that bring a model to its targets; iterate, attempt, ``update``.

    Args:
        tasks: The corpus: ``Task`` or mappings with ``prompt`` and ``answer`` or ``verify``. Duplicates and tasks whose
            prompt is a target are dropped, see ``dropped``.
        targets: What the model should learn to solve: ``Task``, mappings, or plain prompts. Answers are not used.
        selector: A ``TurnSelector``; ``practice()`` if None.
        embed: An ``Embedder``, or the embeddings of tasks and targets as they are left after ``clean_corpus``.
            ``Words()`` if None.
        config: How batches are made.
        seed: Of everything drawn.

    Raises:
        ValueError: If the corpus is too small, or the selector cannot choose tasks.
    """

    def __init__(
        self,
        tasks: Sequence[Task | Mapping[str, Any]],
        targets: Sequence[Task | Mapping[str, Any] | str],
        selector: Any = None,  # noqa: ANN401 - a TurnSelector, which is checked below with a sentence
        embed: Embedder | tuple[Float[Tensor, "cand goal"], Float[Tensor, "desired goal"]] | None = None,
        config: CurriculumConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.selector: TurnSelector = practice() if selector is None else selector
        self.config = config = config or CurriculumConfig()
        self.targets = _as_tasks(targets, "targets", scored=False)
        corpus = clean_corpus(_as_tasks(tasks, "tasks", scored=False), self.targets)
        self.tasks, self.dropped = corpus.tasks, corpus.describe()
        if len(self.tasks) < config.batch_size:
            raise ValueError(
                f"the corpus has {len(self.tasks)} different tasks, fewer than curriculum.batch_size="
                f"{config.batch_size}; give more tasks or lower it"
            )
        self.state = self._check_selector()
        vectors = self._embeddings(embed)
        self.belief = PassRates(*vectors, config.belief)
        prior = torch.full((len(self.tasks),), config.belief.prior_mean, dtype=vectors[0].dtype)
        self.shift = LogitShift(prior)
        self.generator = torch.Generator().manual_seed(seed)
        self.number = 0
        self.open = OpenBatches()
        self._queue: list[Pick] = []  # chosen ahead
        self._list: list[Pick] = []  # chosen once
        self._index = {task.id: index for index, task in enumerate(self.tasks)}
        self._last: dict[str, float] = {}
        self._learn_known_rates()

    def _check_selector(self) -> SelectorState:
        name = type(self.selector).__name__
        missing = [part for part in ("plan", "score") if not hasattr(self.selector, part)]
        if missing:
            raise ValueError(
                f"selector {name} cannot choose tasks one after another (it has no {' and no '.join(missing)}); "
                "use Discover, or one of discover_rl.text.curricula"
            )
        state = self.selector.init((), torch.device("cpu"))
        mastered = state._replace(mastery=torch.ones(()))
        plans = [self.selector.plan(at, 100).use_target for at in (state, mastered)]
        if not self.config.practise_targets and any(bool(plan.any()) for plan in plans):
            raise ValueError(
                f"selector {name} sends attempts to the targets, whose answers are not known; set target_share=0 and "
                "mastered_share=0, or practise_targets=True to score them by majority vote"
            )
        return state

    def _embeddings(
        self, embed: Embedder | tuple[Float[Tensor, "cand goal"], Float[Tensor, "desired goal"]] | None
    ) -> tuple[Float[Tensor, "cand goal"], Float[Tensor, "desired goal"]]:
        if embed is None:
            embed = Words()
        vectors = embed if isinstance(embed, tuple) else embed_tasks(self.tasks, self.targets, embed)
        for given, wanted, what in zip(vectors, (self.tasks, self.targets), ("tasks", "targets"), strict=True):
            if len(given) != len(wanted):
                raise ValueError(
                    f"{len(given)} embeddings given for {len(wanted)} {what} (after duplicates are dropped)"
                )
        return vectors

    def _learn_known_rates(self) -> None:
        """Pass rates that the corpus brings along, as fields ``pass_rate`` and ``attempts``."""
        known = [(i, task.fields) for i, task in enumerate(self.tasks) if task.fields.get("pass_rate") is not None]
        if not known:
            return
        for index, fields in known:
            rate, attempts = fields["pass_rate"], fields.get("attempts", KNOWN_ATTEMPTS)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ValueError(f"task {self.tasks[index].id!r}: pass_rate must lie in [0, 1], got {rate!r}")
            if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
                raise ValueError(f"task {self.tasks[index].id!r}: attempts must be a number from 1, got {attempts!r}")
        index = torch.tensor([i for i, _ in known])
        rates = torch.tensor([float(fields["pass_rate"]) for _, fields in known], dtype=torch.float64)
        attempts = torch.tensor([fields.get("attempts", KNOWN_ATTEMPTS) for _, fields in known])
        self.belief.observe(index, rates, attempts)
        self.shift.rates[index] = rates.to(self.shift.rates.dtype)

    # -- choosing ----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        """Batches without end."""
        return self

    def __next__(self) -> Batch:
        """The next batch, chosen by what is known now."""
        size = self.config.batch_size
        picks = self._take_different(size)
        for _ in range(MOST_REFILLS):
            if len(picks) == size:
                break
            self._refill()
            self._queue = [*picks, *self._queue]
            picks = self._take_different(size)
        batch = Batch(self.number, picks)
        self.number += 1
        self.open.add(batch.number, {pick.task.id: pick.counted for pick in picks})
        return batch

    def _refill(self) -> None:
        config = self.config
        if not (config.once and self._list):
            count = min(config.ahead * config.batch_size, len(self.tasks))
            self._list = self._choose(count, config.explore)
        more = [*self._list]
        if config.ahead > 1:
            more = [more[i] for i in torch.randperm(len(more), generator=self.generator).tolist()]
        self._queue += more

    def _take_different(self, size: int) -> list[Pick]:
        """The first ``size`` different tasks of what was chosen ahead; the end of one list may meet the next."""
        taken: dict[str, Pick] = {}
        rest = []
        for pick in self._queue:
            if len(taken) < size and pick.task.id not in taken:
                taken[pick.task.id] = pick
            else:
                rest.append(pick)
        self._queue = rest
        return list(taken.values())

    def preview(self, count: int) -> list[Pick]:
        """The tasks that would be chosen now, best first, without exploration; nothing changes."""
        before = self.generator.get_state()
        picks = self._choose(min(count, len(self.tasks)), 0.0)
        self.generator.set_state(before)
        return picks

    def ranking(self, count: int) -> list[Pick]:
        """All tasks, best first: ``count`` of them as ``preview``, the rest by the score that those leave them."""
        picks = self.preview(count)
        kernel, mean = self._kernel_and_mean()
        means = [estimate.mean for estimate in self.belief.estimates(kernel, mean)]
        rest = torch.ones(len(self.tasks), dtype=torch.bool)
        for pick in picks:
            kernel.condition(pick.index, self.config.belief.noise)
            rest[pick.index] = False
        start, target = map(Estimate, means, (e.std for e in self.belief.estimates(kernel, mean)))
        score = self.selector.score(self.state, Candidates(self.belief.tasks, rest, start, target))
        order = torch.where(rest, score, -torch.inf).argsort(descending=True, stable=True)[: int(rest.sum())]
        columns = [mean.clamp(0, 1), start.mean, start.std, target.mean, target.std, score]
        table = torch.stack(columns, 1)[order].tolist()
        return picks + [
            Pick(self.tasks[i], i, rate, (v, s), (w, t), value, True)
            for i, (rate, v, s, w, t, value) in zip(order.tolist(), table, strict=True)
        ]

    def _choose(self, count: int, explore: float) -> list[Pick]:
        """Tasks one after another; the deviations are those left by the ones before, so near-duplicates lose gain.

        The two means stay as they are at the start: nothing is known of a task by having chosen it.
        """
        plan = self.selector.plan(self.state, count)
        at_random = self._explorers(plan, count, explore)
        kernel, mean = self._kernel_and_mean()
        allowed, free = self._allowed(kernel, mean, count), torch.ones(len(self.tasks), dtype=torch.bool)
        if self.config.estimator == "posterior":
            self._expect_open(kernel, free, count)
        picks: list[Pick] = []
        means = [estimate.mean for estimate in self.belief.estimates(kernel, mean)]
        for turn in range(count):
            if bool(plan.use_target[turn]):
                picks.append(self._pick_target())
                continue
            start, target = map(Estimate, means, (e.std for e in self.belief.estimates(kernel, mean)))
            valid = free & allowed
            if not valid.any():
                valid = free
            candidates = Candidates(self.belief.tasks, valid, start, target)
            state = self.state._replace(alpha=plan.alpha[turn], beta=plan.beta[turn])
            score = self.selector.score(state, candidates)
            if at_random[turn]:
                index = int(free.nonzero()[self._draw(int(free.sum()))])
            else:
                index = int(torch.where(valid, score, -torch.inf).argmax())
            counted = not at_random[turn] and not bool(plan.uncounted[turn])
            rate = float(mean[index].clamp(0, 1))
            score_here = math.nan if at_random[turn] else float(score[index])
            picks.append(
                Pick(self.tasks[index], index, rate, _pair(start, index), _pair(target, index), score_here, counted)
            )
            free[index] = False
            kernel.condition(index, self.config.belief.noise)
        return picks

    def _expect_open(self, kernel: TaskKernel, free: Bool[Tensor, "cand"], count: int) -> None:
        """What is out to be attempted will be known soon: it is neither chosen again nor counted as new."""
        waiting = [self._index[key] for key in self.open.waiting(RECENT) if key in self._index]
        for index in waiting:
            kernel.condition(index, self.config.belief.noise)
        if len(free) - len(waiting) >= count:
            free[waiting] = False

    def _kernel_and_mean(self) -> tuple[TaskKernel, Float[Tensor, "cand"]]:
        if self.config.estimator == "logit_shift":
            return TaskKernel(self.belief.tasks, self.belief.targets), self.shift.rates
        return self.belief.kernel(), self.belief.mean(self.belief.tasks)

    def _allowed(self, kernel: TaskKernel, mean: Float[Tensor, "cand"], count: int) -> Bool[Tensor, "cand"]:
        if self.config.band is None:
            if not self.config.skip_mastered:
                return torch.ones_like(mean, dtype=torch.bool)
            deviation = self.config.belief.prior_std * kernel.variance.clamp_min(0).sqrt()
            return ~((mean > MASTERED_RATE) & (deviation < MASTERED_STD))
        least, greatest = self.config.band
        allowed = (mean >= least) & (mean <= greatest)
        wanted = min(max(self.config.band_least, count), len(mean))
        if int(allowed.sum()) < wanted:
            distance = (mean - (least + greatest) / 2).abs()
            allowed[torch.where(allowed, -1.0, distance).argsort(stable=True)[:wanted]] = True
        return allowed

    def _explorers(self, plan: Plan, count: int, explore: float) -> list[bool]:
        """Which turns are drawn uniformly; the share holds on average where it is no whole number."""
        own = (~plan.use_target).nonzero().flatten()
        exact = explore * len(own)
        number = int(exact) + int(float(torch.rand((), generator=self.generator)) < exact - int(exact))
        drawn = torch.zeros(count, dtype=torch.bool)
        drawn[own[torch.randperm(len(own), generator=self.generator)[:number]]] = True
        return drawn.tolist()

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.generator))

    def _pick_target(self) -> Pick:
        target = self.targets[self._draw(len(self.targets))]
        nothing = (math.nan, math.nan)
        return Pick(_as_practice(target), -1, math.nan, nothing, nothing, math.nan, False)

    # -- learning ----------------------------------------------------------------------------------------

    def update(self, ids: Sequence[str], rewards: Sequence[Any] | Tensor, batch: int | None = None) -> None:
        """Learn from attempts. Forgetting and alpha move once a batch, when all its tasks have been scored.

        Args:
            ids: Of the tasks attempted; an id may stand there several times, once for each attempt.
            rewards: For each id one reward or a list of them, in [0, 1].
            batch: Number of the batch they belong to; the oldest that waits for them if None.

        Raises:
            ValueError: If an id is not of this corpus, or a reward is no number in [0, 1].
        """
        grouped = group_rewards(ids, rewards)
        for key in grouped:
            if key not in self._index and not (self.config.practise_targets and key.startswith(TARGET)):
                raise ValueError(f"update: no task has the id {key!r}; use the ids of the batch")
        for outcome in self.open.record(grouped, batch):
            self._learn(outcome)

    def _learn(self, outcome: Outcome) -> None:
        own = {key: values for key, values in outcome.rewards.items() if key in self._index}
        if own:
            index = torch.tensor([self._index[key] for key in own])
            rates = torch.tensor([sum(values) / len(values) for values in own.values()], dtype=torch.float64)
            attempts = torch.tensor([len(values) for values in own.values()])
            expected = self._kernel_and_mean()[1][index].double().clamp(0, 1)
            self._last["text/calibration_error"] = float((expected - rates).abs().mean())
            self._last["text/mixed_groups"] = float(((rates > 0) & (rates < 1)).double().mean())
            self.belief.observe(index, rates, attempts)
            self.shift.observe(index, rates)
        if outcome.counted is None:
            return
        counted = [key for key in own if outcome.counted.get(key, False)] or list(own)
        at_targets = [values for key, values in outcome.rewards.items() if key not in self._index]
        if counted:
            success = _mean([own[key] for key in counted])
            self._last["goal/selected_success_rate"] = success
            commanded = _mean(at_targets) if at_targets else 0.0
            self.state = self.selector.update(self.state, torch.tensor(success), torch.tensor(commanded))

    def metrics(self) -> dict[str, float]:
        """How the curriculum stands, by TensorBoard tag."""
        return {
            "goal/alpha": float(self.state.alpha),
            "goal/beta": float(self.state.beta),
            "text/level": self.belief.level,
            "text/target_std": self.belief.target_std(),
            "text/tasks_attempted": float((self.belief.attempted > 0).sum()),
            **self._last,
        }

    # -- saving ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that choosing goes on from: tensors, numbers, texts and lists of them."""
        return {
            "fingerprint": self._fingerprint(),
            **{f"belief/{name}": value for name, value in self.belief.state().items()},
            **{f"selector/{name}": value.clone() for name, value in self.state._asdict().items()},
            "shift": self.shift.rates.clone(),
            "generator": self.generator.get_state(),
            "number": self.number,
            "open": self.open.state(),
            "queue": [_plain(pick) for pick in self._queue],
            "list": [_plain(pick) for pick in self._list],
            "last": dict(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``.

        Raises:
            ValueError: If it is that of another corpus or other targets, or incomplete.
        """
        if state.get("fingerprint") != self._fingerprint():
            raise ValueError(
                "the state of the curriculum was saved with other tasks or targets; use the same files, or start afresh"
            )
        try:
            self.belief.load({name.removeprefix("belief/"): value for name, value in state.items()})
            self.state = SelectorState(*(state[f"selector/{name}"].clone() for name in SelectorState._fields))
            self.shift.rates = state["shift"].clone()
            self.generator.set_state(state["generator"])
            self.number, self._last = state["number"], dict(state["last"])
            self.open = OpenBatches.from_state(state["open"])
            self._queue, self._list = ([self._unplain(pick) for pick in state[name]] for name in ("queue", "list"))
        except KeyError as error:
            raise ValueError(f"the state of the curriculum lacks {error}; it is incomplete") from error

    def _fingerprint(self) -> str:
        return f"{fingerprint(self.tasks)}-{fingerprint(self.targets)}"

    def _unplain(self, plain: Sequence[Any]) -> Pick:
        index, target, rate, start, to_target, score, counted = plain
        if index >= 0:
            return Pick(self.tasks[index], index, rate, tuple(start), tuple(to_target), score, counted)
        task = _as_practice(next(t for t in self.targets if t.id == target))
        return Pick(task, -1, rate, tuple(start), tuple(to_target), score, counted)


KNOWN_ATTEMPTS = 8  # behind a pass rate that the corpus brings along without saying


def _as_practice(target: Task) -> Task:
    return dataclasses.replace(target, id=TARGET + target.id)


def _plain(pick: Pick) -> list[Any]:
    return [
        pick.index,
        pick.task.id.removeprefix(TARGET),
        pick.rate,
        list(pick.start),
        list(pick.target),
        pick.score,
        pick.counted,
    ]


def _pair(estimate: Estimate, index: int) -> tuple[float, float]:
    return float(estimate.mean[index]), float(estimate.std[index])


def _mean(groups: Sequence[Sequence[float]]) -> float:
    rates = [sum(values) / len(values) for values in groups]
    return sum(rates) / len(rates)


def _as_tasks(given: Sequence[Task | Mapping[str, Any] | str], what: str, scored: bool) -> list[Task]:
    tasks = []
    for number, item in enumerate(given, start=1):
        if isinstance(item, Task):
            tasks.append(item)
        else:
            record = {"prompt": item} if isinstance(item, str) else dict(item)
            tasks.append(task_from_record(record, f"{what}, number {number}", str(number), scored))
    (double, times), *_ = Counter(task.id for task in tasks).most_common(1) or [("", 0)]
    if times > 1:
        raise ValueError(f"{what}: the id {double!r} stands there {times} times; ids must be unique")
    return tasks
