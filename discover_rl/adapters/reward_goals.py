"""The goal space that a Gymnasium goal environment defines by its ``compute_reward``.

A sparse reward takes two values. Where it is the greater one, the goal is reached. In most environments that is so
within a Euclidean ball; then the ball is found by bisection and computed in torch, on any device. Where it is not, the
environment is asked each time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.adapters.flat_goals import ACHIEVED, DESIRED, FlatGoals
from discover_rl.goals import BoxGoals, GoalSpace

PROBES, BISECTIONS = 12, 50


@dataclass(frozen=True)
class OwnGoals:
    """What a goal environment says of its goals.

    Attributes:
        space: Its goal space, on the flat observation.
        ends: Whether reaching the goal ends the episode.
    """

    space: GoalSpace
    ends: bool


class NoGoalsError(ValueError):
    """The environment does not say of its goals what the loop wants to know."""


class RewardGoals:
    """Goals at the end of the observation; success as the environment's ``compute_reward`` says.

    Args:
        compute_reward: Of the environment; takes batches.
        dim: Number of goal coordinates.
        at_goal: The reward at the goal, up to rounding.
    """

    capturable = False  # it asks the environment, on the CPU

    def __init__(self, compute_reward: Any, dim: int, at_goal: float) -> None:  # noqa: ANN401 - a bound method
        self.compute_reward, self.dim, self.at_goal = compute_reward, dim, at_goal

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The last coordinates."""
        return observation[..., -self.dim :]

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """Where the reward is that at the goal."""
        rows = [x.reshape(-1, self.dim).cpu().numpy() for x in torch.broadcast_tensors(achieved, desired)]
        if not len(rows[0]):
            return torch.zeros(achieved.shape[:-1], dtype=torch.bool, device=achieved.device)
        reached = np.asarray(self.compute_reward(*rows, {})) >= self.at_goal
        return torch.from_numpy(reached.reshape(achieved.shape[:-1])).to(achieved.device)


def goals_of(env: FlatGoals, name: str) -> OwnGoals:
    """The goals of an environment.

    Args:
        env: One copy; it is reset and stepped here.
        name: What it is called, for messages.

    Raises:
        NoGoalsError: If it has none, or no ``compute_reward`` for batches, or one that is not sparse.
    """
    if env.obstacle:
        raise NoGoalsError(env.obstacle)
    if not env.env.has_wrapper_attr("compute_reward"):
        raise NoGoalsError(f"{name}: a goal environment needs compute_reward(achieved_goal, desired_goal, info)")
    reward = env.env.get_wrapper_attr("compute_reward")
    achieved, desired = _visited(env)
    at_goal = _batched(reward, achieved, achieved, name)
    _batched(reward, achieved, desired, name)
    if np.ptp(at_goal) > 1e-6:
        raise NoGoalsError(f"{name}: compute_reward(g, g, info) is not the same for all goals; {_HINT}")
    best = float(at_goal.min()) - 1e-6
    rng = np.random.default_rng(0)
    direction = rng.normal(size=achieved.shape)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    distances = np.geomspace(1e-4, 1e3, 60)
    rewards = np.stack([np.asarray(reward(achieved, achieved + r * direction, {})) for r in distances])
    values = np.unique(np.round(np.append(rewards, at_goal), 5))
    if len(values) != 2:
        raise NoGoalsError(
            f"{name}: compute_reward takes {len(values)} values where a sparse reward takes two, so it does not say "
            f"when a goal is reached; {_HINT}"
        )
    radius = _ball(reward, achieved, direction, best, rng)
    dim = env.goal_dim
    space = RewardGoals(reward, dim, best) if radius is None else BoxGoals(range(-dim, 0), radius, _names(dim))
    return OwnGoals(space, env.ends_at(achieved[0], achieved[0], {}))


_HINT = "make it with a sparse reward (often env.kwargs.reward_type=sparse), or give goal_space and target"


def _names(dim: int) -> list[str]:
    return [f"g{i}" for i in range(dim)]


def _visited(env: FlatGoals) -> tuple[np.ndarray, np.ndarray]:
    """Some goals achieved on the way, and the goals desired then."""
    env.action_space.seed(0)
    pairs = []
    for start in range(PROBES // 4):
        observation, _ = env.env.reset(seed=start)
        for _ in range(4):
            pairs.append((np.array(observation[ACHIEVED]), np.array(observation[DESIRED])))
            observation, _, terminated, truncated, _ = env.env.step(env.action_space.sample())
            if terminated or truncated:
                break
    achieved, desired = zip(*pairs, strict=True)
    return np.stack(achieved).astype(np.float64), np.stack(desired).astype(np.float64)


def _batched(reward: Any, achieved: np.ndarray, desired: np.ndarray, name: str) -> np.ndarray:  # noqa: ANN401
    try:
        together = np.asarray(reward(achieved, desired, {}))
    except Exception as error:
        raise NoGoalsError(
            f"{name}: compute_reward must take batches of goals of shape {achieved.shape} and an empty info, as "
            f"relabelling needs it; it failed: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    alone = [float(np.asarray(reward(a, d, {}))) for a, d in zip(achieved, desired, strict=True)]
    if together.shape != (len(achieved),) or not np.allclose(together, alone, atol=1e-5):
        raise NoGoalsError(
            f"{name}: compute_reward of a batch must be the rewards one by one, of shape {(len(achieved),)}; it has "
            f"shape {together.shape}" + ("" if together.shape != (len(achieved),) else " and other values")
        )
    return together


def _ball(
    reward: Any,  # noqa: ANN401 - a bound method
    achieved: np.ndarray,
    direction: np.ndarray,
    best: float,
    rng: np.random.Generator,
) -> float | None:
    """The radius of the ball within which goals are reached, or None if it is no ball."""
    low, high = np.zeros((len(achieved), 1)), np.full((len(achieved), 1), 1e3)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        inside = (np.asarray(reward(achieved, achieved + middle * direction, {})) >= best)[:, None]
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    radius = float(f"{float(np.median(low)):.6g}")
    if not radius > 0 or np.abs(low - radius).max() > 1e-5 * radius:
        return None
    count = 400
    start = achieved[rng.integers(len(achieved), size=count)]
    step = rng.normal(size=start.shape)
    step *= radius * rng.uniform(0, 2, size=(count, 1)) / np.linalg.norm(step, axis=-1, keepdims=True)
    said = np.asarray(reward(start, start + step, {})) >= best
    return radius if (said == (np.linalg.norm(step, axis=-1) <= radius)).all() else None
