"""examples/point_view.py: a point mass with a view of its own."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from discover_rl.cli.composing import composed
from discover_rl.goals import View
from discover_rl.train import Trainer

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("front", ["goal", "motion"])
def test_a_point_mass_with_a_view_of_its_own_learns_in_it(monkeypatch, front):
    monkeypatch.chdir(EXAMPLES.parent)
    name = "env.name=examples.point_view:FacingPointMaze"
    small = ["num_envs=4", "learning_starts=0", "gradient_steps=2", "batch_size=16", "num_candidates=10"]
    config = composed(["experiment=point_maze_mujoco", name, f"+env.front={front}", "device=cpu", *small])
    trainer = Trainer(config)
    env: Any = trainer.env
    agent: Any = trainer.agent
    assert isinstance(env.view, View) and agent.view is env.view
    before = agent.parameters()["critics"].clone()
    trainer.train_round()
    assert not agent.parameters()["critics"].equal(before)


def test_a_front_that_a_point_does_not_have_is_refused(monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    name = "env.name=examples.point_view:FacingPointMaze"
    with pytest.raises(ValueError, match="front is 'back'; allowed: goal, motion"):
        Trainer(composed(["experiment=point_maze_mujoco", name, "+env.front=back", "device=cpu"]))


@pytest.mark.parametrize("front", ["goal", "motion"])
def test_what_the_point_faces_is_ahead_and_to_the_left_and_actions_go_to_and_fro(monkeypatch, front):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module("point_view")
    view = example.PointView(torch.tensor([2.0, 2.0, 3.0, 3.0]), front)
    draws = torch.Generator().manual_seed(0)
    observation, goal = torch.randn(100, 4, generator=draws), torch.randn(100, 2, generator=draws)
    seen = view.see(observation, goal)
    (columns,), side = seen.parts, seen.side
    assert columns.shape == (100, view.width) and side is not None and len(side.unique()) == 8
    away = goal - observation[:, :2]
    towards = away if front == "goal" else observation[:, 2:] + example.PULL * away / away.norm(dim=1, keepdim=True)
    faced = view.seen_action(towards, side)
    assert (faced[:, 1] >= -1e-6).all() and (faced[:, 1] <= faced[:, 0] + 1e-6).all()
    torch.testing.assert_close(columns[:, :2], view.seen_action(away / 2, side))
    torch.testing.assert_close(columns[:, -2:], view.seen_action(observation[:, 2:] / 3, side))
    torch.testing.assert_close(columns[:, 2:4], observation[:, :2] / 2)
    if front == "motion":
        torch.testing.assert_close(columns[:, 4:6], goal / 2)
    # what is seen of the front's direction, and whether left and right are exchanged, turns it back
    cos, sin, mirror = columns[:, -5:-2].T
    back = torch.stack([cos * faced[:, 0] - sin * mirror * faced[:, 1], sin * faced[:, 0] + cos * mirror * faced[:, 1]])
    torch.testing.assert_close(back.T, towards)
    assert view.see(torch.zeros(4), torch.zeros(2)).parts[0].isfinite().all()
    torch.testing.assert_close(view.own_action(faced, side), towards)
