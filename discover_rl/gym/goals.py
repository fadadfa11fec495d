"""What a goal environment offers beyond ``reset`` and ``step``: batched reward and ends, goals by option, pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.goals import Environment
from discover_rl.gym.episodes import Episodes, Outcome
from discover_rl.gym.rendering import Camera

Infos: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | np.ndarray

METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}


class GoalMethods(EzPickle):
    """The part that one environment and a vector share.

    A copy by pickle is made anew with the same arguments; it is not in the same state.

    Attributes:
        episodes: The running episodes.
        camera: Makes the frames; None without a render mode.
    """

    episodes: Episodes
    camera: Camera | None
    spec: EnvSpec | None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.spec = state["spec"]

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Infos) -> Any:  # noqa: ANN401
        """The reward of having achieved one goal when another was desired: 1 within the success radius, else 0.

        Args:
            achieved_goal: One goal or a batch of any shape (..., goal), numpy or torch.
            desired_goal: The same, or one goal for the whole batch.
            info: Not used: the reward depends on nothing else.

        Returns:
            A float for one goal; for a batch an array of shape (...), or a tensor if a tensor was given.

        Raises:
            ValueError: If a goal has the wrong width.
        """
        return self._like(achieved_goal, self._success(achieved_goal, desired_goal), np.float64)

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Infos) -> Any:  # noqa: ANN401
        """Whether the episode ends there, the time limit aside.

        Success ends an episode only if the environment says so; a failure, which depends on no goal, is read from
        ``info["failure"]``.

        Args:
            achieved_goal: As for ``compute_reward``.
            desired_goal: As for ``compute_reward``.
            info: The info of the step, one info for each goal, or an info of arrays.

        Returns:
            A bool for one goal, otherwise an array or tensor of bools.

        Raises:
            ValueError: If a goal has the wrong width.
        """
        success = self._success(achieved_goal, desired_goal)
        ended = success if self.episodes.env.terminate_on_success else torch.zeros_like(success)
        return self._like(achieved_goal, ended | self._flag(info, "failure"), np.bool_)

    def compute_truncated(self, achieved_goal: Any, desired_goal: Any, info: Infos) -> Any:  # noqa: ANN401
        """Whether the environment cut the episode short, read from ``info["interrupted"]``.

        The time limit is no property of a goal and is not counted here.

        Args:
            achieved_goal: As for ``compute_reward``.
            desired_goal: As for ``compute_reward``.
            info: As for ``compute_terminated``.

        Returns:
            A bool for one goal, otherwise an array or tensor of bools.

        Raises:
            ValueError: If a goal has the wrong width.
        """
        never = torch.zeros_like(self._success(achieved_goal, desired_goal))
        return self._like(achieved_goal, never | self._flag(info, "interrupted"), np.bool_)

    def _info(self, outcome: Outcome) -> dict[str, Bool[Tensor, "env"]]:
        flags = {"success": outcome.success, "is_success": outcome.success}
        if self.episodes.env.ends_early:
            flags |= {"failure": outcome.failure, "interrupted": outcome.truncated}
        return flags

    def _start_info(self, observation: Mapping[str, Tensor]) -> dict[str, Bool[Tensor, "env"]]:
        success = self.episodes.success(observation["achieved_goal"], observation["desired_goal"])
        never = torch.zeros_like(success)
        return self._info(Outcome(dict(observation), success, never, never, never))

    def _success(self, achieved: Any, desired: Any) -> Bool[Tensor, "*lead"]:  # noqa: ANN401
        return self.episodes.success(self._goal("achieved_goal", achieved), self._goal("desired_goal", desired))

    def _goal(self, what: str, given: Any) -> Float[Tensor, "*lead goal"]:  # noqa: ANN401
        env = self.episodes.env
        goal = torch.as_tensor(given, dtype=torch.float32, device=env.device)
        if goal.dim() < 1 or goal.shape[-1] != env.goal_space.dim:
            raise ValueError(
                f"{what}: its last axis must have {env.goal_space.dim} coordinates, got shape {tuple(goal.shape)}"
            )
        return goal

    def _flag(self, info: Infos, key: str) -> Bool[Tensor, "*lead"]:
        flag = info.get(key, False) if isinstance(info, Mapping) else [one.get(key, False) for one in info]
        return torch.as_tensor(flag, dtype=torch.bool, device=self.episodes.env.device)

    @staticmethod
    def _like(given: Any, value: Bool[Tensor, "*lead"], dtype: type[np.generic]) -> Any:  # noqa: ANN401
        if isinstance(given, Tensor):
            return value if dtype is np.bool_ else value.float()
        array = value.cpu().numpy().astype(dtype)
        return array.item() if array.ndim == 0 else array


def metadata_of(env: Environment) -> dict[str, Any]:
    """The metadata, with as many frames a second as the environment makes steps, where it knows how long one is."""
    seconds = getattr(env, "step_seconds", None)
    return METADATA if seconds is None else METADATA | {"render_fps": round(1 / seconds)}
