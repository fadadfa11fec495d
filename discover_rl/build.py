"""From configuration to objects: device, generators, environments, agent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from discover_rl.agents import (
    TD3,
    Agent,
    RandomAgent,
    RandomConfig,
    TD3Config,
    ZeroAgent,
    ZeroConfig,
)
from discover_rl.agents.td3 import Generators
from discover_rl.config import TrainConfig, load_plugin
from discover_rl.goals import Environment, check_starts

PURPOSES = ("env", "eval_env", "init", "explore", "learn", "replay", "goals")


@dataclass(frozen=True)
class RandomSources:
    """One generator per purpose, all from one seed, and the seeds of the environments.

    Attributes:
        generators: By purpose, on the training device.
        env_seed: Seed of the training environments.
        eval_seed: Seed of the evaluation environments.
    """

    generators: dict[str, torch.Generator]
    env_seed: int
    eval_seed: int


def random_sources(seed: int, device: torch.device) -> RandomSources:
    """Independent streams for each purpose, so that drawing more of one changes nothing of the others.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    words = np.random.SeedSequence(seed).generate_state(len(PURPOSES), dtype=np.uint64)
    seeds = {purpose: int(word >> 1) for purpose, word in zip(PURPOSES, words, strict=True)}
    generators = {
        purpose: torch.Generator(device).manual_seed(value)
        for purpose, value in seeds.items()
        if purpose not in ("env", "eval_env")
    }
    return RandomSources(generators, seeds["env"], seeds["eval_env"])


def make_environment(config: Any, num_envs: int, device: torch.device, seed: int) -> Environment:  # noqa: ANN401
    """Build the environment that ``config.name`` names among the plug-ins.

    Raises:
        ValueError: If the plug-in is unknown, or what it builds breaks the contract.
    """
    if config is None:
        raise ValueError("env is not set; choose one, e.g. env=point_maze/serpentine")
    factory = load_plugin("discover_rl.environments", config.name)
    env: Environment = factory(config, num_envs, device, seed)
    check_starts(env, config.name)
    return env


def make_agent(config: Any, env: Environment, num_runs: int, sources: RandomSources) -> Agent:  # noqa: ANN401
    """Build the agent whose configuration this is.

    Raises:
        ValueError: If the type of the configuration is unknown.
    """
    generators = sources.generators
    observation_scale = getattr(env, "observation_scale", None)
    match config:
        case TD3Config():
            return TD3(
                config,
                num_runs,
                env.observation_dim,
                env.action_dim,
                env.goal_space.dim,
                env.terminate_on_success,
                Generators(generators["init"], generators["explore"], generators["learn"]),
                None if observation_scale is None else (observation_scale, getattr(env, "goal_scale")),  # noqa: B009
            )
        case ZeroConfig():
            return ZeroAgent(num_runs, env.action_dim, generators["explore"])
        case RandomConfig():
            return RandomAgent(num_runs, env.action_dim, generators["explore"])
    raise ValueError(f"agent: unknown configuration {config!r}; choose agent=td3, zero or random")


def validate(config: TrainConfig) -> None:
    """Checks that span several parts of the configuration.

    Raises:
        ValueError: With one sentence, if something does not fit together.
    """
    if config.selector is None or config.agent is None:
        raise ValueError("selector and agent must be set, e.g. selector=discover agent=td3")
    delay = getattr(config.agent, "policy_delay", 1)
    if config.gradient_steps % delay:
        raise ValueError(f"gradient_steps={config.gradient_steps} must be a multiple of agent.policy_delay={delay}")
