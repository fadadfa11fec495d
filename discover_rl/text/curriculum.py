"""Which tasks a language model practises next: batches by a selector, chosen one after another.

choose a batch -> the model attempts it -> score -> the model learns -> ``update``
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.selectors import Candidates, Estimate, Plan, SelectorState
from discover_rl.text.attempts import OpenBatches, Outcome, group_rewards
from discover_rl.text.batches import TARGET, Batch, CurriculumConfig, Pick, TurnSelector, practice
from discover_rl.text.belief import LogitShift, PassRates
from discover_rl.text.embed import Embedder, Words, embed_tasks
from discover_rl.text.kernel import TaskKernel
from discover_rl.text.tasks import Task, as_tasks, clean_corpus, fingerprint

MASTERED_RATE, MASTERED_STD = 0.95, 0.05  # a task surely solved every time has nothing left to teach
MOST_REFILLS = 3  # then a batch is smaller: more attempts at targets are wanted than there are targets
RECENT = 4  # batches out at a time of which choosing takes account

__all__ = ["Batch", "CurriculumConfig", "Pick", "TextCurriculum", "TurnSelector", "practice"]


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
        self.targets = as_tasks(targets, "targets", scored=False)
        corpus = clean_corpus(as_tasks(tasks, "tasks", scored=False), self.targets)
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
        self.last_chosen = torch.full((len(self.tasks),), NEVER)
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
        self.last_chosen[[pick.index for pick in picks if pick.index >= 0]] = self.number
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
        rest = torch.ones(len(self.tasks), dtype=torch.bool)
        for pick in picks:
            kernel.condition(pick.index, self.config.belief.noise)
            rest[pick.index] = False
        start, target = self.belief.estimates(kernel, mean)
        score = self.selector.score(self.state, Candidates(self.belief.tasks, rest, start, target))
        order = torch.where(rest, score, -torch.inf).argsort(descending=True, stable=True)[: int(rest.sum())]
        columns = [mean.clamp(0, 1), start.mean, start.std, target.mean, target.std, score]
        table = torch.stack(columns, 1)[order].tolist()
        return picks + [
            Pick(self.tasks[i], i, rate, (v, s), (w, t), value, True)
            for i, (rate, v, s, w, t, value) in zip(order.tolist(), table, strict=True)
        ]

    def _choose(self, count: int, explore: float) -> list[Pick]:
        """Tasks one after another; the ones before leave less to gain by their like, so near-duplicates fall behind.

        Expected pass rates stay as they are at the start: nothing is known of a task by having chosen it.
        """
        plan = self.selector.plan(self.state, count)
        at_random = self._explorers(plan, count, explore)
        kernel, mean = self._kernel_and_mean()
        allowed, free = self._allowed(kernel, mean, count), self._rested()
        if self.config.estimator == "posterior":
            self._expect_open(kernel, free, count)
        picks: list[Pick] = []
        for turn in range(count):
            if bool(plan.use_target[turn]):
                picks.append(self._pick_target())
                continue
            start, target = self.belief.estimates(kernel, mean)
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

    def _rested(self) -> Bool[Tensor, "cand"]:
        """Which tasks have not been chosen for as many batches as ``rest`` says, or a quarter of the corpus makes."""
        rest = min(self.config.rest, len(self.tasks) // (4 * self.config.batch_size))
        return self.number - self.last_chosen > rest

    def _expect_open(self, kernel: TaskKernel, free: Bool[Tensor, "cand"], count: int) -> None:
        """What is out to be attempted will be known soon: it is neither chosen again nor counted as new."""
        waiting = [self._index[key] for key in self.open.waiting(RECENT) if key in self._index]
        for index in waiting:
            kernel.condition(index, self.config.belief.noise)
        left = free.clone()
        left[waiting] = False
        if int(left.sum()) >= count:
            free.copy_(left)

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
            "last_chosen": self.last_chosen.clone(),
            "open": self.open.state(),
            "queue": [pick.plain() for pick in self._queue],
            "list": [pick.plain() for pick in self._list],
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
            self.last_chosen = state["last_chosen"].clone()
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


NEVER = -(2**40)  # number of the batch in which a task was chosen last
KNOWN_ATTEMPTS = 8  # behind a pass rate that the corpus brings along without saying


def _as_practice(target: Task) -> Task:
    return dataclasses.replace(target, id=TARGET + target.id)


def _pair(estimate: Estimate, index: int) -> tuple[float, float]:
    return float(estimate.mean[index]), float(estimate.std[index])


def _mean(groups: Sequence[Sequence[float]]) -> float:
    rates = [sum(values) / len(values) for values in groups]
    return sum(rates) / len(rates)
