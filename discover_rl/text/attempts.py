"""Bookkeeping between choosing and scoring: which batch a reward belongs to.

A trainer may ask for the next batch before the last one is scored (TRL's data loader does) and may score a batch in
parts. What is learnt is learnt once a batch is complete.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

MOST_OPEN = 64  # older batches that never were scored in full are closed with what they have


def group_rewards(ids: Sequence[str], rewards: Sequence[Any] | Tensor) -> dict[str, list[float]]:
    """All rewards of each id.

    Args:
        ids: May stand there several times.
        rewards: One or several for each.

    Raises:
        ValueError: If the two do not match, or a reward is no number in [0, 1].
    """
    given = rewards.tolist() if isinstance(rewards, Tensor) else rewards
    if len(given) != len(ids):
        raise ValueError(f"update: {len(ids)} ids, but {len(given)} rewards; give one reward, or a list, for each id")
    grouped: dict[str, list[float]] = {}
    for key, value in zip(ids, given, strict=True):
        values = [float(v) for v in (value if isinstance(value, Sequence) else [value])]
        if not values:
            raise ValueError(f"update: the task {key!r} has no reward")
        if any(math.isnan(v) or not 0 <= v <= 1 for v in values):
            raise ValueError(
                f"update: a reward of task {key!r} is {next(v for v in values if not 0 <= v <= 1)}; "
                "the pass rate needs rewards in [0, 1], so scale them"
            )
        grouped.setdefault(key, []).extend(values)
    return grouped


class Outcome(NamedTuple):
    """Attempts that belong together.

    Attributes:
        rewards: Of each task.
        counted: Whether the success of each counts for alpha; None if no batch asked for these attempts.
    """

    rewards: dict[str, list[float]]
    counted: dict[str, bool] | None


class OpenBatches:
    """Batches that were handed out and are not scored in full yet."""

    def __init__(self) -> None:
        self._counted: dict[int, dict[str, bool]] = {}
        self._rewards: dict[int, dict[str, list[float]]] = {}

    def __len__(self) -> int:
        return len(self._counted)

    def add(self, number: int, counted: Mapping[str, bool]) -> None:
        """A batch was handed out."""
        self._counted[number], self._rewards[number] = dict(counted), {}

    def waiting(self, batches: int) -> list[str]:
        """Tasks that the last so many open batches still wait for."""
        last = list(self._counted)[-batches:]
        return list(dict.fromkeys(key for n in last for key in self._counted[n] if key not in self._rewards[n]))

    def record(self, rewards: Mapping[str, list[float]], batch: int | None = None) -> list[Outcome]:
        """Rewards have come in; returns what is complete by now, the oldest batch first.

        Args:
            rewards: Of each task.
            batch: Whose they are. Each goes to the oldest open batch that still waits for its task if None; what no
                batch waits for stands alone.
        """
        strays: dict[str, list[float]] = {}
        for key, values in rewards.items():
            asked = [n for n in self._counted if batch in (None, n)]
            number = next((n for n in asked if key in self._counted[n] and key not in self._rewards[n]), None)
            if number is None:
                strays[key] = values
            else:
                self._rewards[number][key] = values
        complete = [n for n, counted in self._counted.items() if len(self._rewards[n]) == len(counted)]
        overdue = [n for n in list(self._counted)[: max(0, len(self._counted) - MOST_OPEN)] if n not in complete]
        outcomes = []
        for number in sorted([*complete, *overdue]):
            counted, scored = self._counted.pop(number), self._rewards.pop(number)
            if scored:
                outcomes.append(Outcome(scored, counted))
        return outcomes + ([Outcome(strays, None)] if strays else [])

    def state(self) -> list[list[Any]]:
        """As plain data."""
        return [[n, dict(self._counted[n]), dict(self._rewards[n])] for n in self._counted]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> "OpenBatches":
        """What ``state`` gave."""
        batches = cls()
        for number, counted, rewards in state:
            batches._counted[number], batches._rewards[number] = dict(counted), dict(rewards)
        return batches
