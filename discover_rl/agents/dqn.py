"""Double DQN (van Hasselt et al. 2016, arXiv 1509.06461) with an ensemble of goal-conditioned critics, many runs.

An action is a vector of preferences over the actions, of which the environment takes the greatest: the agent's is
one-hot in {-1, 1}, a uniformly random vector is a uniformly random action.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from discover_rl.agents.agent import Generators, make_adam
from discover_rl.agents.dqn_config import DQNConfig
from discover_rl.agents.value_agent import ValueAgent, adam_tensors
from discover_rl.goals import View
from discover_rl.nets import StackedMLP
from discover_rl.replay import Batch
from discover_rl.selectors import Estimate


class DQN(ValueAgent):
    """Parameters of all runs and what to do with them.

    Args:
        config: Hyperparameters.
        num_runs: Independent runs.
        num_actions: Number of actions.
        terminate_on_success: Whether the goal pays once instead of at each step.
        generators: Sources of random numbers.
        view: What networks see of observations and goals, from one side.
    """

    batch_multiple = 1

    def __init__(
        self,
        config: DQNConfig,
        num_runs: int,
        num_actions: int,
        terminate_on_success: bool,
        generators: Generators,
        view: View,
    ) -> None:
        super().__init__(config, num_runs, terminate_on_success, generators, view)
        self.config, self.num_actions = config, num_actions
        self.net = StackedMLP((view.width, *config.hidden_sizes, num_actions))
        self.critics = self.net.init((num_runs, config.num_critics), generators.init)
        self.target_critics, self._held_critics = self.critics.clone(), self.critics.clone()
        self.adam = make_adam(self.critics, config.learning_rate)
        tags = ("train/critic_loss", "train/q_mean")
        self._metrics = {tag: self.critics.new_zeros(num_runs) for tag in tags}

    # -- acting ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """The greedy action of the ensemble mean, one-hot in {-1, 1}."""
        return self._act(self.critics, observation, goal)

    def _act(
        self,
        critics: Float[Tensor, "run member parameter"],
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
    ) -> Float[Tensor, "run batch act"]:
        return self._one_hot(self._q(critics, self._seen(observation, goal)).mean(1).argmax(-1))

    @torch.no_grad()
    def hold_policy(self) -> None:
        """Copy the critics, for ``explore`` to act with."""
        self._held_critics.copy_(self.critics)

    @torch.no_grad()
    def explore(
        self,
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
        scale: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch act"]:
        """The greedy action of the held critics, or with ``scale`` times the usual probability a random one."""
        greedy, source = self._act(self._held_critics, observation, goal), self.generators.explore
        random = torch.rand(greedy.shape, device=greedy.device, generator=source) * 2 - 1
        chance = torch.rand(scale.shape, device=greedy.device, generator=source)
        return torch.where((chance < self.config.exploration * scale)[..., None], random, greedy)

    @torch.no_grad()
    def values(self, observation: Float[Tensor, "run cand obs"], goal: Float[Tensor, "run cand goal"]) -> Estimate:
        """Mean and deviation over the online critics at the greedy action, in minus steps."""
        q = self._q(self.critics, self._seen(observation, goal))
        return self._estimate(_at(q, q.mean(1, keepdim=True).argmax(-1, keepdim=True)))

    # -- learning ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, batches: Batch) -> None:
        """One update of critics and targets a batch."""
        config, count = self.config, batches.reward.shape[1]
        shape = (*batches.reward.shape[:2], config.num_critics)
        draws = torch.rand(shape, device=self.critics.device, generator=self.generators.learn)
        members = draws.topk(config.target_critics, dim=-1).indices
        for k in range(count):
            self._learn(Batch(*(field[:, k] for field in batches)), members[:, k])

    def _learn(self, batch: Batch, members: Int[Tensor, "run chosen"]) -> None:
        net, taken = self.net, batch.action.argmax(-1)[:, None, :, None]
        inputs = self._seen(batch.observation, batch.goal)
        logit, hidden = net.forward(self.critics, inputs[:, None])
        q = _at(softplus(logit), taken.expand(-1, self.config.num_critics, -1, -1))
        error = q - self._bellman_target(batch, members)[:, None]
        # d/dlogit of mean(error²) at the action taken, with softplus' = sigmoid
        grad = torch.zeros_like(logit)
        slope = _at(logit, taken.expand(-1, self.config.num_critics, -1, -1)).sigmoid()
        grad.scatter_(-1, taken.expand(*grad.shape[:-1], 1), (error * slope * (2 / error.shape[2]))[..., None])
        net.backward(self.critics, hidden, grad, self.critics.grad)
        self.adam.step()
        self.target_critics.lerp_(self.critics, self.config.tau)
        self._metrics["train/critic_loss"].copy_(error.square().mean((1, 2)))
        self._metrics["train/q_mean"].copy_(q.mean((1, 2)))

    def _bellman_target(self, batch: Batch, members: Int[Tensor, "run chosen"]) -> Float[Tensor, "run batch"]:
        """The least of some target critics at the action that the online ensemble takes."""
        config = self.config
        inputs = self._seen(batch.next_observation, batch.goal)
        greedy = self._q(self.critics, inputs).mean(1, keepdim=True)
        chosen = self.target_critics.gather(1, members[..., None].expand(-1, -1, self.target_critics.shape[-1]))
        q = self._q(chosen, inputs)
        following = _at(q, greedy.argmax(-1, keepdim=True)).amin(1)
        last = batch.reward + config.gamma * (1 - batch.terminated) * following
        target = config.gamma ** (batch.steps - 1) * last
        if config.hindsight_bound and self.goal_is_terminal:
            target = torch.maximum(target, config.gamma**batch.steps_to_goal)
        return target.clamp_max(self.value_max)

    def _q(
        self, critics: Float[Tensor, "run member parameter"], inputs: Float[Tensor, "run batch input"]
    ) -> Float[Tensor, "run member batch act"]:
        return softplus(self.net(critics, inputs[:, None]))

    def _one_hot(self, index: Int[Tensor, "run batch"]) -> Float[Tensor, "run batch act"]:
        return one_hot(index, self.num_actions).float() * 2 - 1

    def settle(self, mastery: Float[Tensor, "run"]) -> None:
        """Nothing: the pace stays."""

    def compile(self) -> None:
        """Pass the learning of a batch through torch.compile."""
        self._bellman_target = torch.compile(self._bellman_target)

    # -- state -------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """Loss and mean value of the last update."""
        return self._metrics

    def parameters(self) -> dict[str, Tensor]:
        """Online critics (run, member, parameter)."""
        return {"critics": self.critics}

    def state(self) -> dict[str, Tensor]:
        """Targets and Adam's moments."""
        return {"target_critics": self.target_critics, **adam_tensors("critics", self.adam)}


def _at(
    q: Float[Tensor, "run member batch act"], index: Int[Tensor, "run #member batch 1"]
) -> Float[Tensor, "run member batch"]:
    return q.gather(-1, index.expand(*q.shape[:-1], 1))[..., 0]
