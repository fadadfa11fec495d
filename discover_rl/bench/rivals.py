"""The same work the plain way: a maze in numpy, an update as a Python loop, Stable-Baselines3."""

import copy
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softplus

from discover_rl.agents import TD3Config
from discover_rl.agents.td3_update import Minibatches, Networks, PlainUpdate
from discover_rl.config import TrainConfig
from discover_rl.goals import Environment
from discover_rl.nets import StackedMLP

Observation = dict[str, Any]  # of arrays

# -- a maze in numpy -----------------------------------------------------------------------------------------


class MazeRules(NamedTuple):
    """What a point maze is, whatever computes it.

    Attributes:
        free: Free cells.
        target: Position of the target, in cells.
        radius: Radius of the maze, in cells.
        success_radius: Distance at which a goal counts as reached, in cells.
        step_size: Largest move along each axis, in cells.
        start_noise: Half-width of the cube of starts, in cells.
        max_episode_steps: Time limit, in steps.
    """

    free: frozenset[tuple[int, ...]]
    target: np.ndarray
    radius: int
    success_radius: float
    step_size: float
    start_noise: float
    max_episode_steps: int

    @classmethod
    def of(cls, env: Environment) -> "MazeRules":
        """The rules of a vector of point mazes."""
        maze: Any = env
        return cls(
            frozenset(map(tuple, maze.layout.cells.tolist())),
            np.array(maze.layout.target, dtype=np.float32),
            maze.layout.radius,
            maze.config.success_radius,
            maze.config.step_size,
            maze.config.start_noise,
            maze.max_episode_steps,
        )


class PlainMaze(gymnasium.Env[Observation, np.ndarray]):
    """One point maze, as it is usually written: numpy, one environment, goals in the observation.

    The desired goal is the target; the reward is 1 within the success radius, else 0.

    Args:
        rules: The maze.
    """

    def __init__(self, rules: MazeRules) -> None:
        self.rules = rules
        dim = len(rules.target)
        place = spaces.Box(-rules.radius - 2.0, rules.radius + 2.0, (dim,))
        self.observation_space = spaces.Dict(
            {"observation": place, "achieved_goal": place, "desired_goal": place}  # views of one thing
        )
        self.action_space = spaces.Box(-1.0, 1.0, (dim,))
        self.position = np.zeros(dim, dtype=np.float32)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """A start drawn uniformly from the cube round the origin."""
        super().reset(seed=seed, options=options)
        noise = self.rules.start_noise
        self.position = self.np_random.uniform(-noise, noise, self.position.shape).astype(np.float32)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move, unless the end of the move lies in a wall."""
        rules = self.rules
        moved = self.position + rules.step_size * np.clip(action, -1, 1)
        if tuple(moved.astype(int).tolist()) in rules.free:
            self.position = moved
        self.steps += 1
        reward = float(self.compute_reward(self.position, rules.target, {}))
        return self._observe(), reward, False, self.steps >= rules.max_episode_steps, {"is_success": reward > 0}

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: object) -> np.ndarray:
        """1 within the success radius, else 0; over any leading axes."""
        del info
        distance = np.square(achieved_goal - desired_goal).sum(-1)
        return np.asarray(distance <= self.rules.success_radius**2, dtype=np.float32)

    def _observe(self) -> Observation:
        position = self.position
        return {
            "observation": position.copy(),
            "achieved_goal": position.copy(),
            "desired_goal": self.rules.target.copy(),
        }


def loop_of_mazes(rules: MazeRules, num_envs: int) -> Callable[[], None]:
    """One step of each of ``num_envs`` mazes, one after the other, with a random action; a reset where it ends."""
    mazes = [PlainMaze(rules) for _ in range(num_envs)]
    draw = np.random.default_rng(0)
    for maze in mazes:
        maze.reset()

    def step() -> None:
        for maze in mazes:
            _, reward, _, truncated, _ = maze.step(draw.uniform(-1, 1, maze.position.shape).astype(np.float32))
            if reward or truncated:
                maze.reset()

    return step


# -- an update as a Python loop ------------------------------------------------------------------------------


class LoopUpdate(PlainUpdate):
    """TD3's update as it is usually written: a module per network, autograd, and a loop over runs and critics.

    It computes what ``PlainUpdate`` computes, on copies of the parameters, and leaves the metrics at 0.
    """

    def __init__(self, networks: Networks, config: TD3Config, value_max: float) -> None:
        super().__init__(networks, config, value_max)
        self.learners = [_Learner(networks, run, config, value_max) for run in range(networks.actor.shape[0])]

    @torch.enable_grad()
    def __call__(self, minibatches: Minibatches, first: int) -> None:
        """See ``Update``."""
        last = first + self.config.policy_delay - 1
        targets, ascended = (m.tolist() for m in (minibatches.target_members, minibatches.actor_members))
        for run, learner in enumerate(self.learners):
            for k in range(first, last + 1):
                learner.critic_step(_Minibatch.of(minibatches, run, k), targets[run][k])
            learner.actor_step(_Minibatch.of(minibatches, run, last), ascended[run][last])
            learner.update_targets()


class _Minibatch(NamedTuple):
    """``Minibatches`` of one run and one update."""

    inputs: Tensor
    next_inputs: Tensor
    reward: Tensor
    discount: Tensor
    lower: Tensor
    target_noise: Tensor
    actor_noise: Tensor

    @classmethod
    def of(cls, minibatches: Minibatches, run: int, k: int) -> "_Minibatch":
        return cls(*(getattr(minibatches, name)[run, k] for name in cls._fields))


class _Learner:
    """The networks of one run."""

    def __init__(self, networks: Networks, run: int, config: TD3Config, value_max: float) -> None:
        self.state_dim, self.input_dim = networks.actor_net.sizes[0], networks.critic_net.sizes[0]
        self.tau, self.value_max = config.tau, value_max
        (self.actor,) = as_modules(networks.actor_net, networks.actor[run])
        self.critics = as_modules(networks.critic_net, networks.critics[run])
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), lr=config.learning_rate)

    def critic_step(self, batch: _Minibatch, members: Sequence[int]) -> None:
        with torch.no_grad():
            state = batch.next_inputs[:, : self.state_dim]
            action = (self.target_actor(state).tanh() + batch.target_noise).clamp(-1, 1)
            following = torch.cat([state, action], dim=1)
            q = torch.stack([softplus(self.target_critics[m](following)[:, 0]) for m in members]).amin(0)
            target = torch.maximum(batch.reward + batch.discount * q, batch.lower).clamp_max(self.value_max)
        inputs = batch.inputs[:, : self.input_dim]
        losses = [mse_loss(softplus(critic(inputs)[:, 0]), target) for critic in self.critics]
        self.critic_adam.zero_grad()
        torch.stack(losses).sum().backward()
        self.critic_adam.step()

    def actor_step(self, batch: _Minibatch, members: Sequence[int]) -> None:
        state = batch.inputs[:, : self.state_dim]
        action = (self.actor(state).tanh() + batch.actor_noise).clamp(-1, 1)
        inputs = torch.cat([state, action], dim=1)
        loss = -torch.stack([softplus(self.critics[m](inputs)) for m in members]).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        self.actor_adam.step()

    @torch.no_grad()
    def update_targets(self) -> None:
        for online, target in ((self.actor, self.target_actor), (self.critics, self.target_critics)):
            for ours, slow in zip(online.parameters(), target.parameters(), strict=True):
                slow.lerp_(ours, self.tau)


def as_modules(net: StackedMLP, flat: Float[Tensor, "*lead parameter"]) -> nn.ModuleList:
    """A module for each network of a stack, with copies of its parameters."""
    modules = [_empty_module(net.sizes, flat.device) for _ in range(flat.numel() // net.num_parameters)]
    layers = net.layers(flat.contiguous())
    with torch.no_grad():
        for i, module in enumerate(modules):
            linears = [layer for layer in module if isinstance(layer, nn.Linear)]
            for linear, (weight, bias) in zip(linears, layers, strict=True):
                linear.weight.copy_(weight[i].T)
                linear.bias.copy_(bias[i, 0])
    return nn.ModuleList(modules)


def _empty_module(sizes: Sequence[int], device: torch.device) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, device=device), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# -- Stable-Baselines3 ---------------------------------------------------------------------------------------


def make_sb3(config: TrainConfig, rules: MazeRules, device: torch.device) -> Any:  # noqa: ANN401
    """``stable_baselines3.TD3`` with hindsight, as near to ``config`` as its options allow.

    Networks, ensemble, batch size, environments and updates per environment step are the same. It always heads for
    the target, takes the minimum over all critics, and ascends the first one.
    """
    from stable_baselines3 import TD3, HerReplayBuffer
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import DummyVecEnv

    agent, dim = config.agent, len(rules.target)
    round_size = config.num_envs * rules.max_episode_steps
    per_step = Fraction(config.gradient_steps, round_size) * config.num_envs
    model = TD3(
        "MultiInputPolicy",
        DummyVecEnv([lambda: PlainMaze(rules)] * config.num_envs),
        learning_rate=agent.learning_rate,
        buffer_size=config.buffer_size,
        learning_starts=round_size,
        batch_size=config.batch_size,
        tau=agent.tau,
        gamma=agent.gamma,
        train_freq=(per_step.denominator, "step"),
        gradient_steps=per_step.numerator,
        action_noise=NormalActionNoise(np.zeros(dim), np.full(dim, agent.exploration_noise)),
        replay_buffer_class=HerReplayBuffer,
        policy_delay=agent.policy_delay,
        target_policy_noise=agent.target_noise,
        target_noise_clip=agent.target_noise_clip,
        policy_kwargs={"net_arch": list(agent.hidden_sizes), "n_critics": agent.num_critics},
        device=device,
    )
    model.set_logger(Logger(None, []))  # its own makes a folder
    return model
