"""DISCOVER inside a Stable-Baselines3 script: TD3 with HER on a maze whose start lies in a cup.

python examples/sb3_discover.py            # with our goal choice: some four minutes of one core
python examples/sb3_discover.py --her      # the same script without it
"""

import argparse
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import TD3, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv

from discover_rl.adapters.sb3 import CommandedGoals, GoalChoice

# the start S lies in a cup that opens away from the target G
MAZE = """
#######
#.....#
#.###.#
#..S#G#
#.###.#
#.....#
#######
"""


class Cup(gymnasium.Env):
    """A point that moves by up to half a cell; a move into a wall is cancelled. Reward 0 at the goal, else -1."""

    def __init__(self) -> None:
        drawn = [list(line) for line in MAZE.split()]
        self.free = np.array([[cell != "#" for cell in row] for row in drawn])
        self.start, self.target = (np.argwhere(np.array(drawn) == mark)[0] + 0.5 for mark in "SG")
        point = gymnasium.spaces.Box(0, len(drawn[0]), (2,))
        keys = ("observation", "achieved_goal", "desired_goal")
        self.observation_space = gymnasium.spaces.Dict(dict.fromkeys(keys, point))  # type: ignore[arg-type]
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def _observe(self) -> dict[str, np.ndarray]:
        place, target = self.place.astype(np.float32), self.target.astype(np.float32)
        return {"observation": place, "achieved_goal": place, "desired_goal": target}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A start within a tenth of a cell of S."""
        super().reset(seed=seed)
        self.place = self.start + self.np_random.uniform(-0.1, 0.1, 2)
        return self._observe(), {}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: object) -> np.ndarray:
        """0 within half a cell of the goal, else -1; of batches too."""
        return -(np.linalg.norm(achieved - desired, axis=-1) > 0.5).astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One move."""
        moved = self.place + 0.5 * np.clip(action, -1, 1)
        if self.free[tuple(moved.astype(int))]:
            self.place = moved
        reward = float(self.compute_reward(self.place, self.target, {}))
        return self._observe(), reward, False, False, {"is_success": reward == 0}


def make_env(commanded: bool, steps: int) -> gymnasium.Env:
    """The maze with its time limit, with or without the wrapper."""
    env = gymnasium.wrappers.TimeLimit(Cup(), steps)
    return CommandedGoals(env) if commanded else env


def train(discover: bool, timesteps: int, seed: int, steps: int = 40) -> float:
    """Train and return the share of 20 episodes in which the deterministic policy comes to the target."""
    torch.set_num_threads(1)
    env = make_vec_env(lambda: make_env(discover, steps), 16, seed=seed)
    model = TD3(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        policy_kwargs={"n_critics": 3, "net_arch": [64, 64, 64]},
        learning_rate=1e-3,
        learning_starts=2_000,
        batch_size=256,
        gamma=0.93,
        tau=0.01,
        train_freq=4,
        gradient_steps=32,
        action_noise=NormalActionNoise(np.zeros(2), np.full(2, 0.4)),
        seed=seed,
    )
    model.learn(timesteps, callback=GoalChoice(seed=seed) if discover else None)
    return success(model, make_vec_env(lambda: make_env(False, steps), 20, seed=seed + 1_000), steps)


def success(model: TD3, env: VecEnv, steps: int) -> float:
    """Share of the environments that come to their target within an episode."""
    observation, reached = env.reset(), np.zeros(env.num_envs, dtype=bool)
    for _ in range(steps):
        observation, _, _, infos = env.step(model.predict(observation, deterministic=True)[0])  # type: ignore[arg-type]
        reached |= [info["is_success"] for info in infos]
    return float(reached.mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--her", action="store_true", help="without our goal choice")
    parser.add_argument("--timesteps", type=int, default=70_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"success on the target: {train(not given.her, given.timesteps, given.seed):.0%}")
