"""Any Gymnasium environment in our loop: goal environments as they are, ordinary ones with a goal space and a target.

Copies of the environment step in Gymnasium's own vector environments on the CPU, one after another or each in a process
of its own; tensors go to and from the learner's device. Nothing of this can be captured in a CUDA graph.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.adapters.flat_goals import DESIRED, OBSERVATION, FlatGoals
from discover_rl.adapters.reward_goals import NoGoalsError, goals_of
from discover_rl.adapters.robotics import repair
from discover_rl.adapters.scales import observation_scales
from discover_rl.config import did_you_mean, is_dotted_path, load_object
from discover_rl.goals import GoalSpace, Step

REDRAWS = 20  # times that a start which has solved its target is drawn anew
VECTORIZATIONS = ("sync", "async")
PACKAGES = ("gymnasium_robotics",)  # imported, if they are there, to look for an id that is not known yet


@dataclass
class GymnasiumConfig:
    """Settings of a Gymnasium environment.

    Attributes:
        name: Name of the adapter; leave it.
        id: A registered id, ``package.module:id`` (the module is imported first, as Gymnasium does), or the path
            ``package.module:Class`` of an environment class.
        kwargs: What the environment is made with.
        max_episode_steps: Time limit in steps; the registered one if 0.
        vectorization: ``sync`` steps the copies one after another, ``async`` each in a process of its own, which pays
            where a step takes longer than a fraction of a millisecond.
        terminate_on_success: Whether an episode ends when its goal is reached; None leaves it to the environment's
            ``compute_terminated``, and is False without one.
        scale_observations: Whether networks see each coordinate divided by a typical size, see
            ``discover_rl.adapters.scales``.
    """

    name: str = "gymnasium"
    id: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int = 0
    vectorization: str = "sync"
    terminate_on_success: bool | None = None
    scale_observations: bool = True

    def __post_init__(self) -> None:
        if self.max_episode_steps < 0:
            raise ValueError(f"env.max_episode_steps must not be negative, got {self.max_episode_steps}")
        if self.vectorization not in VECTORIZATIONS:
            raise ValueError(f"env.vectorization is {self.vectorization!r}; allowed: {', '.join(VECTORIZATIONS)}")


class GymnasiumEnv:
    """A vector of Gymnasium environments: the contract is ``discover_rl.goals.Environment``.

    A start that has solved its own target already is drawn anew.

    The observation is flat: the ``observation`` (any other keys of a goal environment too, in alphabetical order), and
    the achieved goal at its end, since not every environment has it in its observation. Actions in [-1, 1] are brought
    to the bounds of the action space; with a discrete one an action is a vector of preferences, one number for each
    action, and the greatest is taken. Rewards of the environment are not used: the goal space says what is success,
    for a goal environment as its ``compute_reward`` does.

    Args:
        config: Settings.
        num_envs: Number of environments.
        device: Where every tensor goes.
        seed: Seed of the seeds that episodes start with.

    Raises:
        ValueError: If there is no such environment, or it has spaces or rewards that cannot be used.
    """

    Config: ClassVar = GymnasiumConfig
    capturable = False

    def __init__(self, config: GymnasiumConfig, num_envs: int, device: torch.device, seed: int) -> None:
        self.config, self.num_envs, self.device = config, num_envs, torch.device(device)
        self.max_episode_steps = config.max_episode_steps or registered_steps(config.id)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        probe = make_one(config)
        self.observation_dim = probe.observation_space[OBSERVATION].shape[0]  # type: ignore[index]
        self.discrete_actions, self.action_dim = _action_width(probe.action_space, config.id)
        self._low, self._high = _action_bounds(probe.action_space)
        self._action_space = probe.action_space
        self.no_goals, found = "", None
        try:
            found = goals_of(probe, config.id)
        except NoGoalsError as error:  # an ordinary environment, which waits for a goal space
            self.no_goals = str(error)
        self.goal_space: GoalSpace = found.space if found else None  # type: ignore[assignment]
        ends = found.ends if found else False
        self.terminate_on_success = ends if config.terminate_on_success is None else config.terminate_on_success
        self.ends_early = True  # nobody can know
        if config.scale_observations:
            self.observation_scale = torch.from_numpy(observation_scales(probe)).to(self.device)
            if found:
                self.goal_scale = found.space.achieved(self.observation_scale)
        make = [partial(make_one, config)] * num_envs
        if config.vectorization == "sync":
            self.vector = SyncVectorEnv(make, autoreset_mode=AutoresetMode.DISABLED)
        else:
            self.vector = AsyncVectorEnv(make, autoreset_mode=AutoresetMode.DISABLED)
        self._observation = torch.zeros(num_envs, self.observation_dim, device=self.device)
        self._targets = torch.zeros(num_envs, probe.goal_dim, device=self.device)
        self.invalid_actions = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Start new episodes where ``mask`` is True, each with a seed drawn from ``generator``."""
        chosen = torch.ones_like(self.invalid_actions) if mask is None else mask
        for _ in range(REDRAWS):
            if not bool(chosen.any()):
                break
            self._begin(chosen)
            if self.goal_space is None:
                break
            chosen = chosen & self.goal_space.success(self.goal_space.achieved(self._observation), self._targets)
        return self._observation

    def _begin(self, chosen: Bool[Tensor, "env"]) -> None:
        seeds = torch.randint(2**31 - 1, (self.num_envs,), device=self.device, generator=self.generator)
        given, _ = self.vector.reset(seed=seeds.tolist(), options={"reset_mask": chosen.cpu().numpy()})
        self._observation = self._tensor(given[OBSERVATION])
        if DESIRED in given:
            self._targets = torch.where(chosen[:, None], self._tensor(given[DESIRED]), self._targets)

    def targets(self) -> Float[Tensor, "env goal"]:
        """The desired goals that the episodes began with.

        Raises:
            ValueError: If it is no goal environment.
        """
        if self.goal_space is None:
            raise ValueError(self.no_goals)
        return self._targets

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Advance every environment by one step.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(
                f"{self.config.id}: action has shape {tuple(action.shape)}, expected {(self.num_envs, self.action_dim)}"
            )
        invalid = action.isnan().any(-1)
        self.invalid_actions = self.invalid_actions | invalid
        given = action.masked_fill(invalid[:, None], 0.0).detach().cpu().numpy()
        observation, _, terminated, truncated, _ = self.vector.step(self._native(given))
        self._observation = self._tensor(observation[OBSERVATION])
        return Step(
            self._observation,
            torch.from_numpy(terminated.copy()).to(self.device),
            torch.from_numpy(truncated & ~terminated).to(self.device),
        )

    def close(self) -> None:
        """End the processes of ``async``."""
        self.vector.close()

    def _native(self, action: Float[np.ndarray, "env act"]) -> np.ndarray:
        if isinstance(self._action_space, spaces.Discrete):
            return self._action_space.start + action.argmax(-1).astype(self._action_space.dtype or np.int64)
        assert isinstance(self._action_space, spaces.Box)
        scaled = self._low + (action.clip(-1, 1) + 1) / 2 * (self._high - self._low)
        return scaled.reshape(-1, *self._action_space.shape).astype(self._action_space.dtype)

    def _tensor(self, rows: Float[np.ndarray, "env column"]) -> Float[Tensor, "env column"]:
        return torch.from_numpy(rows).to(self.device)  # a copy already: the vector environments make one


# -- one environment -----------------------------------------------------------------------------------------


def make_one(config: GymnasiumConfig) -> FlatGoals:
    """One copy of the environment, flattened, without a time limit of its own: the loop has one.

    Raises:
        ValueError: If there is no such environment, or it cannot be made.
    """
    found = find(config.id)
    repair()
    try:
        if isinstance(found, EnvSpec):
            env = gymnasium.make(found, max_episode_steps=-1, disable_env_checker=True, **config.kwargs)
        else:
            env = found(**config.kwargs)
    except Exception as error:
        raise ValueError(
            f"{config.id} could not be made with env.kwargs={dict(config.kwargs)}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    return FlatGoals(env, config.id)


def registered_steps(env_id: str) -> int:
    """The time limit that an environment was registered with.

    Raises:
        ValueError: If there is none.
    """
    steps = getattr(find(env_id), "max_episode_steps", None)
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{env_id} has no time limit of its own; give one, e.g. env.max_episode_steps=200")
    return steps


def find(env_id: str) -> Any:  # noqa: ANN401 - an EnvSpec or a class
    """The specification of a registered id, or the class that a path leads to.

    Raises:
        ValueError: If there is none, or a package that may have it cannot be imported.
    """
    if not env_id:
        raise ValueError("env.id is empty; give the id of a Gymnasium environment, e.g. env.id=FetchReach-v4")
    module, _, name = env_id.rpartition(":")
    if module and name.isidentifier():
        found = load_object(env_id)
        if not (isinstance(found, type) and issubclass(found, gymnasium.Env)):
            raise ValueError(f"{env_id} is no gymnasium.Env: {found!r}")
        return found
    if is_dotted_path(env_id):
        load_object(f"{module}:__name__")
    for package in ("", *PACKAGES):
        if package:
            try:
                import_module(package)
            except ImportError:
                continue
            except Exception as error:  # MuJoCo's import raises many things
                chosen = os.environ.get("MUJOCO_GL")
                hint = f"; MUJOCO_GL={chosen} may not work on this machine: unset it, or set egl or osmesa"
                raise ValueError(
                    f"{package}, which may have {name!r}, could not be imported: {error}{hint if chosen else ''}"
                ) from error
        if name in gymnasium.registry:
            return gymnasium.spec(name)
    raise ValueError(
        f"there is no Gymnasium environment {name!r}{did_you_mean(name, gymnasium.registry)}; if a package registers "
        "it, write package:id, or install gymnasium-robotics for Fetch, Hand and the mazes"
    )


def _action_width(space: spaces.Space, env_id: str) -> tuple[bool, int]:
    if isinstance(space, spaces.Discrete):
        return True, int(space.n)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return False, int(np.prod(space.shape))
    raise ValueError(f"{env_id}: actions must be a Box of floats or Discrete, got {space}")


def _action_bounds(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(space, spaces.Box):
        return np.zeros(0), np.zeros(0)
    low, high = (bound.reshape(-1).astype(np.float64) for bound in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    return np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)  # an unbounded coordinate keeps [-1, 1]
