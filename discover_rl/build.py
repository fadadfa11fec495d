"""From configuration to objects: device, generators, environments, agent."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from discover_rl.agents import (
    DQN,
    TD3,
    Agent,
    DQNConfig,
    Generators,
    RandomAgent,
    RandomConfig,
    TD3Config,
    ZeroAgent,
    ZeroConfig,
)
from discover_rl.config import AFTER_GOAL, TrainConfig, load_plugin
from discover_rl.goals import Environment, PlainView, Retargeted, View, check_goal_space
from discover_rl.selectors import Selector

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


def make_environment(
    config: Any,  # noqa: ANN401 - a plug-in's own dataclass
    num_envs: int,
    device: torch.device,
    seed: int,
    goal_space: Any = None,  # noqa: ANN401 - settings or an object
    target: Any = None,  # noqa: ANN401 - see target_draw
) -> Environment:
    """Build the environment that ``config.name`` names among the plug-ins.

    Args:
        config: Settings of the environment.
        num_envs: How many.
        device: Where its tensors live.
        seed: Of its generator.
        goal_space: See ``TrainConfig``; the environment's own if None.
        target: See ``TrainConfig``; the environment's own if None.

    Raises:
        ValueError: If a plug-in is unknown, or what it builds breaks the contract.
    """
    if config is None:
        raise ValueError("env is not set; choose one, e.g. env=point_maze/serpentine")
    factory = load_plugin("discover_rl.environments", config.name)
    env: Environment = factory(config, num_envs, device, seed)
    name = f"environment {config.name!r}"
    observation = env.reset()
    expected = (num_envs, env.observation_dim)
    if tuple(observation.shape) != expected or observation.dtype != torch.float32:
        raise ValueError(
            f"{name}: reset() must return float32 of shape {expected}, got {observation.dtype} of shape "
            f"{tuple(observation.shape)}"
        )
    own = getattr(env, "goal_space", None)
    space = own if goal_space is None else make_goal_space(goal_space, env.observation_dim)
    if space is None:
        reason = getattr(env, "no_goals", "") or f"{name} has no goals of its own"
        raise ValueError(
            f"{reason}; name a goal space and a target, e.g. goal_space=box "
            "goal_space.indices=[0] goal_space.radius=0.1 target=[1.0]"
        )
    where = name if goal_space is None else f"{type(space).__name__} in {name}"
    check_goal_space(space, observation, None, where)
    if goal_space is not None or target is not None:
        if target is None and (own is None or own.dim != space.dim):
            whose = "none" if own is None else f"targets of {own.dim} coordinates"
            raise ValueError(
                f"{name} has {whose}, but the goal space has {space.dim}; give a target, e.g. "
                f"target={[1.0] * space.dim}"
            )
        env = Retargeted(env, space, target)
        observation = env.reset()
    check_goal_space(space, observation, env.targets(), where)
    solved = space.success(space.achieved(observation), env.targets())
    if bool(solved.any()):
        raise ValueError(
            f"{name}: {int(solved.sum())} of {num_envs} starts have already solved their "
            "target; move the target or reduce the success radius"
        )
    return env


def make_goal_space(given: Any, observation_dim: int) -> Any:  # noqa: ANN401 - a stranger's, checked later
    """The goal space itself, or the one that settings name among the plug-ins.

    Args:
        given: A goal space, or a dataclass of settings with ``name`` (see ``settings_schema``).
        observation_dim: Width of the observation, for spaces that want to know it.

    Raises:
        ValueError: If the plug-in is unknown or refuses its settings.
    """
    if hasattr(given, "achieved"):
        return given
    factory = load_plugin("discover_rl.goal_spaces", given.name)
    settings = {field.name: getattr(given, field.name) for field in fields(given) if field.name != "name"}
    if "observation_dim" in settings:
        settings["observation_dim"] = observation_dim
    return factory(**settings)


def make_selector(selector: Selector, env: Environment) -> Selector:
    """The selector, set up for the targets of an environment.

    A candidate is scored for one episode. Where the episodes have targets of their own, a ranking shared by all of them
    would hand it to another one, so each chooses from a pool of its own.
    """
    targets = env.targets()
    vary = getattr(env, "targets_vary", None)
    if vary is None:
        vary = not bool((targets == targets[:1]).all())
    return replace(selector, pick="pools") if vary and getattr(selector, "pick", "") == "top" else selector  # type: ignore[type-var]


def make_agent(config: Any, env: Environment, num_runs: int, sources: RandomSources) -> Agent:  # noqa: ANN401
    """Build the agent whose configuration this is.

    Raises:
        ValueError: If the type of the configuration is unknown, or the agent is not one for these actions, or the view
            that the environment offers is none.
    """
    generators = sources.generators
    discrete = getattr(env, "discrete_actions", False)
    learners = {TD3Config: "continuous", DQNConfig: "discrete"}
    kind = "discrete" if discrete else "continuous"
    if learners.get(type(config), kind) != kind:
        right = "dqn" if discrete else "td3"
        raise ValueError(
            f"agent={config.name} is for {learners[type(config)]} actions, these are {kind}; use agent={right}"
        )
    draws = Generators(generators["init"], generators["explore"], generators["learn"])
    shape = num_runs, env.action_dim
    view = make_view(env)
    match config:
        case TD3Config():
            return TD3(config, *shape, env.terminate_on_success, draws, view)
        case DQNConfig():
            return DQN(config, *shape, env.terminate_on_success, draws, view)
        case ZeroConfig():
            return ZeroAgent(num_runs, env.action_dim, generators["explore"])
        case RandomConfig():
            return RandomAgent(num_runs, env.action_dim, generators["explore"])
    raise ValueError(f"agent: unknown configuration {config!r}; choose agent=td3, dqn, zero or random")


def make_view(env: Environment) -> View:
    """What the environment wants networks to see, else observation and goal side by side, to its scales if it has any.

    Raises:
        ValueError: If what the environment offers is no view, or not as wide as it says, or its actions are discrete.
    """
    view = getattr(env, "view", None)
    if view is not None:
        _check_view(view, env)
        return view
    observation_scale = getattr(env, "observation_scale", None)
    scales = None if observation_scale is None else (observation_scale, getattr(env, "goal_scale"))  # noqa: B009
    return PlainView(env.observation_dim, env.goal_space.dim, scales)


def _check_view(view: object, env: Environment) -> None:
    what = f"the view of {type(env).__name__}"
    if not isinstance(view, View):
        raise ValueError(
            f"{what} must have width, see, seen_action and own_action (discover_rl.goals.View); got {view!r}"
        )
    if getattr(env, "discrete_actions", False):
        raise ValueError(f"{what} turns actions, and these are discrete, which cannot be turned; leave the view out")
    observation = torch.zeros(1, env.observation_dim, device=env.device)
    seen = view.see(observation, env.targets()[:1])
    width = sum(part.shape[-1] for part in seen.parts)
    if width != view.width:
        raise ValueError(f"{what} is said to be {view.width} columns wide, and has {width}; set its width to {width}")


def check_after_goal(config: TrainConfig, env: Environment) -> None:
    """Whether episodes can go on as configured once they have come to their goals.

    Raises:
        ValueError: If they are to explore where goals cannot be added.
    """
    space = env.goal_space
    if config.after_goal == "explore" and not getattr(space, "additive", True):
        allowed = ", ".join(name for name in AFTER_GOAL if name != "explore")
        raise ValueError(
            f"after_goal=explore adds goals to one another, and those of {type(space).__name__} cannot be added; "
            f"allowed here: {allowed}"
        )


def validate(config: TrainConfig) -> None:
    """Checks that span several parts of the configuration.

    Raises:
        ValueError: With one sentence, if something does not fit together.
    """
    if config.selector is None or config.agent is None:
        raise ValueError("selector and agent must be set, e.g. selector=discover agent=td3")
    if config.prior and not getattr(config.selector, "relevance", 0.0):
        raise ValueError(
            f"prior={config.prior} says how relevant goals are, and selector={config.selector.name} has no weight "
            "relevance; leave it out, or use selector=discover"
        )
    if config.prior and not getattr(config.selector, "standardise", True):
        raise ValueError("prior= gives values on a scale of its own; it needs selector.standardise=true")
    delay = getattr(config.agent, "policy_delay", 1)
    if config.gradient_steps % delay:
        raise ValueError(f"gradient_steps={config.gradient_steps} must be a multiple of agent.policy_delay={delay}")
