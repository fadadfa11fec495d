"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477) with an ensemble of goal-conditioned critics, many runs at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from discover_rl.agents.agent import copy_into, value_in_steps
from discover_rl.nets import StackedMLP
from discover_rl.replay import Batch
from discover_rl.selectors import Estimate


@dataclass(frozen=True)
class TD3Config:
    """Hyperparameters.

    Attributes:
        name: Name in configs and tables.
        hidden_sizes: Hidden widths of actor and critics.
        num_critics: Size of the value ensemble.
        learning_rate: Of Adam, for actor and critics.
        gamma: Discount factor. The difference that one step makes to γ^d is largest for γ = d / (d + 1), so 0.98
            suits goals some 50 steps away.
        tau: Polyak rate of the targets, applied at each actor update.
        policy_delay: Critic updates per actor update.
        target_noise: Deviation of the smoothing noise on target actions.
        target_noise_clip: Bound of that noise.
        actor_noise: Deviation of the noise on the actor's actions while it ascends the critics (clipped as the
            target noise is). A deterministic policy likes to stand at the edge of a cliff in Q, where a move is
            just not blocked; noise in its objective keeps it away from there.
        exploration_noise: Deviation of the noise on actions in the rollout.
        exploration_noise_clip: Bound of that noise.
        target_critics: Critics, drawn anew for each update, whose minimum is the target of all.
        actor_critics: Critics, drawn anew for each update, whose mean the actor ascends.
        goal_is_terminal: Whether the Bellman target ends at the goal even where the episode goes on, so that
            Q = γ^d. Otherwise, as in the paper, the goal pays at every step and Q = γ^d / (1-γ), a scale
            that bootstrapping reaches only after some 1 / (1-γ) turnovers of the targets.
        hindsight_bound: Whether the Bellman target is at least γ^k where the episode is known to have reached the
            goal k steps later. True of every deterministic environment, and it spares bootstrapping the way
            back through k states; where chance decides, it is optimistic. Needs ``goal_is_terminal``.
    """

    name: str = "td3"
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256, 256])
    num_critics: int = 6
    learning_rate: float = 5e-4
    gamma: float = 0.98
    tau: float = 0.01
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    actor_noise: float = 0.2
    exploration_noise: float = 0.4
    exploration_noise_clip: float = 0.5
    target_critics: int = 2
    actor_critics: int = 3
    goal_is_terminal: bool = True
    hindsight_bound: bool = True

    def __post_init__(self) -> None:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"agent.hidden_sizes needs positive widths, got {list(self.hidden_sizes)}")
        for key in ("num_critics", "policy_delay", "target_critics", "actor_critics"):
            if getattr(self, key) < 1:
                raise ValueError(f"agent.{key} must be at least 1, got {getattr(self, key)}")
        for key in ("target_critics", "actor_critics"):
            if getattr(self, key) > self.num_critics:
                raise ValueError(f"agent.{key}={getattr(self, key)} is more than agent.num_critics={self.num_critics}")
        if not 0 < self.gamma < 1:
            raise ValueError(f"agent.gamma must lie strictly between 0 and 1, got {self.gamma}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"agent.tau must lie in (0, 1], got {self.tau}")
        if not self.learning_rate > 0:
            raise ValueError(f"agent.learning_rate must be positive, got {self.learning_rate}")
        noises = ("target_noise", "target_noise_clip", "actor_noise", "exploration_noise", "exploration_noise_clip")
        for key in noises:
            if getattr(self, key) < 0:
                raise ValueError(f"agent.{key} must not be negative, got {getattr(self, key)}")


class Generators(NamedTuple):
    """One generator per purpose, all on the agent's device.

    Attributes:
        init: Initial parameters.
        explore: Exploration noise.
        learn: Target noise and the choice of critics.
    """

    init: torch.Generator
    explore: torch.Generator
    learn: torch.Generator


class TD3:
    """Parameters of all runs and what to do with them.

    Args:
        config: Hyperparameters.
        num_runs: Independent runs.
        observation_dim: Width of an observation.
        action_dim: Width of an action.
        goal_dim: Width of a goal.
        terminate_on_success: Whether the goal pays once instead of at each step.
        generators: Sources of random numbers.
    """

    def __init__(
        self,
        config: TD3Config,
        num_runs: int,
        observation_dim: int,
        action_dim: int,
        goal_dim: int,
        terminate_on_success: bool,
        generators: Generators,
    ) -> None:
        self.config, self.num_runs, self.action_dim = config, num_runs, action_dim
        self.goal_is_terminal = terminate_on_success or config.goal_is_terminal
        self.generators = generators
        self.updates_per_call = config.policy_delay
        self.device = generators.init.device
        inputs = observation_dim + goal_dim
        self.actor_net = StackedMLP((inputs, *config.hidden_sizes, action_dim))
        self.critic_net = StackedMLP((inputs + action_dim, *config.hidden_sizes, 1))
        self.actor = self.actor_net.init((num_runs,), generators.init)
        self.critics = self.critic_net.init((num_runs, config.num_critics), generators.init)
        self.target_actor, self.target_critics = self.actor.clone(), self.critics.clone()
        self.actor_optimizer = self._adam(self.actor)
        self.critic_optimizer = self._adam(self.critics)
        # the largest value there is: reward 1 for ever, or once
        self.value_max = 1.0 if self.goal_is_terminal else 1 / (1 - config.gamma)
        self._metrics = {
            tag: torch.zeros(num_runs, device=self.device)
            for tag in ("train/critic_loss", "train/actor_loss", "train/q_mean")
        }

    def _adam(self, parameter: Tensor) -> torch.optim.Adam:
        on_cuda = self.device.type == "cuda"
        parameter.grad = torch.zeros_like(parameter)  # written in place by the backward passes
        optimizer = torch.optim.Adam([parameter], lr=self.config.learning_rate, fused=True, capturable=on_cuda)
        # torch makes these at the first step; a captured update and a checkpoint need them before
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=self.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return optimizer

    # -- acting ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """The deterministic policy."""
        return self._policy(self.actor, observation, goal)

    @torch.no_grad()
    def explore(
        self,
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
        scale: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch act"]:
        """The policy with clipped Gaussian noise of ``scale`` times the usual deviation, clipped to the range."""
        action, config = self.act(observation, goal), self.config
        noise = torch.randn(action.shape, device=self.device, generator=self.generators.explore)
        clip = config.exploration_noise_clip
        noise = (noise * (config.exploration_noise * scale[..., None])).clamp(-clip, clip)
        return (action + noise).clamp(-1, 1)

    @torch.no_grad()
    def values(self, observation: Float[Tensor, "run cand obs"], goal: Float[Tensor, "run cand goal"]) -> Estimate:
        """Mean and deviation over the online critics at the online policy's action, in minus steps."""
        action = self._policy(self.actor, observation, goal)
        q = self._q(self.critics, observation, goal, action)
        steps = value_in_steps(q, self.config.gamma, self.goal_is_terminal)
        return Estimate(steps.mean(1), steps.std(1, correction=0))

    # -- learning ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, sample: Callable[[], Batch]) -> None:
        """``policy_delay`` critic updates, then one actor update and one step of the targets."""
        batch = sample()
        self._update_critics(batch)
        for _ in range(self.config.policy_delay - 1):
            batch = sample()
            self._update_critics(batch)
        self._update_actor(batch)
        self.target_actor.lerp_(self.actor, self.config.tau)
        self.target_critics.lerp_(self.critics, self.config.tau)

    def _update_critics(self, batch: Batch) -> None:
        """One step on the mean squared error of each critic."""
        inputs = torch.cat([batch.observation, batch.goal, batch.action], dim=-1)[:, None]
        logit, hidden = self.critic_net.forward(self.critics, inputs)
        q = softplus(logit)
        error = q - self._critic_target(batch)[:, None, :, None]
        # d/dlogit of mean(error²), with softplus' = sigmoid
        grad = error * logit.sigmoid() * (2 / error.shape[2])
        self.critic_net.backward(self.critics, hidden, grad, self.critics.grad)
        self.critic_optimizer.step()
        self._metrics["train/critic_loss"].copy_(error.square().mean((1, 2, 3)))
        self._metrics["train/q_mean"].copy_(q.mean((1, 2, 3)))

    @torch.no_grad()
    def _critic_target(self, batch: Batch) -> Float[Tensor, "run batch"]:
        config, generator = self.config, self.generators.learn
        action = self._policy(self.target_actor, batch.next_observation, batch.goal)
        noise = self._clipped_noise(action, config.target_noise, config.target_noise_clip, generator)
        members = self._draw_members(config.target_critics)
        q = self._q(
            _gather_members(self.target_critics, members),
            batch.next_observation,
            batch.goal,
            (action + noise).clamp(-1, 1),
        )
        target = batch.reward + config.gamma * (1 - batch.terminated) * q.amin(1)
        if config.hindsight_bound and self.goal_is_terminal:
            target = torch.maximum(target, config.gamma**batch.steps_to_goal)
        return target.clamp_max(self.value_max)

    def _update_actor(self, batch: Batch) -> None:
        """One step up the mean of some critics at the policy's own, slightly disturbed actions."""
        config = self.config
        state = torch.cat([batch.observation, batch.goal], dim=-1)
        logit, hidden = self.actor_net.forward(self.actor, state)
        action = logit.tanh()
        disturbed = action
        if config.actor_noise:
            disturbed = action + self._clipped_noise(
                action, config.actor_noise, config.target_noise_clip, self.generators.learn
            )
        members = self._draw_members(config.actor_critics)
        critics = _gather_members(self.critics, members)
        inputs = torch.cat([state, disturbed.clamp(-1, 1)], dim=-1)[:, None]
        q_logit, q_hidden = self.critic_net.forward(critics, inputs)
        # d/dlogit of -mean(softplus(logit)), then through the critics to the action
        grad_q = q_logit.sigmoid().mul_(-1 / (config.actor_critics * inputs.shape[2]))
        grad_input = self.critic_net.backward(critics, q_hidden, grad_q, need_input=True)
        assert grad_input is not None
        grad_action = grad_input[..., -self.action_dim :].sum(1)
        inside = disturbed.abs() <= 1  # where clipped, the action has no influence
        self.actor_net.backward(self.actor, hidden, grad_action * inside * (1 - action.square()), self.actor.grad)
        self.actor_optimizer.step()
        self._metrics["train/actor_loss"].copy_(softplus(q_logit).mean((1, 2, 3)).neg_())

    # -- parts -------------------------------------------------------------------------------------------

    def _policy(self, actor: Tensor, observation: Tensor, goal: Tensor) -> Tensor:
        return self.actor_net(actor, torch.cat([observation, goal], dim=-1)).tanh()

    def _q(
        self, critics: Tensor, observation: Tensor, goal: Tensor, action: Tensor
    ) -> Float[Tensor, "run member batch"]:
        inputs = torch.cat([observation, goal, action], dim=-1)[:, None]
        return softplus(self.critic_net(critics, inputs)[..., 0])

    def _clipped_noise(self, like: Tensor, deviation: float, clip: float, generator: torch.Generator) -> Tensor:
        noise = torch.randn(like.shape, device=like.device, generator=generator)
        return (noise * deviation).clamp(-clip, clip)

    def _draw_members(self, count: int) -> Int[Tensor, "run chosen"]:
        shape = (self.num_runs, self.config.num_critics)
        noise = torch.rand(shape, device=self.device, generator=self.generators.learn)
        return noise.topk(count, dim=1).indices

    # -- state -------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """Losses and mean value of the last update."""
        return self._metrics

    def parameters(self) -> dict[str, Tensor]:
        """Online actor (run, parameter) and critics (run, member, parameter)."""
        return {"actor": self.actor, "critics": self.critics}

    def state(self) -> dict[str, Tensor]:
        """Targets and Adam's moments."""
        tensors = {"target_actor": self.target_actor, "target_critics": self.target_critics}
        for name, optimizer in (("actor", self.actor_optimizer), ("critics", self.critic_optimizer)):
            (moments,) = optimizer.state.values()
            tensors |= {f"adam/{name}/{key}": value for key, value in moments.items()}
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy parameters, and the state if it is there."""
        own = self.parameters()
        if "target_actor" in tensors:
            own |= self.state()
        copy_into(own, tensors)


def _gather_members(
    critics: Float[Tensor, "run member parameter"], members: Int[Tensor, "run chosen"]
) -> Float[Tensor, "run chosen parameter"]:
    return critics.gather(1, members[..., None].expand(-1, -1, critics.shape[-1]))
