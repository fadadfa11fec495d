import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence

from discover_envs.point_maze import PointMaze, PointMazeConfig
from discover_rl.gym import GoalEnv

RIGHT, LEFT, STAY = (np.array([move], np.float32) for move in (1, -1, 0))
OPEN = "Discover/PointMaze_Open-v0"
make: Any = gym.make  # or every attribute of ours would be unknown to the type checker


def play(env, actions, seed=0):
    """All that a rollout returns, the reset first."""
    return [env.reset(seed=seed), *(env.step(action) for action in actions)]


def same(one, other):
    return data_equivalence(one, other, exact=True)


def test_reward_and_success_refer_to_the_goal_acted_under(line):
    env = GoalEnv(line)
    observation, info = env.reset(seed=0)
    assert observation["desired_goal"] == 2.0 and info == {"success": False, "is_success": False}
    start = float(observation["achieved_goal"][0])
    for step in range(1, 8):
        observation, reward, terminated, truncated, info = env.step(RIGHT)
        place = start + 0.5 * step
        assert observation["observation"].tolist() == pytest.approx([place, step])
        assert observation["achieved_goal"].tolist() == pytest.approx([place])
        assert observation["desired_goal"] == 2.0
        assert reward == float(abs(place - 2) <= 0.25) and type(reward) is float
        assert info == {"success": bool(reward), "is_success": bool(reward)}
        assert (terminated, truncated) == (False, False)
    assert start + 0.5 * 7 > 3  # it went past


def test_a_goal_by_option_holds_for_one_episode(line):
    env = GoalEnv(line)
    observation, _ = env.reset(seed=0, options={"goal": [1.0]})
    assert observation["desired_goal"] == 1.0
    rewards = [env.step(RIGHT)[1] for _ in range(4)]
    assert sum(rewards) == 1.0  # past the goal at 1, which spans one step
    assert env.reset()[0]["desired_goal"] == 2.0
    place = env.reset(seed=3)[0]["achieved_goal"]
    assert env.reset(seed=3, options={"goal": place})[1]["success"]  # the caller asked for it


def test_reaching_the_goal_ends_an_episode_where_the_environment_says_so(line):
    env = GoalEnv(line, terminate_on_success=True)
    env.reset(seed=0, options={"goal": np.array([1.0])})
    ends = [env.step(RIGHT) for _ in range(3)]
    assert [end[2] for end in ends] == [bool(end[1]) for end in ends] and sum(end[1] for end in ends) == 1
    assert not any(end[3] for end in ends)


def test_failure_and_interruption_are_told_apart(line):
    env = GoalEnv(line, failure_beyond=1.0, interrupted_beyond=1.0)
    for move, name in ((RIGHT, "failure"), (LEFT, "interrupted")):
        observation, info = env.reset(seed=0)
        assert info["failure"] is info["interrupted"] is False
        terminated = truncated = False
        while not (terminated or truncated):
            observation, _, terminated, truncated, info = env.step(move)
        assert (terminated, truncated) == (name == "failure", name == "interrupted")
        assert info["failure"] == terminated and info["interrupted"] == truncated
        goals = observation["achieved_goal"], observation["desired_goal"]
        assert env.compute_terminated(*goals, info) is terminated
        assert env.compute_truncated(*goals, info) is truncated
        assert env.compute_terminated(*goals, {}) is env.compute_truncated(*goals, {}) is False


def test_computed_in_batches_as_one_by_one(line):
    env = GoalEnv(line, terminate_on_success=True, failure_beyond=1.0)
    achieved = np.linspace(1, 3, 12, dtype=np.float32).reshape(3, 4, 1)
    desired = np.array([2.0], np.float32)
    rewards = env.compute_reward(achieved, desired, {})
    assert rewards.shape == (3, 4) and rewards.dtype == np.float64
    assert rewards.tolist() == (abs(achieved[..., 0] - 2) <= 0.25).astype(float).tolist() and 0 < rewards.sum() < 12
    infos = np.array([{"failure": i % 3 == 0, "interrupted": i % 2 == 0} for i in range(4)])
    for name, expected in (
        ("terminated", rewards[0].astype(bool) | np.array([True, False, False, True])),
        ("truncated", np.array([True, False, True, False])),
    ):
        compute = getattr(env, f"compute_{name}")
        for given in (infos, list(infos)):
            batch = compute(achieved[0], np.tile(desired, (4, 1)), given)
            assert batch.dtype == np.bool_ and batch.tolist() == expected.tolist()
        assert [compute(achieved[0, i], desired, infos[i]) for i in range(4)] == expected.tolist()
    singly = [env.compute_reward(one, desired, {}) for one in achieved[1]]
    assert singly == rewards[1].tolist() and {type(one) for one in singly} == {float}
    tensor = env.compute_reward(torch.from_numpy(achieved), torch.from_numpy(desired), {})
    assert tensor.dtype == torch.float32 and tensor.tolist() == rewards.tolist()


@pytest.mark.parametrize("limit", [3, 150])  # shorter and longer than the configuration's 100
def test_the_time_limit_is_the_one_that_make_is_given(limit):
    env = make(OPEN, max_episode_steps=limit)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(limit)]
    assert ends == [(False, False)] * (limit - 1) + [(False, True)]


def test_without_a_time_limit_an_episode_goes_on():
    env = make(OPEN, max_episode_steps=-1)
    env.reset(seed=0)
    assert not any(env.step(np.zeros(2, np.float32))[3] for _ in range(102))


def test_seeded_rollouts_are_equal_and_unseeded_ones_differ():
    env, other = make(OPEN), make(OPEN)
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(5)]
    assert same(play(env, actions, seed=7), play(other, actions, seed=7))
    assert same(env.reset(), other.reset())  # the next start follows from the seed too
    assert same(play(env, actions, seed=7), play(other, actions, seed=7))
    starts = [make(OPEN).reset()[0]["observation"].tolist() for _ in range(2)]
    starts += [env.reset(seed=seed)[0]["observation"].tolist() for seed in (7, 8)]
    starts.append(env.reset()[0]["observation"].tolist())
    assert len({tuple(start) for start in starts}) == 5


def test_what_is_random_without_seeded_starts_is_reproducible(walk):
    env = GoalEnv("walk", fail=0.3)
    rollouts = [play(env, [RIGHT] * 6, seed) for seed in (4, 4, 5)]
    assert same(rollouts[0], rollouts[1]) and not same(rollouts[0], rollouts[2])


def test_what_is_returned_may_be_written_to(line):
    env = GoalEnv(line)
    kept = [env.reset(seed=0)[0], env.step(RIGHT)[0]]
    place = float(kept[1]["achieved_goal"][0])
    for observation in kept:
        for value in observation.values():
            value[...] = 77
    assert env.step(STAY)[0]["achieved_goal"] == np.float32(place)
    assert env.step(STAY)[0]["desired_goal"] == 2.0
    goal = np.array([1.0], np.float32)
    env.reset(options={"goal": goal})
    goal[0] = 9
    assert env.step(STAY)[0]["desired_goal"] == 1.0


def test_keywords_are_fields_of_the_configuration():
    env = make("Discover/PointMaze_4D-v0", radius=3, success_radius=0.25).unwrapped
    assert env.episodes.env.config == PointMazeConfig(
        layout="generated", dim=4, radius=3, corridors=240, dead_ends=60, success_radius=0.25
    )
    assert env.observation_space["desired_goal"].high.tolist() == [4.0] * 4
    given: Any = GoalEnv(PointMaze, PointMazeConfig(layout="u", step_size=0.25), success_radius=0.75)
    assert given.episodes.env.config == PointMazeConfig(layout="u", step_size=0.25, success_radius=0.75)


def test_pickling_and_closing(line):
    env = make(OPEN, render_mode="rgb_array", step_size=0.25)
    copy = pickle.loads(pickle.dumps(env))
    actions = [np.ones(2, np.float32)] * 3
    assert same(play(env, actions), play(copy, actions))
    assert copy.render().shape == (480, 480, 3) and copy.spec == env.spec
    single: Any = GoalEnv(line)
    single.close()
    assert single.episodes.env.closed
    assert single.metadata["render_fps"] == 20 and GoalEnv.metadata["render_fps"] == 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"layuot": "u"}, r"no setting named 'layuot'; did you mean 'layout'\?; allowed: layout, dim"),
        ({"name": "x"}, "no setting named 'name'"),
        ({"step_size": "big"}, "step_size is 'big'; it must be a number"),
        ({"max_episode_steps": 2.5}, "max_episode_steps is 2.5; it must be a whole number"),
        ({"dim": True}, "dim is True; it must be a whole number"),
        ({"layout": ["#####", "#S.G#", "#####"]}, r"layout is \['#####', .*\]; it must be text$"),
        ({"step_size": 2.0}, "step_size must be above 0 and at most 1, got 2"),
        ({"device": "gpu"}, "device is 'gpu'; allowed: auto, cpu, cuda"),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'; allowed: None, 'rgb_array'"),
        ({"render_mode": "rgb_array", "view": "front"}, "view is 'front'; allowed: auto, model, top_down"),
        ({"render_mode": "rgb_array", "view": "model"}, "has no renderer of its own; use 'top_down'"),
        ({"render_mode": "rgb_array", "width": 0}, "width and height must be at least 1 pixel, got 0 and 480"),
    ],
)
def test_bad_arguments_get_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GoalEnv("point_maze", **arguments)


def test_an_unknown_environment_gets_a_sentence():
    with pytest.raises(ValueError, match=r"no plug-in named 'point_mase'.*did you mean 'point_maze'"):
        GoalEnv("point_mase")


def test_a_start_that_has_solved_its_target_is_refused(line, monkeypatch):
    monkeypatch.setattr(line, "targets", lambda self: torch.zeros(self.num_envs, 1))
    monkeypatch.setattr(line, "reset_from", lambda self, numbers, mask=None: torch.zeros(self.num_envs, 2))
    with pytest.raises(ValueError, match="environment 'Line': 1 of 1 starts have already solved their target"):
        GoalEnv(line)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"goals": [1.0, 1.0]}, r"no option named 'goals'; did you mean 'goal'\?; allowed: goal"),
        ({"reset_mask": np.array([True])}, "no option named 'reset_mask'"),
        ({"goal": [1.0]}, r"options\['goal'\] has shape \(1,\), expected \(2,\)"),
        ({"goal": [[1.0, 1.0]]}, r"has shape \(1, 2\), expected \(2,\)"),
        ({"goal": [1.0, 7.0]}, r"\[1.0, 7.0\] lies outside the goal space, from \[-6.0, -6.0\] to \[6.0, 6.0\]"),
        ({"goal": [1.0, float("nan")]}, "lies outside the goal space, .*, without infinities and NaN"),
        ({"goal": "here"}, r"options\['goal'\] must be numbers of shape \(2,\), got 'here'"),
        ({"goal": [[1.0], [1.0, 2.0]]}, r"options\['goal'\] must be numbers of shape \(2,\), got \[\[1.0\], \[1.0"),
    ],
)
def test_bad_options_get_a_sentence(options, sentence):
    env = GoalEnv("point_maze", layout="open")
    with pytest.raises(ValueError, match=sentence):
        env.reset(options=options)


@pytest.mark.parametrize("id_", ["Discover/PointMazeMujoco_UMaze-v0", "Discover/AntMaze_UMaze-v0"])
def test_a_goal_must_be_a_place_and_one_in_a_wall_is_warned_of(id_, recwarn):
    env = make(id_)
    with pytest.raises(ValueError, match="outside the goal space"):
        env.reset(options={"goal": [float("inf"), 0.0]})  # the goal space has no bounds
    env.reset(options={"goal": env.unwrapped.episodes.env.targets()[0]})
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"\[0.0, 0.0\] lies in a wall, or where no way leads"):
        env.reset(options={"goal": [0.0, 0.0]})


def test_a_simulation_that_can_no_longer_be_trusted_stops_an_episode(line, monkeypatch):
    asked = []

    def monitor(self):
        asked.append(True)
        raise ValueError("lost contacts")

    monkeypatch.setattr(line, "monitor", monitor, raising=False)
    env = GoalEnv(line, max_episode_steps=5)
    env.reset(seed=0)
    env.step(RIGHT)
    with pytest.raises(ValueError, match="lost contacts"):
        env.reset()
    env.reset()  # nothing has been simulated since
    for _ in range(4):
        env.step(RIGHT)
    assert len(asked) == 1  # asking waits for the device
    with pytest.raises(ValueError, match="lost contacts"):
        env.step(RIGHT)


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (np.zeros(3, np.float32), r"the action has shape \(3,\), expected \(2,\)"),
        (np.zeros((1, 2), np.float32), r"the action has shape \(1, 2\), expected \(2,\)"),
        (np.array([0.5, np.nan], np.float32), "the action holds a NaN"),
    ],
)
def test_bad_actions_get_a_sentence(action, sentence):
    env = GoalEnv("point_maze", layout="open")
    env.reset()
    with pytest.raises(ValueError, match=sentence):
        env.step(action)


def test_goals_of_the_wrong_width_get_a_sentence():
    env = GoalEnv("point_maze", layout="open")
    with pytest.raises(ValueError, match=r"desired_goal: its last axis must have 2 coordinates, got shape \(3,\)"):
        env.compute_reward(np.zeros(2), np.zeros(3), {})


def test_nothing_before_the_first_reset(line):
    env = GoalEnv(line, render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=r"step\(\) before the first reset"):
        env.step(RIGHT)
    with pytest.raises(ResetNeeded, match=r"render\(\) before the first reset"):
        env.render()
