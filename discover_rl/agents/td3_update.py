"""What one update of TD3 reads and writes, and the update in plain torch operations."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from discover_rl.agents.agent import make_adam
from discover_rl.agents.td3_config import TD3Config
from discover_rl.goals import View
from discover_rl.nets import StackedMLP
from discover_rl.replay import Batch

SATURATED = math.tanh(2)  # beyond it the slope of tanh is below 0.07


@dataclass(frozen=True)
class Networks:
    """Parameters, targets and optimisers of all runs.

    Attributes:
        actor_net: Shape of an actor, from observation and goal to the action before its tanh.
        critic_net: Shape of a critic, from observation, goal and action to a value before its softplus.
        actor: Actors.
        critics: Critics.
        target_actor: Polyak average of the actors.
        target_critics: Polyak average of the critics.
        actor_adam: Optimiser of ``actor``.
        critic_adam: Optimiser of ``critics``.
        learning_rates: Step size of Adam in each run.
    """

    actor_net: StackedMLP
    critic_net: StackedMLP
    actor: Float[Tensor, "run actor_parameter"]
    critics: Float[Tensor, "run member critic_parameter"]
    target_actor: Float[Tensor, "run actor_parameter"]
    target_critics: Float[Tensor, "run member critic_parameter"]
    actor_adam: torch.optim.Adam
    critic_adam: torch.optim.Adam
    learning_rates: Float[Tensor, "run"]


def make_networks(
    config: TD3Config, num_runs: int, state_dim: int, action_dim: int, generator: torch.Generator
) -> Networks:
    """Fresh networks on the device of the generator.

    Args:
        config: Widths, ensemble size and learning rate.
        num_runs: Independent runs.
        state_dim: Width of observation and goal together.
        action_dim: Width of an action.
        generator: Source of the initial parameters.
    """
    actor_net = StackedMLP((state_dim, *config.hidden_sizes, action_dim))
    critic_net = StackedMLP((state_dim + action_dim, *config.hidden_sizes, 1))
    actor = actor_net.init((num_runs,), generator)
    critics = critic_net.init((num_runs, config.num_critics), generator)
    actor_adam, critic_adam = (make_adam(parameter, config.learning_rate) for parameter in (actor, critics))
    rates = torch.full((num_runs,), config.learning_rate, device=actor.device)
    return Networks(
        actor_net, critic_net, actor, critics, actor.clone(), critics.clone(), actor_adam, critic_adam, rates
    )


class Minibatches(NamedTuple):
    """Some batches as the networks read them, and every random number that their updates need.

    The axis ``count`` tells the batches apart; a single batch has none.

    Attributes:
        inputs: Observation, goal, action, and zeros up to a multiple of four columns.
        next_inputs: Following observation, goal, and room for the target policy's action.
        reward: Reward, discounted by the steps before it.
        discount: γ to the steps of the transition where something follows, else 0.
        lower: Least possible Bellman target; -inf where nothing is known.
        target_noise: Clipped noise on the target policy's actions.
        target_members: Critics whose minimum forms the target.
        actor_noise: Clipped noise on the actor's actions while it learns, for every batch.
        actor_members: Critics that the actor ascends, for every batch.
    """

    inputs: Float[Tensor, "run *count batch column"]
    next_inputs: Float[Tensor, "run *count batch column"]
    reward: Float[Tensor, "run *count batch"]
    discount: Float[Tensor, "run *count batch"]
    lower: Float[Tensor, "run *count batch"]
    target_noise: Float[Tensor, "run *count batch act"]
    target_members: Int[Tensor, "run *count target_member"]
    actor_noise: Float[Tensor, "run *count batch act"]
    actor_members: Int[Tensor, "run *count actor_member"]


def prepare(batches: Batch, view: View, config: TD3Config, bounded: bool, generator: torch.Generator) -> Minibatches:
    """Lay batches out for the networks and draw what their updates need.

    Args:
        batches: Batches with axes (run, count, batch, ...).
        view: What networks see of them.
        config: Noise, discount and numbers of critics.
        bounded: Whether steps_to_goal bounds the Bellman target from below.
        generator: Source of all random numbers.
    """
    device, lead = batches.reward.device, batches.reward.shape
    parts, side = view.see(batches.observation, batches.goal)
    next_parts = view.see(batches.next_observation, batches.goal).parts
    action = batches.action if side is None else view.seen_action(batches.action, side)
    padding = action.new_zeros(*lead, -(view.width + action.shape[-1]) % 4)
    noise = torch.randn(2, *action.shape, device=device, generator=generator)
    clip = config.target_noise_clip
    draws = torch.rand(2, *lead[:2], config.num_critics, device=device, generator=generator)
    lower = torch.full_like(batches.reward, -torch.inf)
    if bounded:
        lower = config.hindsight_confidence * config.gamma ** (config.hindsight_slack * batches.steps_to_goal)
    return Minibatches(
        inputs=torch.cat([*parts, action, padding], dim=-1),
        next_inputs=torch.cat([*next_parts, torch.zeros_like(action), padding], dim=-1),
        reward=batches.reward * config.gamma ** (batches.steps - 1),
        discount=config.gamma**batches.steps * (1 - batches.terminated),
        lower=lower,
        target_noise=(noise[0] * config.target_noise).clamp(-clip, clip),
        target_members=draws[0].topk(config.target_critics, dim=-1).indices,
        actor_noise=(noise[1] * config.actor_noise).clamp(-clip, clip),
        actor_members=draws[1].topk(config.actor_critics, dim=-1).indices,
    )


@runtime_checkable
class Update(Protocol):
    """One way to compute updates; all ways compute the same."""

    def __call__(self, minibatches: Minibatches, first: int) -> None:
        """``policy_delay`` critic updates from batch ``first`` on, an actor update on the last, then the targets."""
        ...

    def compile(self) -> None:
        """See ``Agent.compile``."""
        ...

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """Losses and mean value of the last update."""
        ...


class PlainUpdate:
    """The update in stacked matrix products, with gradients by hand.

    Args:
        networks: What is trained.
        config: Hyperparameters.
        value_max: Largest value there is.
    """

    def __init__(self, networks: Networks, config: TD3Config, value_max: float) -> None:
        self.networks, self.config, self.value_max = networks, config, value_max
        tags = ("train/critic_loss", "train/actor_loss", "train/q_mean")
        self._metrics = {tag: networks.actor.new_zeros(networks.actor.shape[0]) for tag in tags}

    def compile(self) -> None:
        """See ``Agent.compile``."""
        self._critic_gradients = torch.compile(self._critic_gradients)
        self._actor_gradients = torch.compile(self._actor_gradients)

    def __call__(self, minibatches: Minibatches, first: int) -> None:
        """See ``Update``."""
        networks, tau = self.networks, self.config.tau
        last = first + self.config.policy_delay - 1
        for k in range(first, last + 1):
            self._critic_gradients(Minibatches(*(field[:, k] for field in minibatches)))
            self._step(networks.critic_adam, networks.critics)
        self._actor_gradients(Minibatches(*(field[:, last] for field in minibatches)))
        self._step(networks.actor_adam, networks.actor)
        networks.target_actor.lerp_(networks.actor, tau)
        networks.target_critics.lerp_(networks.critics, tau)

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """See ``Update``."""
        return self._metrics

    def _step(self, adam: torch.optim.Adam, parameters: Float[Tensor, "run *rest"]) -> None:
        """One step of Adam, shortened where a run has a smaller learning rate: the optimiser knows only one."""
        before = parameters.clone()
        adam.step()
        share = self.networks.learning_rates / self.config.learning_rate
        parameters.copy_(before.lerp_(parameters, share.view(-1, *[1] * (parameters.dim() - 1))))

    def _critic_gradients(self, batch: Minibatches) -> None:
        """Gradients of the mean squared error of each critic on one batch."""
        networks, net = self.networks, self.networks.critic_net
        inputs = batch.inputs[..., : net.sizes[0]]
        logit, hidden = net.forward(networks.critics, inputs[:, None])
        q = softplus(logit)
        error = q - self._bellman_target(batch)[:, None, :, None]
        # d/dlogit of mean(error²)
        grad = error * self._slope(logit) * (2 / error.shape[2])
        net.backward(networks.critics, hidden, grad, networks.critics.grad)
        self._metrics["train/critic_loss"].copy_(error.square().mean((1, 2, 3)))
        self._metrics["train/q_mean"].copy_(q.mean((1, 2, 3)))

    def _slope(self, logit: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
        """Of the softplus, which is the sigmoid, or 1 for gradients relative to it."""
        return torch.ones_like(logit) if self.config.relative_gradients else logit.sigmoid()

    def _bellman_target(self, batch: Minibatches) -> Float[Tensor, "run batch"]:
        networks, net = self.networks, self.networks.critic_net
        state, action_stop = networks.actor_net.sizes[0], net.sizes[0]
        inputs = batch.next_inputs[..., :action_stop]
        action = networks.actor_net(networks.target_actor, inputs[..., :state]).tanh()
        inputs[..., state:] = (action + batch.target_noise).clamp(-1, 1)
        members = _gather_members(networks.target_critics, batch.target_members)
        q = softplus(net(members, inputs[:, None])[..., 0])
        target = batch.reward + batch.discount * q.amin(1)
        return torch.maximum(target, batch.lower).clamp_max(self.value_max)

    def _actor_gradients(self, batch: Minibatches) -> None:
        """Gradients of minus the mean of some critics at the policy's own, slightly disturbed actions."""
        networks, net = self.networks, self.networks.critic_net
        state = batch.inputs[..., : networks.actor_net.sizes[0]]
        logit, hidden = networks.actor_net.forward(networks.actor, state)
        action = logit.tanh()
        disturbed = action + batch.actor_noise
        critics = _gather_members(networks.critics, batch.actor_members)
        inputs = torch.cat([state, disturbed.clamp(-1, 1)], dim=-1)[:, None]
        q_logit, q_hidden = net.forward(critics, inputs)
        # d/dlogit of -mean(softplus(logit)), then through the critics to the action
        grad_q = self._slope(q_logit).mul_(-1 / (critics.shape[1] * inputs.shape[2]))
        grad_input = net.backward(critics, q_hidden, grad_q, need_input=True)
        assert grad_input is not None
        grad_action = grad_input[..., -action.shape[-1] :].sum(1)
        inside = disturbed.abs() <= 1  # where clipped, the action has no influence
        grad = grad_action * inside * (1 - action.square())
        if self.config.saturation_penalty:
            grad = grad + self.config.saturation_penalty / inputs.shape[2] * saturation(action)
        networks.actor_net.backward(networks.actor, hidden, grad, networks.actor.grad)
        self._metrics["train/actor_loss"].copy_(softplus(q_logit).mean((1, 2, 3)).neg_())


def saturation(action: Float[Tensor, "*lead act"]) -> Float[Tensor, "*lead act"]:
    """How far actions are beyond ±``SATURATED``, from 0 there to ±1 at ±1."""
    return action.sign() * (action.abs() - SATURATED).clamp_min(0) / (1 - SATURATED)


def _gather_members(
    critics: Float[Tensor, "run member parameter"], members: Int[Tensor, "run chosen"]
) -> Float[Tensor, "run chosen parameter"]:
    return critics.gather(1, members[..., None].expand(-1, -1, critics.shape[-1]))
