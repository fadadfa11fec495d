"""How attempts are scored: against an answer, by a verifier, or by what most attempts agree on."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.config import did_you_mean
from discover_rl.text.tasks import Task, load_verifier

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
MARKED = (re.compile(r"\\boxed\{([^{}]*)\}"), re.compile(r"<answer>(.*?)</answer>", re.S))


@runtime_checkable
class Reward(Protocol):
    """Scores groups of attempts."""

    def __call__(self, tasks: Sequence[Task], texts: Sequence[Sequence[str]]) -> Float[Tensor, "batch attempt"]:
        """Rewards in [0, 1].

        Args:
            tasks: The tasks.
            texts: What the model wrote for each, the same number of attempts everywhere.
        """
        ...


def final_answer(text: str) -> str:
    r"""What a text gives as its answer: the last ``\boxed{}`` or ``<answer>``, or all of it."""
    for marked in MARKED:
        if found := marked.findall(text):
            return found[-1].strip()
    return text.strip()


def same_answer(text: str, answer: str) -> bool:
    """Whether a text gives that answer; as numbers where both are, else as words without regard to case.

    A text that is more than a number is taken at its last number if the answer is one.
    """
    given, wanted = final_answer(text), answer.strip()
    if _plain(given) == _plain(wanted):
        return True
    number = _number(wanted)
    if number is None:
        return False
    found = NUMBER.findall(given)
    return bool(found) and _number(found[-1]) == number


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _number(text: str) -> float | None:
    if not NUMBER.fullmatch(text.strip().rstrip(".")):
        return None
    return float(text.strip().rstrip(".").replace(",", ""))


class Verified:
    """By each task's verifier, or its answer where it has none.

    A verifier that raises scores 0; the first failure of each is told as a warning, and how many there were is counted.

    Attributes:
        failures: Attempts whose verifier raised.
        calls: Attempts that a verifier was asked about.
    """

    def __init__(self) -> None:
        self.failures, self.calls = 0, 0
        self._loaded: dict[str, Callable[[str, Task], float]] = {}
        self._told: set[str] = set()

    def __call__(self, tasks: Sequence[Task], texts: Sequence[Sequence[str]]) -> Float[Tensor, "batch attempt"]:
        """Rewards in [0, 1].

        Raises:
            ValueError: If a task has neither answer nor verifier, a score is no number in [0, 1], or every one of the
                first hundred attempts made its verifier raise.
        """
        return torch.tensor([[self.score(task, t) for t in group] for task, group in zip(tasks, texts, strict=True)])

    def score(self, task: Task, text: str) -> float:
        """The reward of one attempt."""
        if task.verify is None:
            if task.answer is None:
                raise ValueError(f"task {task.id!r} has neither answer nor verifier; score it by reward=majority")
            return float(same_answer(text, task.answer))
        self.calls += 1
        verify = self._loaded.setdefault(task.verify, load_verifier(task.verify))
        try:
            value = float(verify(final_answer(text), task))
        except Exception as error:  # a verifier meets whatever a model writes
            self._fail(task, error)
            return 0.0
        if not 0 <= value <= 1:
            raise ValueError(f"{task.verify} scored {value} for task {task.id!r}; rewards must lie in [0, 1]")
        return value

    def _fail(self, task: Task, error: Exception) -> None:
        self.failures += 1
        said = f"{task.verify} raised {type(error).__name__}: {error} (task {task.id!r})"
        if self.failures == self.calls >= MOST_FAILURES:
            raise ValueError(f"each of the first {self.calls} attempts made its verifier raise; the last time {said}")
        if task.verify not in self._told:
            self._told.add(str(task.verify))
            warnings.warn(f"{said}; such attempts score 0", stacklevel=2)


MOST_FAILURES = 100  # in a row from the start: then it is the verifier, not the model


class MajorityVote:
    """By what most attempts of the group agree on, without labels (TTRL, arXiv 2504.16084); ties go to the first.

    Empty answers never win.
    """

    def __call__(self, tasks: Sequence[Task], texts: Sequence[Sequence[str]]) -> Float[Tensor, "batch attempt"]:
        """1 where an attempt gives the majority's answer."""
        del tasks
        rows = []
        for group in texts:
            answers = [_plain(final_answer(text)) for text in group]
            (best, _), *_ = Counter(answer for answer in answers if answer).most_common(1) or [("", 0)]
            rows.append([float(bool(answer) and answer == best) for answer in answers])
        return torch.tensor(rows)


REWARDS: dict[str, type] = {"verified": Verified, "majority": MajorityVote}
"""Rewards by their name in configs."""


def make_reward(name: str) -> Reward:
    """The reward of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in REWARDS:
        raise ValueError(f"reward is {name!r}{did_you_mean(name, REWARDS)}; allowed: {', '.join(REWARDS)}")
    return REWARDS[name]()
