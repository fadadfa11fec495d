"""Targets of one's own: what is drawn, how often, and what is refused."""

from itertools import pairwise

import pytest
import torch

from discover_rl.build import make_environment
from discover_rl.goals import BoxGoals, Retargeted, target_draw
from discover_rl.selectors import Discover, Mega
from discover_rl.train import Trainer

CPU = torch.device("cpu")


def drawn(target, count=200, dim=2):
    draw, vary = target_draw(target, dim, CPU)
    return draw(count, torch.Generator().manual_seed(0)), vary


def corner(count, generator):
    return torch.ones(count, 2)


def test_one_target_is_everyones():
    targets, vary = drawn([1, 2.5])
    assert not vary
    assert targets.unique(dim=0).tolist() == [[1.0, 2.5]]


def test_of_several_each_is_drawn_about_as_often():
    targets, vary = drawn([[1, 2], [3, 4], [5, 6]], 600)
    rows, counts = targets.unique(dim=0, return_counts=True)
    assert vary
    assert rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert counts.min() > 150


def test_a_box_is_drawn_from_evenly():
    targets, vary = drawn({"low": [0, -4], "high": [1, 4]}, 2000)
    assert vary
    assert targets.amin(0).tolist() == pytest.approx([0, -4], abs=0.05)
    assert targets.amax(0).tolist() == pytest.approx([1, 4], abs=0.05)
    assert targets.mean(0).tolist() == pytest.approx([0.5, 0], abs=0.2)


@pytest.mark.parametrize("target", [corner, f"{__name__}:corner"])
def test_a_function_draws(target):
    targets, vary = drawn(target)
    assert vary
    assert targets.equal(torch.ones(200, 2))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ([1.0], "the goal space has 2 coordinates; give 2 finite numbers, got [[1.0]]"),
        ([[1, 2], [3]], "target must be numbers [x, y], several such lists"),
        ([], "the goal space has 2 coordinates"),
        ([1, float("inf")], "give 2 finite numbers"),
        (3, "target must be numbers [x, y]"),
        ({"low": [0, 0]}, "a box has the keys low and high, got low"),
        ({"low": [0, 2], "high": [1, 1]}, "low must not be above high"),
        ("nowhere:f", "there is no module 'nowhere'"),
        (lambda count, generator: torch.ones(count), "the function must return float32 of shape (200, 2)"),
    ],
    ids=range(9),
)
def test_a_bad_target_is_said(target, sentence):
    with pytest.raises(ValueError) as info:
        drawn(target)
    assert sentence in str(info.value)


def test_targets_change_with_the_episode_and_none_is_solved(walk):
    env = make_environment(walk(), 50, CPU, 0, None, {"low": [-0.3], "high": [0.3]})
    seen = []
    for _ in range(5):
        observation = env.reset()
        seen.append(env.targets())
        assert not env.goal_space.success(env.goal_space.achieved(observation), env.targets()).any()
    assert all(not a.equal(b) for a, b in pairwise(seen))
    mask = torch.arange(50) < 5
    before = env.targets()
    env.reset(mask)
    assert env.targets()[5:].equal(before[5:])
    assert not env.targets()[:5].equal(before[:5])
    assert seen[-1].equal(before)  # what was returned is never written to


def test_another_goal_space_needs_a_target_unless_the_old_ones_fit(walk):
    with pytest.raises(ValueError, match=r"has targets of 1 coordinates, but the goal space has 2; give a target"):
        make_environment(walk(), 4, CPU, 0, BoxGoals([0, 1], 0.1))
    env = make_environment(walk(), 4, CPU, 0, BoxGoals([3], 0.5))
    assert isinstance(env, Retargeted)
    assert env.targets().tolist() == [[pytest.approx(0.9)]] * 4
    with pytest.raises(ValueError, match=r"environment 'walk': 4 of 4 starts have already solved their target"):
        make_environment(walk(), 4, CPU, 0, BoxGoals([3], 0.5), [0.2])


def test_each_episode_takes_goals_that_were_scored_for_its_own_target(walk, tiny):
    """Candidate c is scored for environment c mod num_envs."""
    several = Trainer(tiny(2, env=walk(), target=[[0.9], [-0.9]], selector=Discover(target_share=0.0)))
    for _ in range(2):
        several.train_round()
    several.choose_goals()
    index = several.selector.select(several.selector_state, several.candidates(), 6, several.generators["goals"]).index
    assert (index % 6).equal(torch.arange(6).expand(2, 6))
    assert several.selector == Discover(target_share=0.0, pick="pools")
    assert Trainer(tiny(2, env=walk(), target=[0.9])).selector == Discover()
    assert Trainer(tiny(2, env=walk(), target=[[0.9], [-0.9]], selector=Mega())).selector == Mega()
