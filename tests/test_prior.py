"""Relevance from the critics of another run: goals go from one scale to the other, and what does not fit is refused."""

import dataclasses

import pytest
import torch

from discover_envs.mujoco_maze.ant import AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.point import PointMazeMujocoConfig
from discover_envs.point_maze import PointMazeConfig
from discover_rl.build import make_environment
from discover_rl.prior import Prior
from discover_rl.selectors import AchievabilityNovelty, Discover, Mega
from discover_rl.train import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def saved(tiny, tmp_path):
    """Saves an untrained run in a maze and returns its trainer and folder."""
    from discover_rl.run_folder import save_config

    def make(env, **changes):
        trainer = Trainer(tiny(env=env, **changes))
        run_dir = tmp_path / env.name
        save_config(run_dir, trainer.config, CPU)
        trainer.save(run_dir)
        return trainer, run_dir

    return make


def point(layout="umaze"):
    return PointMazeMujocoConfig(layout=layout, num_threads=1, max_episode_steps=8)


def ant(layout="umaze", **changes):
    return AntMazeConfig(layout=layout, num_threads=1, max_episode_steps=8, **changes)


@pytest.mark.parametrize("goals", ["xy", "full_state"])
def test_the_point_is_asked_where_the_ant_is(saved, goals):
    trainer, run_dir = saved(point())
    env = AntMaze(ant(goals=goals), 1, CPU, 0)
    prior = Prior(run_dir, env, 4, CPU)
    # the target's cell, one cell below it in the wall's shadow, and the start, in metres of the ant
    places = torch.tensor([[-4.0, 4.0], [4.0, 0.0], [-4.0, -4.0]])
    goals_there = env.goal_space.achieved(env.state_at(places)).expand(4, -1, -1)
    estimate = prior.relevance(goals_there, env.targets().expand(4, 3, -1))
    states = torch.cat([places / 4, torch.zeros(3, 2)], 1).expand(2, 3, 4)
    expected = trainer.agent.values(states, torch.tensor([-1.0, 1.0]).expand(2, 3, 2))
    for ours, theirs in zip(estimate, expected, strict=True):
        torch.testing.assert_close(ours, theirs[[0, 1, 0, 1]])  # two runs there, four here


def test_the_torch_point_maze_is_asked_by_cells(saved):
    trainer, run_dir = saved(PointMazeConfig(layout="u", max_episode_steps=8))
    prior = Prior(run_dir, make_environment(ant("u"), 1, CPU, 0), 2, CPU)
    # in the middles of the cells (0, 0), (3, 0) and (-2, 4) of the ant's maze
    goals = torch.tensor([[0.0, 0.0], [12.0, 0.0], [-8.0, 16.0]]).expand(2, 3, 2)
    there = torch.tensor([[0.0, 0.0], [3.5, 0.0], [-2.5, 4.5]]).expand(2, 3, 2)
    expected = trainer.agent.values(there, trainer.env.targets()[0].expand(2, 3, 2))
    torch.testing.assert_close(prior.relevance(goals, goals).mean, expected.mean)


@pytest.mark.parametrize(
    ("selector", "sentence"),
    [
        (Mega(), "selector=mega has no weight relevance; leave it out, or use selector=discover"),
        (AchievabilityNovelty(), "selector=achievability_novelty has no weight relevance"),
        (Discover(standardise=False), r"it needs selector\.standardise=true"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(tiny, selector, sentence):
    with pytest.raises(ValueError, match=sentence):
        Trainer(tiny(env=ant(), prior="run", selector=selector))


def test_training_uses_it_for_relevance_alone(saved, tiny):
    _, run_dir = saved(point())
    with_prior, without = (Trainer(tiny(env=ant(), prior=prior)) for prior in (str(run_dir), ""))
    for trainer in (with_prior, without):
        trainer.train_round()
    ours, plain = with_prior.candidates(), without.candidates()
    assert torch.equal(ours.goals, plain.goals)
    assert ours.start and plain.start and ours.target and plain.target and with_prior.prior
    assert torch.equal(ours.start.mean, plain.start.mean)
    assert not torch.allclose(ours.target.mean, plain.target.mean)
    relevance = with_prior.prior.relevance(ours.goals, with_prior.env.targets()[0].expand_as(ours.goals))
    torch.testing.assert_close(ours.target.mean, relevance.mean)


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (ant("medium"), point("umaze"), "the mazes differ"),
        (ant("u"), PointMazeConfig(layout="generated", dim=3, radius=2, max_episode_steps=8), "3 dimensions"),
    ],
)
def test_goal_spaces_that_do_not_fit_are_refused(saved, here, there, message):
    _, run_dir = saved(there)
    with pytest.raises(ValueError, match=message):
        Prior(run_dir, make_environment(here, 1, CPU, 0), 1, CPU)


def test_a_prior_that_is_not_there_is_named(tiny):
    with pytest.raises(ValueError, match=r"^prior=no/where: no/where: there is no such folder"):
        Trainer(tiny(env=ant(), prior="no/where"))


def test_an_environment_without_cells_is_refused(saved, walk):
    _, run_dir = saved(point())
    with pytest.raises(ValueError, match="not places in a maze"):
        Prior(run_dir, make_environment(walk(), 1, CPU, 0), 1, CPU)


def test_another_target_is_refused(saved, tmp_path):
    rows = ["######", "#S..G#", "######"]
    other = ["######", "#S.G.#", "######"]
    for name, lines in (("a.txt", rows), ("b.txt", other)):
        (tmp_path / name).write_text("\n".join(lines))
    _, run_dir = saved(point(str(tmp_path / "a.txt")))
    with pytest.raises(ValueError, match="the target there is the cell"):
        Prior(run_dir, make_environment(dataclasses.replace(ant(str(tmp_path / "b.txt"))), 1, CPU, 0), 1, CPU)
