"""What networks see observations divided by: from bounds, or measured."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from discover_rl.adapters.flat_goals import FlatGoals
from discover_rl.adapters.gymnasium_env import GymnasiumConfig, GymnasiumEnv, make_one
from discover_rl.adapters.scales import SPAN, measured_scales, observation_scales
from discover_rl.build import make_environment
from discover_rl.goals import BoxGoals
from discover_rl.train import Trainer

CPU = torch.device("cpu")


class Numbers(gymnasium.Env):
    """Coordinates: bounded, bounded by nothing but large numbers, never moving, hardly moving, running wild."""

    observation_space = spaces.Box(
        np.array([-2.0, -np.inf, -3e38, 0.0, -np.inf], np.float32),
        np.array([6.0, np.inf, 3e38, 0.0, np.inf], np.float32),
    )
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.ended = False
        return self._observe(0.0), {}

    def _observe(self, action):
        return np.array([action, 40.0 * action, 1e-4 * action, 0.0, np.inf if self.ended else 0.0], np.float32)

    def step(self, action):
        self.ended = bool(action[0] > 0.9)
        return self._observe(action[0]), 0.0, self.ended, False, {}


def test_bounds_where_they_are_and_measured_powers_of_two_where_not():
    env = FlatGoals(Numbers(), "numbers")
    scales = observation_scales(env)
    assert scales.dtype == np.float32
    # half of 8 over the span; the root mean square of 40·u is 23, nearer 32 than 16; at least 1/8; only 0; not finite
    assert scales.tolist() == [4 / SPAN, 32.0, 0.125, 1.0, 1.0]
    assert np.array_equal(measured_scales(env), measured_scales(FlatGoals(Numbers(), "again")))


def test_mountain_car_is_seen_to_scale_and_its_goals_too():
    config = GymnasiumConfig(id="MountainCarContinuous-v0", max_episode_steps=5)
    env = make_environment(config, 2, CPU, 0, BoxGoals([0], 0.03), [0.47])
    torch.testing.assert_close(env.observation_scale * SPAN, torch.tensor([0.9, 0.07]))  # type: ignore[attr-defined]
    torch.testing.assert_close(env.goal_scale * SPAN, torch.tensor([0.9]))  # type: ignore[attr-defined]
    plain = GymnasiumEnv(GymnasiumConfig(id="MountainCarContinuous-v0", scale_observations=False), 2, CPU, 0)
    assert getattr(plain, "observation_scale", None) is None


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "PointMaze_UMaze-v3"])
def test_goal_environments_without_bounds_are_measured(env_id):
    pytest.importorskip("gymnasium_robotics")
    env = GymnasiumEnv(GymnasiumConfig(id=env_id), 1, CPU, 0)
    assert env.goal_scale.equal(env.goal_space.achieved(env.observation_scale))
    assert (env.observation_scale.log2() == env.observation_scale.log2().round()).all()
    assert env.observation_scale.equal(GymnasiumEnv(GymnasiumConfig(id=env_id), 3, CPU, 7).observation_scale)


def test_the_flat_observation_keeps_its_bounds():
    flat = make_one(GymnasiumConfig(id="MountainCarContinuous-v0")).observation_space["observation"]  # type: ignore[index]
    np.testing.assert_allclose([flat.low, flat.high], [[-1.2, -0.07], [0.6, 0.07]], rtol=1e-6)


def test_both_learners_see_to_scale(tiny):
    config = GymnasiumConfig(id="MountainCarContinuous-v0", max_episode_steps=8)
    trainer = Trainer(tiny(env=config, goal_space=BoxGoals([0], 0.03), target=[0.47]))
    assert trainer.agent.view.scales[0].equal(trainer.env.observation_scale)  # type: ignore[attr-defined]
    trainer.train_round()
