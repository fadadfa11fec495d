"""What learners with an ensemble of goal-conditioned critics have in common, whatever their actions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.agents.agent import Generators, copy_into, value_horizon, value_in_steps
from discover_rl.goals import View
from discover_rl.selectors import Estimate


class ValueAgent(ABC):
    """The side of a learner that does not depend on what an action is.

    Args:
        config: Hyperparameters, among them ``gamma``, ``goal_is_terminal`` and ``n_steps``.
        num_runs: Independent runs.
        terminate_on_success: Whether the goal pays once instead of at each step.
        generators: Sources of random numbers.
        view: What networks see of observations and goals.

    Attributes:
        goal_is_terminal: Whether the Bellman target ends at the goal.
        n_steps: Most steps that a transition of a batch may span.
        value_max: The largest value there is: reward 1 for ever, or once.
        horizon: Steps to the goal from which on values tell no difference.
    """

    def __init__(
        self,
        config: Any,  # noqa: ANN401 - one of the configurations of learners
        num_runs: int,
        terminate_on_success: bool,
        generators: Generators,
        view: View,
    ) -> None:
        self.num_runs, self.generators, self.view = num_runs, generators, view
        self.device, self._gamma = generators.init.device, config.gamma
        self.goal_is_terminal = terminate_on_success or config.goal_is_terminal
        self.n_steps = config.n_steps
        if self.n_steps > 1 and not self.goal_is_terminal:
            raise ValueError(
                f"agent.n_steps={self.n_steps} with agent.goal_is_terminal=false; n-step targets end at the goal: "
                "give agent.n_steps=1 or agent.goal_is_terminal=true"
            )
        self.value_max = 1.0 if self.goal_is_terminal else 1 / (1 - config.gamma)
        self.horizon = value_horizon(config.gamma, self.goal_is_terminal)

    def _seen(
        self, observation: Float[Tensor, "*lead obs"], goal: Float[Tensor, "*lead goal"]
    ) -> Float[Tensor, "*lead input"]:
        return torch.cat(self.view.see(observation, goal).parts, dim=-1)

    def _estimate(self, q: Float[Tensor, "run member cand"]) -> Estimate:
        """Mean and deviation over the critics, in minus steps."""
        steps = value_in_steps(q, self._gamma, self.goal_is_terminal)
        return Estimate(steps.mean(1), steps.std(1, correction=0))

    @abstractmethod
    def hold_policy(self) -> None:
        """See ``Agent``."""

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """See ``Agent``."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """See ``Agent``."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy parameters, and the state if any of it is there."""
        own, state = self.parameters(), self.state()
        copy_into(own | state if state.keys() & tensors.keys() else own, tensors)
        self.hold_policy()


def adam_tensors(name: str, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """The moments of an optimiser of one flat tensor, named for a checkpoint."""
    (moments,) = optimizer.state.values()
    return {f"adam/{name}/{key}": value for key, value in moments.items()}
