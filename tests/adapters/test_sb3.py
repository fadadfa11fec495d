"""Our goal choice inside Stable-Baselines3: commanded episodes, what the buffer holds, values in steps."""

import importlib.util
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from discover_rl.adapters.sb3 import REACHED, CommandedGoals, GoalChoice, WanderingNoise
from discover_rl.selectors import HER, Discover, Mega, Oracle

EXAMPLE = Path(__file__).parents[2] / "examples" / "sb3_discover.py"
spec = importlib.util.spec_from_file_location("sb3_discover", EXAMPLE)
assert spec is not None
assert spec.loader is not None
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


def make_model(algorithm=TD3, num_envs=3, **changes):
    env = make_vec_env(lambda: example.make_env(True, 10), num_envs, seed=0)
    values = {
        "replay_buffer_class": HerReplayBuffer,
        "policy_kwargs": {"n_critics": 3, "net_arch": [8]},
        "learning_starts": 400,
        "batch_size": 8,
        "buffer_size": 3_000,
        "seed": 0,
    } | changes
    return algorithm("MultiInputPolicy", env, **values)


# -- the wrapper ---------------------------------------------------------------------------------------------


def test_without_a_command_it_is_the_environment_as_it_was():
    plain, wrapped = example.make_env(False, 10), CommandedGoals(example.make_env(False, 10))
    for env in (plain, wrapped):
        env.reset(seed=3)
    one, other = plain.step(np.ones(2)), wrapped.step(np.ones(2))
    assert all(np.array_equal(one[0][key], other[0][key]) for key in one[0])
    assert one[1:4] == other[1:4]
    assert other[4] == {"is_success": False, REACHED: False}


def test_a_commanded_episode_speaks_of_its_goal_until_the_next_reset():
    env = CommandedGoals(example.make_env(False, 10))
    start, _ = env.reset(seed=3)
    goal = start["achieved_goal"] + np.array([0.0, -0.8])
    env.command(goal)
    first = env.step(np.array([0.0, 0.2]))
    assert (first[1], first[4]["is_success"], first[4][REACHED]) == (-1, False, False)
    assert first[0]["desired_goal"].tolist() == goal.astype(np.float32).tolist()
    second = env.step(np.array([0.0, -1.0]))
    assert (second[1], second[4]["is_success"], second[4][REACHED]) == (0, True, True)
    fresh, _ = env.reset()
    assert fresh["desired_goal"].tolist() == start["desired_goal"].tolist()


def test_termination_follows_the_commanded_goal():
    class Ending(example.Cup):
        def compute_terminated(self, achieved, desired, info):
            return bool(self.compute_reward(achieved, desired, info) == 0)

    env = CommandedGoals(Ending())
    start, _ = env.reset(seed=0)
    env.command(start["achieved_goal"])
    assert env.step(np.zeros(2))[2] is True


def test_an_environment_without_goals_is_refused():
    with pytest.raises(ValueError, match="is no goal environment: its observation is Box"):
        CommandedGoals(gymnasium.make("Pendulum-v1"))


# -- the callback --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [TD3, SAC])
@pytest.mark.parametrize("selector", [Discover(), Mega(), HER()], ids=lambda selector: selector.name)
def test_episodes_are_commanded_and_the_buffer_holds_what_they_were_commanded_to(algorithm, selector):
    model = make_model(algorithm)
    choice = GoalChoice(selector, num_candidates=50, round_size=8)
    model.learn(600, callback=choice)
    buffer = model.replay_buffer
    assert isinstance(buffer, HerReplayBuffer)
    size = buffer.size()
    desired, following = (kept["desired_goal"][:size] for kept in (buffer.observations, buffer.next_observations))
    assert np.array_equal(desired, following)
    episodes = desired.reshape(size // 10, 10, 3, 2)
    assert (episodes == episodes[:, :1]).all()  # a goal for a whole episode
    target = np.array([3.5, 5.5])
    own = (episodes[:, 0] == target).all(-1)
    assert own[0].all()  # nothing had been visited
    if isinstance(selector, HER):
        assert own.all()
    else:
        assert 0.2 < 1 - own[1:].mean() <= 1
        visited = {tuple(goal) for goal in buffer.next_observations["achieved_goal"][:size].reshape(-1, 2).tolist()}
        assert {tuple(goal) for goal in episodes[:, 0][~own].tolist()} <= visited
    achieved = buffer.next_observations["achieved_goal"][:size]
    expected = example.Cup().compute_reward(achieved, desired, {})
    assert np.array_equal(buffer.rewards[:size], expected)


def test_every_place_of_a_round_is_taken_and_the_selector_adapts():
    model, choice = make_model(), GoalChoice(Discover(), num_candidates=50, round_size=8)
    model.learn(900, callback=choice)
    own = (model.replay_buffer.observations["desired_goal"][10:300:10] == [3.5, 5.5]).all(-1)  # type: ignore[union-attr]
    assert 0.25 <= own.mean() < 0.6  # a quarter at least goes to the target
    assert float(choice.state.beta) > 1  # in so small a cup goals are reached by chance, so novelty counts for more
    assert model.action_noise is None  # as it was before
    model.learn(100, callback=choice, reset_num_timesteps=False)


def test_learning_in_several_calls_keeps_the_noise_of_the_model():
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.1))
    model = make_model(action_noise=noise)
    for first in (True, False):
        model.learn(600, callback=GoalChoice(num_candidates=50, round_size=8), reset_num_timesteps=first)
        assert not isinstance(model.action_noise, WanderingNoise)


def test_values_are_minus_the_steps_that_the_critics_say():
    model, choice = make_model(gamma=0.9), GoalChoice()
    choice.init_callback(model)
    distance = torch.tensor([[0.0, 1.0, 5.0], [0.0, 3.0, 5.0]])
    q = -(1 - 0.9**distance) / (1 - 0.9)  # reward -1 until the goal, 0 from then on
    model.critic.forward = lambda *_: tuple(q[..., None])  # type: ignore[method-assign]
    rows = {key: np.zeros((3, 2), dtype=np.float32) for key in ("observation", "achieved_goal", "desired_goal")}
    estimate = choice.values(rows, (-1.0, 0.0))
    expected = -((0.9**distance + 0.01).log() / torch.tensor(0.9).log())
    torch.testing.assert_close(estimate.mean, expected.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(estimate.std, expected.std(0, correction=0), atol=1e-4, rtol=1e-3)
    model.critic.forward = lambda *_: tuple((q + 10)[..., None] * 2)  # type: ignore[method-assign]
    again = choice.values(rows, (0.0, 2.0))  # reward 2 at the goal and 0 elsewhere: Q = 2·γ^d / (1-γ)
    torch.testing.assert_close(again.mean, estimate.mean, atol=1e-4, rtol=1e-4)


def test_after_its_goal_an_episode_wanders():
    base = NormalActionNoise(np.zeros(2), np.zeros(2))
    noise = WanderingNoise(None, (3, 2), np.random.default_rng(0))
    assert not noise().any()
    noise.wanders[1] = True
    drawn = np.stack([noise() for _ in range(200)])
    assert not drawn[:, [0, 2]].any()
    assert np.abs(drawn[:, 1]).max() > 1.9
    assert not WanderingNoise(base, (1, 2), np.random.default_rng(0))().any()
    model, choice = make_model(), GoalChoice(num_candidates=50, round_size=8, after_goal="stay")
    model.learn(120, callback=choice)
    assert model.action_noise is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GoalChoice(num_candidates=3), "num_candidates=3 is less than round_size=16"),
        (lambda: GoalChoice(after_goal="rest"), "after_goal is 'rest'; allowed: random, stay"),
        (lambda: make_model().learn(1, callback=GoalChoice(Oracle())), "cannot tell true distances, which selector or"),
        (
            lambda: DQN("MlpPolicy", "CartPole-v1").learn(1, callback=GoalChoice()),
            "GoalChoice needs an algorithm with critics (TD3, SAC, DDPG), got DQN",
        ),
        (
            lambda: TD3("MultiInputPolicy", DummyVecEnv([lambda: example.make_env(False, 5)])).learn(
                1, callback=GoalChoice()
            ),
            "GoalChoice needs environments wrapped by CommandedGoals",
        ),
        (
            lambda: TD3("MultiInputPolicy", VecNormalize(DummyVecEnv([lambda: example.make_env(True, 5)]))).learn(
                1, callback=GoalChoice()
            ),
            "GoalChoice does not work under VecNormalize",
        ),
    ],
    ids=range(6),
)
def test_what_does_not_fit_is_said(make, sentence):
    with pytest.raises(ValueError) as info:
        make()
    assert sentence in str(info.value)


def test_a_single_critic_is_warned_of():
    with pytest.warns(UserWarning, match="one critic has no uncertainty; give policy_kwargs"):
        make_model(policy_kwargs={"n_critics": 1, "net_arch": [8]}).learn(1, callback=GoalChoice())


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_example_is_solved_with_our_goal_choice_and_not_without_at_the_same_budget():
    assert example.train(True, 70_000, 0) >= 0.9
    assert example.train(False, 70_000, 0) <= 0.1
