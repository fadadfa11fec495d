import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from discover_rl.gym import GoalEnv, GoalVectorEnv

NUM = 5
MAZE = "Discover/PointMaze_4D-v0"
ENDINGS = {"failure_beyond": 1.0, "interrupted_beyond": 0.75}
SAME_STEP: Any = {"autoreset_mode": AutoresetMode.SAME_STEP}


make_vec: Any = gym.make_vec  # or every attribute of ours would be unknown to the type checker


def same(one, other):
    return data_equivalence(one, other, exact=True)


def actions_for(envs, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *envs.action_space.shape)).astype(np.float32)


@pytest.fixture
def pairs(line):
    """A vector of our own and one of single environments, by name."""

    def singles(**settings):
        limit = line.Config().max_episode_steps
        return SyncVectorEnv([lambda: TimeLimit(GoalEnv(line, **settings), limit)] * NUM, **SAME_STEP)

    def make(name):
        if name == "maze":
            sync = make_vec(MAZE, NUM, "sync", SAME_STEP, max_episode_steps=7)
            return make_vec(MAZE, NUM, max_episode_steps=7), sync
        settings = {"plain": {}, "ends": ENDINGS, "success ends": ENDINGS | {"terminate_on_success": True}}[name]
        return GoalVectorEnv(line, num_envs=NUM, **settings), singles(**settings)

    return make


@pytest.mark.parametrize("name", ["maze", "plain", "ends", "success ends"])
def test_a_vector_equals_as_many_singles(pairs, name):
    ours, theirs = pairs(name)
    assert isinstance(ours, GoalVectorEnv) and isinstance(theirs, SyncVectorEnv)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.metadata == theirs.metadata
    assert same(ours.reset(seed=3), theirs.reset(seed=3))
    ended = np.zeros(NUM, int)
    for action in actions_for(ours, 40):
        one, other = ours.step(action), theirs.step(action)
        assert same(one[:4], other[:4])
        assert same(one[4], other[4])
        ended += one[2] | one[3]
    assert (ended >= 4).all()
    goal = np.full(ours.episodes.env.goal_space.dim, 0.5, np.float32)
    for seed, options in (
        (None, None),
        (None, {"goal": goal}),
        ([4, None, 6, None, 8], None),
        (None, {"reset_mask": np.arange(NUM) % 2 == 0}),
        (11, {"reset_mask": np.arange(NUM) == 2, "goal": goal}),
        (11, None),
    ):
        assert same(ours.reset(seed=seed, options=dict(options or {})), theirs.reset(seed=seed, options=options))
        for action in actions_for(ours, 9, seed=1):
            assert same(ours.step(action), theirs.step(action))
    assert ours.np_random_seed == theirs.np_random_seed
    assert [g.bit_generator.state for g in ours.np_random] == [g.bit_generator.state for g in theirs.np_random]


def test_the_end_of_an_episode_by_hand(line):
    """The first walks right until it has failed, on its third or fourth step; the second stays to the time limit."""
    envs = GoalVectorEnv(line, num_envs=2, max_episode_steps=5, failure_beyond=1.5)
    start = float(envs.reset(seed=0)[0]["achieved_goal"][0, 0])
    walk = [start + 0.5 * step for step in range(6)]
    last = next(step for step, place in enumerate(walk) if place > 1.5)
    assert last in (3, 4)
    steps = [envs.step(np.array([[1.0], [0.0]], np.float32)) for _ in range(5)]
    assert not any("final_obs" in step[-1] or step[2].any() or step[3].any() for step in steps[: last - 1])

    observation, reward, terminated, truncated, infos = steps[last - 1]
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert infos["final_obs"][1] is None and infos["_final_obs"].tolist() == [True, False]
    final = infos["final_obs"][0]
    assert final["achieved_goal"] == pytest.approx(walk[last]) and final["desired_goal"] == 2.0
    assert final["observation"][1] == last and observation["observation"][:, 1].tolist() == [0, last]
    assert infos["final_info"]["success"][0] == bool(reward[0]) == (abs(walk[last] - 2) <= 0.25)
    assert infos["final_info"]["failure"].tolist() == [True, False]
    assert infos["failure"].tolist() == [False, False]  # of the new episode

    observation, reward, terminated, truncated, infos = steps[4]
    assert not terminated.any() and truncated.tolist() == [False, True]
    assert infos["_final_obs"].tolist() == [False, True] and infos["final_obs"][1]["observation"][1] == 5
    assert observation["observation"][:, 1].tolist() == [5 - last, 0]


def test_goals_change_only_at_resets_and_the_reward_is_of_the_old_one(line):
    envs = GoalVectorEnv(line, num_envs=3, max_episode_steps=5)
    goals = np.array([[0.5], [1.0], [1.5]], np.float32)
    assert same(envs.reset(seed=0, options={"goal": goals})[0]["desired_goal"], goals)
    for step in range(1, 6):
        observation, reward, _, truncated, infos = envs.step(np.ones((3, 1), np.float32))
        achieved, desired = observation["achieved_goal"], observation["desired_goal"]
        if step == 5:
            assert truncated.all() and (desired == 2.0).all()
            achieved = np.stack([final["achieved_goal"] for final in infos["final_obs"]])
            desired = np.stack([final["desired_goal"] for final in infos["final_obs"]])
        assert same(desired, goals)
        assert reward.tolist() == envs.compute_reward(achieved, desired, infos).tolist()


def test_a_partial_reset_leaves_the_others_alone(line):
    envs = GoalVectorEnv(line, num_envs=3)
    envs.reset(seed=0, options={"goal": [0.5]})
    before = [envs.step(np.ones((3, 1), np.float32))[0] for _ in range(4)][-1]
    mask = np.array([False, True, False])
    options = {"reset_mask": mask}
    after, infos = envs.reset(options=options)
    assert options == {"reset_mask": mask}  # wrappers read it after us
    for key, value in after.items():
        assert same(value[~mask], before[key][~mask])
    assert after["observation"][1, 1] == 0 and after["desired_goal"][:, 0].tolist() == [0.5, 2.0, 0.5]
    assert infos["_success"].tolist() == mask.tolist()
    ends = np.array([envs.step(np.zeros((3, 1), np.float32))[3] for _ in range(9)])
    assert np.argmax(ends, axis=0).tolist() == [4, 8, 4]  # steps 9, 9 and 9 of their episodes


def test_tensors_are_the_same_numbers(line):
    settings = {"num_envs": NUM, **ENDINGS}
    envs, tensors = GoalVectorEnv(line, **settings), GoalVectorEnv(line, **settings, arrays="torch")
    assert tensors.metadata["torch"] and "torch" not in envs.metadata

    def rows(value):
        if isinstance(value, dict):
            return {key: rows(inner) for key, inner in value.items() if key in ("final_info",) or key[0] != "_"}
        assert isinstance(value, torch.Tensor)
        return value.numpy()

    mask = torch.arange(NUM) < 2
    for options, other in ((None, None), ({"reset_mask": mask.numpy()}, {"reset_mask": mask})):
        (one, _), (two, infos) = envs.reset(seed=1, options=options), tensors.reset(seed=1, options=other)
        assert same(one, rows(two)) and infos["success"].dtype == torch.bool
    for action in actions_for(envs, 12):
        one, two = envs.step(action), tensors.step(torch.from_numpy(action))
        assert same(one[0], rows(two[0])) and two[1].dtype == torch.float32
        assert [value.tolist() for value in one[1:4]] == [value.tolist() for value in two[1:4]]
        assert one[4].keys() - {f"_{key}" for key in one[4]} == two[4].keys() - {f"_{key}" for key in two[4]}
        for index in np.flatnonzero(one[4].get("_final_obs", [])):
            assert two[4]["_final_obs"].tolist() == one[4]["_final_obs"].tolist()
            assert same(one[4]["final_obs"][index], {k: v[index].numpy() for k, v in two[4]["final_obs"].items()})
            assert one[4]["final_info"]["failure"][index] == two[4]["final_info"]["failure"][index]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("id_", [MAZE, "Discover/AntMaze_SquareSparse-v0"])
def test_on_a_gpu_everything_stays_there(id_):
    """The starts are those of the CPU, and so are the steps, but for rounding and the ant's physics."""
    rollouts = []
    for device in ("cpu", "cuda"):
        envs = make_vec(id_, 8, arrays="torch", max_episode_steps=6, device=device)
        steps = [envs.reset(seed=0)]
        steps += [envs.step(torch.from_numpy(action).to(device)) for action in actions_for(envs, 6)]
        for observation, *rest in steps:
            tensors = [*observation.values(), *(value for value in rest if not isinstance(value, dict))]
            assert {tensor.device.type for tensor in tensors} == {device}
        assert steps[-1][3].all() and steps[-1][-1]["_final_obs"].all()
        rollouts.append([steps[0][0], steps[-1][-1]["final_obs"]])
    for one, other in list(zip(*rollouts, strict=True))[: 2 if id_ == MAZE else 1]:
        for key, value in one.items():
            torch.testing.assert_close(value, other[key].cpu())


def test_what_is_returned_may_be_written_to(line):
    for arrays in ("numpy", "torch"):
        envs, untouched = (GoalVectorEnv(line, num_envs=2, arrays=arrays, failure_beyond=9.0) for _ in range(2))
        for step in range(12):
            move = np.full((2, 1), 0.25, np.float32)
            one, other = (e.step(move) if step else e.reset(seed=0) for e in (envs, untouched))
            assert one[0]["observation"].tolist() == other[0]["observation"].tolist()
            for value in [*one[0].values(), *one[-1].values(), *one[1:-1]]:
                if not isinstance(value, dict):
                    value[...] = 1


def test_seeds_make_everything_reproducible_without_seeded_starts(walk):
    envs = GoalVectorEnv("walk", num_envs=4, fail=0.2)
    rollouts = [[envs.reset(seed=seed), *map(envs.step, actions_for(envs, 30))] for seed in (5, 5, 6)]
    assert same(rollouts[0], rollouts[1]) and not same(rollouts[0], rollouts[2])


def test_gymnasium_s_vector_wrappers(line):
    recording, listing = (
        wrapper(make_vec("Discover/PointMaze_U-v0", 3, max_episode_steps=4))
        for wrapper in (RecordEpisodeStatistics, DictInfoToList)
    )
    recording.reset(seed=0)
    infos: Any = [recording.step(np.zeros((3, 2), np.float32))[-1] for _ in range(4)][-1]
    assert infos["episode"]["l"].tolist() == [4, 4, 4]
    listing.reset(seed=0)
    infos = [listing.step(np.zeros((3, 2), np.float32))[-1] for _ in range(4)][-1]
    assert [set(info) for info in infos] == [{"final_obs", "final_info", "success", "is_success"}] * 3
    assert set(infos[0]["final_info"]) == {"success", "is_success"}


def test_the_spec_makes_the_same_vector_again_and_so_does_a_copy():
    envs = make_vec(MAZE, num_envs=3, max_episode_steps=6, radius=2)
    assert envs.max_episode_steps == envs.episodes.env.config.max_episode_steps == 6
    again = make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert again.spec == envs.spec and again.num_envs == 3
    copies = [again, pickle.loads(pickle.dumps(envs))]
    rollouts = [[e.reset(seed=2), *(e.step(a) for a in actions_for(e, 8))] for e in (envs, *copies)]
    assert same(rollouts[0], rollouts[1]) and same(rollouts[0], rollouts[2])
    assert make_vec(MAZE, num_envs=3).max_episode_steps == 100


def test_closing(line):
    envs: Any = GoalVectorEnv(line, num_envs=2)
    envs.close()
    assert envs.episodes.env.closed and envs.closed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gaol": [1.0]}, r"no option named 'gaol'; did you mean 'goal'\?; allowed: goal, reset_mask"),
        ({"goal": [[1.0], [1.0]]}, r"has shape \(2, 1\), expected \(1,\) or \(3, 1\)"),
        ({"reset_mask": np.array([True, False])}, r"must hold 3 bools, got bool of shape \(2,\)"),
        ({"reset_mask": np.array([1, 0, 0])}, r"must hold 3 bools, got int64 of shape \(3,\)"),
        ({"reset_mask": np.zeros(3, bool)}, "is False everywhere; name at least one environment"),
    ],
)
def test_bad_options_get_a_sentence(line, options, sentence):
    envs = GoalVectorEnv(line, num_envs=3)
    with pytest.raises(ValueError, match=sentence):
        envs.reset(options=options)


def test_other_bad_input_gets_a_sentence(line):
    envs = GoalVectorEnv(line, num_envs=3)
    with pytest.raises(ResetNeeded, match=r"step\(\) before the first reset"):
        envs.step(np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        envs.reset(seed=[1, 2])
    envs.reset()
    with pytest.raises(ValueError, match=r"the action has shape \(3,\), expected \(3, 1\)"):
        envs.step(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="arrays is 'jax'; allowed: numpy, torch"):
        GoalVectorEnv(line, arrays="jax")
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        GoalVectorEnv(line, max_episode_steps=0)
