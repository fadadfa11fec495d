"""One Gymnasium environment with a flat observation, its achieved goal at the end of it."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

OBSERVATION, ACHIEVED, DESIRED = "observation", "achieved_goal", "desired_goal"
GOAL_KEYS = (OBSERVATION, ACHIEVED, DESIRED)


class FlatGoals(gymnasium.Wrapper):
    """Observation: the keys ``observation`` (flat float32) and, of a goal environment, ``desired_goal``.

    A goal environment may end an episode when its own desired goal is reached. That is no termination here: the loop
    has goals of its own, and the end of an episode at them is its business.

    Args:
        env: The environment.
        name: What it is called, for messages.

    Raises:
        ValueError: If an observation holds images, or something that cannot be flattened, or goals are no vectors.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        space = env.observation_space
        self.obstacle, self.goal_dim = goal_obstacle(space, name), 0
        self.has_goals = not self.obstacle
        self.inner: spaces.Space = space
        if isinstance(space, spaces.Dict) and set(GOAL_KEYS) <= set(space.spaces):
            left_out = (ACHIEVED, DESIRED) if self.has_goals else (DESIRED,)
            self.inner = spaces.Dict({key: value for key, value in space.items() if key not in left_out})
            self.goal_dim = int(space[ACHIEVED].shape[0]) if self.has_goals else 0  # type: ignore[index]
        _refuse_images(self.inner, name)
        try:
            flat = spaces.flatten_space(self.inner)
        except NotImplementedError as error:
            raise ValueError(f"{name}: observations of {self.inner} cannot be made flat") from error
        if not isinstance(flat, spaces.Box):
            raise ValueError(f"{name}: observations of {self.inner} have no fixed width; give fixed shapes")
        goal = space[ACHIEVED] if self.has_goals else None  # type: ignore[index]
        boxes = [flat, goal] if isinstance(goal, spaces.Box) else [flat]
        missing = flat.shape[0] + self.goal_dim - sum(box.shape[0] for box in boxes)  # goals of another kind of space
        low, high = (
            np.concatenate([*(getattr(box, end) for box in boxes), np.full(missing, unknown)]).astype(np.float32)
            for end, unknown in (("low", -np.inf), ("high", np.inf))
        )
        parts: dict[str, spaces.Space] = {OBSERVATION: spaces.Box(low, high, dtype=np.float32)}
        if self.has_goals:
            parts[DESIRED] = spaces.Box(-np.inf, np.inf, (self.goal_dim,), np.float32)
        self.observation_space = spaces.Dict(parts)
        self._goals: tuple[np.ndarray, np.ndarray] = np.zeros(0), np.zeros(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._flat(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401 - of the environment
        """One step; see above for ``terminated``."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated and self.has_goals:
            goals = observation[ACHIEVED], observation[DESIRED]
            terminated = not (self.ends_at(*goals, info) or self.is_reached(*goals, info))
        return self._flat(observation), reward, bool(terminated), bool(truncated), info

    def ends_at(self, achieved: np.ndarray, desired: np.ndarray, info: dict[str, Any]) -> bool:
        """Whether the environment's own ``compute_terminated``, if it has one, ends an episode there."""
        if not self.env.has_wrapper_attr("compute_terminated"):
            return False
        return bool(self.env.get_wrapper_attr("compute_terminated")(achieved, desired, info))

    def is_reached(self, achieved: np.ndarray, desired: np.ndarray, info: dict[str, Any]) -> bool:
        """Whether the environment pays for a goal as for one that is achieved exactly."""
        if not self.env.has_wrapper_attr("compute_reward"):
            return False
        reward = self.env.get_wrapper_attr("compute_reward")
        return bool(reward(achieved, desired, info) >= reward(desired, desired, info))

    def _flat(self, observation: Any) -> dict[str, np.ndarray]:  # noqa: ANN401 - of the environment
        inner = observation
        if isinstance(self.inner, spaces.Dict):
            inner = {key: observation[key] for key in self.inner.spaces}
        if not self.has_goals:
            return {OBSERVATION: np.asarray(spaces.flatten(self.inner, inner), dtype=np.float32)}
        rows = [np.asarray(spaces.flatten(self.inner, inner)), np.asarray(observation[ACHIEVED])]
        return {
            OBSERVATION: np.concatenate(rows).astype(np.float32),
            DESIRED: np.asarray(observation[DESIRED], dtype=np.float32),
        }


def goal_obstacle(space: spaces.Space, name: str) -> str:
    """Why the observations of an environment do not tell its goals; empty if they do."""
    if not isinstance(space, spaces.Dict) or not set(GOAL_KEYS) <= set(space.spaces):
        return (
            f"{name} is no goal environment: its observation is {type(space).__name__}, not a Dict with "
            f"{', '.join(GOAL_KEYS)}"
        )
    shapes = {space[key].shape for key in (ACHIEVED, DESIRED)}
    if len(shapes) == 1 and all(shape is not None and len(shape) == 1 for shape in shapes):
        return ""
    kinds = " and ".join(type(space[key]).__name__ for key in (ACHIEVED, DESIRED))
    return f"{name}: achieved_goal and desired_goal must be vectors of one length, got {kinds}"


def _refuse_images(space: spaces.Space, name: str) -> None:
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else getattr(space, "spaces", (space,))
    for part in parts:
        if isinstance(part, spaces.Dict | spaces.Tuple):
            _refuse_images(part, name)
        elif isinstance(part, spaces.Box) and len(part.shape) == 3:
            raise ValueError(
                f"{name}: images ({part.shape}, {part.dtype}) cannot be learned from; use an observation of numbers, "
                "e.g. by gymnasium.wrappers.FilterObservation"
            )
