"""Reuse of earlier solutions, for problems that are improved step by step: which solution to go on from.

TTT-Discover's PUCT (arXiv 2601.16175) is one more setting of the same selector: goals are the solutions found so far,
V(s0,g) is the best reward that came of one, σ(s0,g) its visit bonus, and the score is their sum.
"""

import math
import pickle
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.selectors import Candidates, Discover, Estimate
from discover_rl.text.batches import TurnSelector, practice
from discover_rl.text.policy import Policy
from discover_rl.text.tasks import Task


@runtime_checkable
class Proposer(Protocol):
    """Makes new solutions out of an earlier one: a mutation (see ``Mutation``), or a model that is shown it."""

    def __call__(self, solution: "Solution", attempts: int, generator: torch.Generator, /) -> Sequence[Any]:
        """At most so many new values."""
        ...


def puct(exploration: float = 1.0) -> Discover:
    """The selector whose score of a solution s is Q(s) + c·scale·P(s)·√(1 + T) / (1 + n(s)).

    Args:
        exploration: c.
    """
    return practice(controller="fixed", alpha_start=1.0, relevance=0.0, novelty=exploration, target_novelty=0.0)


@dataclass
class Solution:
    """A solution and what came of it.

    Attributes:
        value: The solution itself.
        reward: Its own; greater is better.
        number: Of the solution, in the order of their making.
        ancestors: Numbers of those it descends from, as far as they were still kept when it was made.
        best_child: Best reward made of it; minus infinity before it was gone on from.
        visits: How often it, or one that descends from it, was gone on from.
    """

    value: Any
    reward: float
    number: int
    ancestors: frozenset[int] = frozenset()
    best_child: float = -math.inf
    visits: int = 0

    @property
    def is_seed(self) -> bool:
        """Whether it was given, not made."""
        return not self.ancestors


class Solutions:
    """The best solutions found, and the choice which of them to go on from.

    Args:
        score: Reward of a value; greater is better. What is no solution gets nan or minus infinity, or raises
            ``ValueError``.
        propose: Makes new values.
        seeds: Values to begin with.
        selector: ``puct()`` if None.
        capacity: How many are kept beside the seeds.
        children_kept: How many are kept of those made of one solution in a round.
        seed: Of the proposals.

    Raises:
        ValueError: If there is no seed, or one of them is no solution.
    """

    def __init__(
        self,
        score: Callable[[Any], float],
        propose: Proposer,
        seeds: Sequence[Any],
        selector: TurnSelector | None = None,
        capacity: int = 1000,
        children_kept: int = 2,
        seed: int = 0,
    ) -> None:
        for name, number in (("capacity", capacity), ("children_kept", children_kept)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if not len(seeds):
            raise ValueError("there is no solution to begin with; give at least one in seeds")
        self.score, self.propose, self.capacity, self.children_kept = score, propose, capacity, children_kept
        self.selector = puct() if selector is None else selector
        self.state = self.selector.init((), torch.device("cpu"))
        self.generator = torch.Generator().manual_seed(seed)
        self.expansions, self.proposals = 0, 0
        self.kept: dict[int, Solution] = {}
        self._next = 0
        self._keys: dict[Hashable, int] = {}
        for place, value in enumerate(seeds):
            reward = self._reward(value)
            if reward is None:
                raise ValueError(f"seed number {place} is no solution: it cannot be scored")
            self._keep(value, reward, frozenset())

    @property
    def best(self) -> Solution:
        """The best one, the earliest of equals."""
        return max(self.kept.values(), key=lambda solution: (solution.reward, -solution.number))

    def _reward(self, value: Any) -> float | None:  # noqa: ANN401
        try:
            reward = float(self.score(value))
        except ValueError:
            return None
        if reward == math.inf:
            raise ValueError("a solution has an infinite reward; nothing could be better, so the score is not right")
        return reward if math.isfinite(reward) else None

    def _keep(self, value: Any, reward: float, ancestors: frozenset[int]) -> bool:  # noqa: ANN401
        key = _key(value)
        if key in self._keys:
            return False
        self._keys[key] = self._next
        self.kept[self._next] = Solution(value, reward, self._next, ancestors)
        self._next += 1
        return True

    # -- choosing ----------------------------------------------------------------------------------------

    def candidates(self) -> Candidates:
        """What is kept, as a selector sees it, in the order of ``kept``."""
        solutions = self.kept.values()
        rewards = torch.tensor([s.reward for s in solutions], dtype=torch.float64)
        reached = [s.reward if s.best_child == -math.inf else s.best_child for s in solutions]
        visits = torch.tensor([s.visits for s in solutions], dtype=torch.float64)
        bonus = visit_bonus(rewards, visits, self.expansions)
        valid, nothing = torch.ones(len(rewards), dtype=torch.bool), torch.zeros_like(rewards)
        start = Estimate(torch.tensor(reached, dtype=torch.float64), bonus)
        return Candidates(rewards[:, None], valid, start, Estimate(nothing, nothing))

    def choose(self, count: int) -> list[Solution]:
        """The best by the selector's score, no one of which descends from another; fewer if there are no more."""
        score = self.selector.score(self.state, self.candidates())
        solutions = list(self.kept.values())
        chosen: list[Solution] = []
        for place in score.argsort(descending=True, stable=True).tolist():
            solution = solutions[place]
            if any(solution.number in c.ancestors or c.number in solution.ancestors for c in chosen):
                continue
            chosen.append(solution)
            if len(chosen) == count:
                break
        return chosen

    # -- one round ---------------------------------------------------------------------------------------

    def step(self, parents: int = 8, attempts: int = 8) -> float:
        """Choose, propose, keep the best; returns the best reward so far.

        Args:
            parents: Solutions to go on from.
            attempts: New ones made of each.
        """
        for parent in self.choose(parents):
            values = self.propose(parent, attempts, self.generator)
            self.proposals += len(values)
            scored = [(reward, value) for value in values if (reward := self._reward(value)) is not None]
            scored.sort(key=lambda pair: -pair[0])
            line = frozenset(number for number in parent.ancestors if number in self.kept) | {parent.number}
            for number in line:
                self.kept[number].visits += 1
            self.expansions += 1
            if scored:
                parent.best_child = max(parent.best_child, scored[0][0])
            added = 0
            for reward, value in scored:
                added += self._keep(value, reward, line)
                if added == self.children_kept:
                    break
        self._forget_worst()
        return self.best.reward

    def _forget_worst(self) -> None:
        made = [solution for solution in self.kept.values() if not solution.is_seed]
        made.sort(key=lambda solution: (-solution.reward, solution.number))
        for solution in made[self.capacity :]:
            del self.kept[solution.number]
            del self._keys[_key(solution.value)]


def visit_bonus(
    rewards: Float[Tensor, "cand"], visits: Float[Tensor, "cand"], expansions: int
) -> Float[Tensor, "cand"]:
    """scale·P·√(1 + T) / (1 + n): P is linear in the rank of the reward and sums to 1, scale the range of rewards.

    Args:
        rewards: Of the solutions.
        visits: n, how often each or its descendants were gone on from.
        expansions: T, how often any was.
    """
    count = len(rewards)
    rank = rewards.argsort(descending=True, stable=True).argsort()
    prior = (count - rank) / (count * (count + 1) / 2)
    return (rewards.max() - rewards.min()) * prior * math.sqrt(1 + expansions) / (1 + visits)


def _key(value: Any) -> Hashable:  # noqa: ANN401
    """Tells apart values that differ."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    try:
        hash(value)
    except TypeError:
        return pickle.dumps(value)
    return value


# -- who proposes ----------------------------------------------------------------------------------------


class Mutation:
    """Proposes by changing a solution at random.

    Args:
        mutate: A new value from an earlier one.
    """

    def __init__(self, mutate: Callable[[Any, torch.Generator], Any]) -> None:
        self.mutate = mutate

    def __call__(self, solution: Solution, attempts: int, generator: torch.Generator) -> list[Any]:
        """So many changed values."""
        return [self.mutate(solution.value, generator) for _ in range(attempts)]


class LanguageModel:
    """Proposes by showing a solution to a language model.

    Args:
        policy: The model.
        write: The prompt that shows a solution and asks for a better one.
        read: The new value in what the model wrote; raises ``ValueError`` where there is none.
    """

    def __init__(self, policy: Policy, write: Callable[[Solution], str], read: Callable[[str], Any]) -> None:
        self.policy, self.write, self.read = policy, write, read

    def __call__(self, solution: Solution, attempts: int, generator: torch.Generator) -> list[Any]:
        """What could be read of so many attempts."""
        seed = int(torch.randint(2**31, (), generator=generator))
        task = Task(f"solution {solution.number}", self.write(solution))
        values = []
        for text in self.policy.attempt([task], attempts, seed).texts[0]:
            try:
                values.append(self.read(text))
            except ValueError:
                continue
        return values
