"""One goal environment as a ``gymnasium.Env``."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import EzPickle
from torch import Tensor

from discover_rl.goals import EnvironmentFactory
from discover_rl.gym.building import action_space, build_environment, observation_space
from discover_rl.gym.checks import read_action, read_goal
from discover_rl.gym.episodes import Episodes, common_seed
from discover_rl.gym.goals import METADATA, GoalMethods, metadata_of
from discover_rl.gym.rendering import Camera

Observation = dict[str, Any]  # of arrays


class GoalEnv(GoalMethods, gymnasium.Env[Observation, np.ndarray]):
    """One environment whose episodes have goals, made from any ``discover_rl.goals.Environment``.

    Observations are dictionaries of float32 arrays: ``observation`` (see the table in the docstring of the
    environment, ``type(env.unwrapped.episodes.env)``), ``achieved_goal`` and ``desired_goal``. Actions lie in
    [-1, 1]. The reward is 1 where the achieved goal lies within the success radius of the desired one after the
    step, else 0. The goal is the environment's target unless ``reset(options={"goal": ...})`` gives another one,
    which holds for that episode. ``info["success"]`` and ``info["is_success"]`` both tell whether the goal is
    reached after this step; environments that can end early add ``failure`` and ``interrupted``.

    As with other Gymnasium environments, the time limit is a wrapper: ``gymnasium.make`` puts it round this one. A
    copy by pickle is a new environment with the same arguments, not in the same state.

    Args:
        env: Name of a plug-in of the group ``discover_rl.environments``, or a factory of environments.
        config: Its configuration; its defaults if None.
        render_mode: None or ``rgb_array``.
        view: ``auto``, ``model`` (the environment's own renderer) or ``top_down`` (matplotlib, works everywhere).
        width: Width of a frame in pixels.
        height: Height of a frame in pixels.
        device: Where the environment computes; arrays are given and returned on the CPU.
        settings: Fields of the configuration to change.

    Raises:
        ValueError: If an argument is unknown or out of range.
    """

    metadata = METADATA

    def __init__(
        self,
        env: str | EnvironmentFactory,
        config: Any = None,  # noqa: ANN401 - the environment's own dataclass
        *,
        render_mode: str | None = None,
        view: str = "auto",
        width: int = 480,
        height: int = 480,
        device: str = "cpu",
        **settings: Any,  # noqa: ANN401
    ) -> None:
        EzPickle.__init__(
            self, env, config, render_mode=render_mode, view=view, width=width, height=height, device=device, **settings
        )
        self.episodes = Episodes(build_environment(env, config, settings, 1, device))
        self.observation_space = spaces = observation_space(self.episodes.env)
        self._goals = spaces["desired_goal"]
        self.action_space = action_space(self.episodes.env)
        self.render_mode = render_mode
        self.camera = Camera(self.episodes, render_mode, view, width, height) if render_mode is not None else None
        self.metadata = metadata_of(self.episodes.env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Makes this start and all that follow reproducible.
            options: ``goal``: the goal of this episode, of shape (goal,).

        Returns:
            The observation, and an info with ``success`` and ``is_success``.

        Raises:
            ValueError: If an option is unknown or the goal does not lie in the goal space.
        """
        goal = read_goal(options, self.episodes.env, self._goals, ("goal",))
        unseeded = self._np_random is None
        super().reset(seed=seed)
        if seed is not None or unseeded:
            self.episodes.seed(common_seed(self.np_random))
        observation = self.episodes.reset([self.np_random], goals=goal)
        return _first(observation), _only(self._start_info(observation))

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance by one step.

        Args:
            action: Of shape (act,), in [-1, 1].

        Returns:
            Observation, reward, terminated, truncated (never by the time limit), info.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            ValueError: If the action has the wrong shape or holds a NaN.
        """
        outcome = self.episodes.step(read_action(action, self.episodes.env, (self.episodes.env.action_dim,)))
        flags = torch.stack([outcome.terminated, outcome.truncated]).cpu()[:, 0].tolist()
        info = _only(self._info(outcome))
        return _first(outcome.observation), float(info["success"]), flags[0], flags[1], info

    def render(self) -> np.ndarray | None:
        """The frame of this state, uint8 of shape (height, width, 3); None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            RuntimeError: If the environment's renderer cannot draw on this machine.
        """
        return None if self.camera is None else self.camera.frame(0)

    def close(self) -> None:
        """Free what the environment holds."""
        self.episodes.close()


def _first(observation: dict[str, Tensor]) -> Observation:
    return {key: value[0].cpu().numpy().copy() for key, value in observation.items()}


def _only(info: dict[str, Tensor]) -> dict[str, Any]:
    return {key: bool(value) for key, value in info.items()}
