"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477) with an ensemble of goal-conditioned critics, many runs at once."""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from discover_rl.agents.agent import Generators
from discover_rl.agents.td3_config import TD3Config
from discover_rl.agents.td3_update import PlainUpdate, Update, make_networks, prepare
from discover_rl.agents.value_agent import ValueAgent, adam_tensors
from discover_rl.goals import View
from discover_rl.replay import Batch
from discover_rl.selectors import Estimate

WARM_UP = 10.0
"""While a run is young the average of the policy looks back over one in this many of its updates."""


class TD3(ValueAgent):
    """Parameters of all runs and what to do with them.

    Args:
        config: Hyperparameters.
        num_runs: Independent runs.
        action_dim: Width of an action.
        terminate_on_success: Whether the goal pays once instead of at each step.
        generators: Sources of random numbers.
        view: What networks see of observations, goals and actions.
    """

    def __init__(
        self,
        config: TD3Config,
        num_runs: int,
        action_dim: int,
        terminate_on_success: bool,
        generators: Generators,
        view: View,
    ) -> None:
        super().__init__(config, num_runs, terminate_on_success, generators, view)
        self.config, self.batch_multiple = config, config.policy_delay
        self.networks = make_networks(config, num_runs, view.width, action_dim, generators.init)
        self.learner: Update = PlainUpdate(self.networks, config, self.value_max)
        self._wants_fused = config.fused and self.device.type == "cuda"
        self._held_actor = self.networks.actor.clone()
        # a name for the actor itself where nothing is averaged
        self._policy_parameters = self.networks.actor.clone() if config.policy_average else self.networks.actor

    def _fuse(self, batch_size: int) -> None:
        """Go over to the fused kernels, now that the batch size is known; say why if that cannot be."""
        self._wants_fused = False
        if find_spec("triton") is None:  # it comes with the CUDA builds of torch, but not on every platform
            obstacle = "Triton is not installed"
        else:
            from discover_rl.agents.td3_fused import FusedUpdate, fused_obstacle

            obstacle = fused_obstacle(self.config, batch_size)
            if obstacle is None:
                self.learner = FusedUpdate(self.networks, self.config, self.value_max)
                return
        warnings.warn(f"agent td3: plain updates, several times slower, since {obstacle}", stacklevel=2)

    # -- acting ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self, observation: Float[Tensor, "run batch obs"], goal: Float[Tensor, "run batch goal"]
    ) -> Float[Tensor, "run batch act"]:
        """The deterministic policy: the actor, or the average of it that ``policy_average`` asks for."""
        return self._act(self._policy_parameters, observation, goal)

    def _act(
        self,
        actor: Float[Tensor, "run actor_parameter"],
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
    ) -> Float[Tensor, "run batch act"]:
        parts, side = self.view.see(observation, goal)
        action = self._policy(actor, torch.cat(parts, -1))
        return action if side is None else self.view.own_action(action, side)

    def _policy(
        self, actor: Float[Tensor, "run actor_parameter"], seen: Float[Tensor, "run batch input"]
    ) -> Float[Tensor, "run batch act"]:
        return self.networks.actor_net(actor, seen).tanh()

    @torch.no_grad()
    def hold_policy(self) -> None:
        """Copy the actor, for ``explore`` to act with."""
        self._held_actor.copy_(self.networks.actor)

    @torch.no_grad()
    def explore(
        self,
        observation: Float[Tensor, "run batch obs"],
        goal: Float[Tensor, "run batch goal"],
        scale: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch act"]:
        """The held policy with clipped Gaussian noise of ``scale`` times the usual deviation, clipped to the range."""
        action, config = self._act(self._held_actor, observation, goal), self.config
        noise = torch.randn(action.shape, device=self.device, generator=self.generators.explore)
        clip = config.exploration_noise_clip
        noise = (noise * (config.exploration_noise * scale[..., None])).clamp(-clip, clip)
        return (action + noise).clamp(-1, 1)

    @torch.no_grad()
    def values(self, observation: Float[Tensor, "run cand obs"], goal: Float[Tensor, "run cand goal"]) -> Estimate:
        """Mean and deviation over the online critics at the online policy's action, in minus steps."""
        networks, seen = self.networks, self._seen(observation, goal)
        inputs = torch.cat([seen, self._policy(networks.actor, seen)], dim=-1)[:, None]
        return self._estimate(softplus(networks.critic_net(networks.critics, inputs)[..., 0]))

    # -- learning ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, batches: Batch) -> None:
        """One critic update a batch; after each ``policy_delay`` of them one of the actor and of the targets.

        Raises:
            ValueError: If the number of batches is no multiple of ``policy_delay``.
        """
        count, delay = batches.reward.shape[1], self.config.policy_delay
        if count % delay:
            raise ValueError(f"agent td3: {count} batches for an update; give a multiple of policy_delay={delay}")
        if self._wants_fused:
            self._fuse(batches.reward.shape[2])
        bounded = self.config.hindsight_bound and self.goal_is_terminal
        minibatches = prepare(batches, self.view, self.config, bounded, self.generators.learn)
        for first in range(0, count, delay):
            self.learner(minibatches, first)
        if self.config.policy_average:
            self._average_policy(count)

    def _average_policy(self, count: int) -> None:
        """Let the policy follow the actor; at first, when actors change fast, over a tenth of all updates so far."""
        updates = self.networks.critic_adam.state[self.networks.critics]["step"]
        rate = (WARM_UP / (WARM_UP + updates)).clamp_min(self.config.policy_average)
        self._policy_parameters.lerp_(self.networks.actor, 1 - (1 - rate) ** count)

    @torch.no_grad()
    def settle(self, mastery: Float[Tensor, "run"]) -> None:
        """Learn at a pace between ``learning_rate`` (nothing mastered) and ``mastered_learning_rate``."""
        fast, slow = self.config.learning_rate, self.config.mastered_learning_rate
        self.networks.learning_rates.copy_(fast + (slow - fast) * mastery)

    def compile(self) -> None:
        """Pass the plain updates through torch.compile; the fused ones are compiled as they are."""
        self.learner.compile()

    # -- state -------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """Losses and mean value of the last update."""
        return self.learner.metrics()

    def parameters(self) -> dict[str, Tensor]:
        """Online actor (run, parameter), critics (run, member, parameter), and the policy if it is an average."""
        online = {"actor": self.networks.actor, "critics": self.networks.critics}
        return online | ({"policy": self._policy_parameters} if self.config.policy_average else {})

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See ``Agent``. Runs of before there was an average acted with their actor."""
        super().load({"policy": tensors["actor"]} | dict(tensors) if "actor" in tensors else tensors)

    def state(self) -> dict[str, Tensor]:
        """Targets and Adam's moments."""
        networks = self.networks
        return {
            "target_actor": networks.target_actor,
            "target_critics": networks.target_critics,
            **adam_tensors("actor", networks.actor_adam),
            **adam_tensors("critics", networks.critic_adam),
        }
