"""Episodes with goals, in tensors: what one environment and a vector of them have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import error
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.goals import Environment

Observation = dict[str, Tensor]


class Outcome(NamedTuple):
    """What a step brought, before time limit and reset. Everything refers to the goal acted under.

    Attributes:
        observation: ``observation``, ``achieved_goal`` and ``desired_goal``.
        success: Whether the achieved goal lies within the success radius of the desired one; the reward.
        failure: Whether the environment ended the episode whatever the goal.
        terminated: Failure, or success where success ends an episode.
        truncated: Whether the environment cut the episode short.
    """

    observation: Observation
    success: Bool[Tensor, "env"]
    failure: Bool[Tensor, "env"]
    terminated: Bool[Tensor, "env"]
    truncated: Bool[Tensor, "env"]


class Episodes:
    """The running episodes of a vector of environments and their goals.

    A goal is the environment's target unless one was given at the reset; it changes only there. The starts of
    each environment come from its own generator if the environment can do that (``SeededStarts``); all else
    that is random is seeded by the first environment that is given a seed.

    Args:
        env: The environments.

    Attributes:
        goals: The desired goal of each running episode.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.goals = env.targets().clone()
        self._last: Observation | None = None
        self._start_numbers: int = getattr(env, "start_numbers", 0) if hasattr(env, "reset_from") else 0
        self._unwatched = 0  # steps since the environment was last asked whether it can be trusted

    def seed(self, number: int) -> None:
        """Seed what the environments draw in common: see ``common_seed``."""
        self.env.generator.manual_seed(number)

    def reset(
        self,
        generators: Sequence[np.random.Generator],
        mask: Bool[np.ndarray, "env"] | None = None,
        goals: Float[Tensor, "#env goal"] | None = None,
    ) -> Observation:
        """Start episodes where ``mask`` is True (everywhere if None).

        Args:
            generators: One for each environment; those of environments that go on are not drawn from.
            mask: Which environments.
            goals: Their goals; the environment's targets if None.

        Returns:
            The observation of every environment.

        Raises:
            ValueError: If the simulation can no longer be trusted (``Monitored``).
        """
        if mask is None:
            self._watch()
        chosen = None if mask is None else torch.tensor(mask, device=self.env.device)
        if self._start_numbers:
            state = self.env.reset_from(self._draw(generators, mask), chosen)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            state = self.env.reset(chosen)
        fresh = self.env.targets() if goals is None else goals
        if chosen is not None:
            fresh = torch.where(chosen[:, None], fresh, self.goals)
        self.goals = fresh.expand_as(self.goals).clone()
        return self._observe(state)

    def step(self, action: Float[Tensor, "env act"]) -> Outcome:
        """Advance every environment by one step.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            ValueError: If the shape of ``action`` is wrong, or the simulation can no longer be trusted (``Monitored``).
        """
        if self._last is None:
            raise error.ResetNeeded("step() before the first reset(); call reset() once to start the episodes")
        state, failure, truncated = self.env.step(action)
        self._unwatched += 1
        if self._unwatched >= self.env.max_episode_steps:  # an answer of the device: not at every step
            self._watch()
        observation = self._observe(state)
        success = self.success(observation["achieved_goal"], self.goals)
        terminated = failure | success if self.env.terminate_on_success else failure
        return Outcome(observation, success, failure, terminated, truncated)

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """Whether ``achieved`` counts as having reached ``desired``."""
        return self.env.goal_space.success(achieved, desired)

    def last(self) -> Observation:
        """The observation of every environment that was returned last.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
        """
        if self._last is None:
            raise error.ResetNeeded("render() before the first reset(); call reset() once to start the episodes")
        return self._last

    def _watch(self) -> None:
        """Let the environment say if it can no longer be trusted.

        Raises:
            ValueError: If it says so.
        """
        steps, self._unwatched = self._unwatched, 0
        monitor = getattr(self.env, "monitor", None)
        if monitor is not None and steps:
            monitor()

    def close(self) -> None:
        """Let the environment free what it holds, if it can."""
        close = getattr(self.env, "close", None)
        if close is not None:
            close()

    def _observe(self, state: Float[Tensor, "env obs"]) -> Observation:
        achieved = self.env.goal_space.achieved(state)
        self._last = {"observation": state, "achieved_goal": achieved, "desired_goal": self.goals}
        return self._last

    def _draw(
        self, generators: Sequence[np.random.Generator], mask: Bool[np.ndarray, "env"] | None
    ) -> Float[Tensor, "env number"]:
        numbers = np.zeros((self.env.num_envs, self._start_numbers), np.float32)
        for index in range(self.env.num_envs) if mask is None else np.flatnonzero(mask).tolist():
            numbers[index] = generators[index].random(self._start_numbers, dtype=np.float32)
        return torch.from_numpy(numbers).to(self.env.device)


def common_seed(generator: np.random.Generator) -> int:
    """What a newly seeded environment draws first, so that its later draws are the same alone and in a vector."""
    return int(generator.integers(2**63 - 1))
