import math

import pytest
import torch

from discover_rl.goals import BoxGoals, GoalSpace

STATE = torch.arange(24.0).view(2, 3, 4)  # STATE[a, b, i] = 12a + 4b + i


@pytest.mark.parametrize(
    "indices",
    [[0], [3], [0, 1], [1, 2, 3], [0, 1, 2, 3], [2, 0], [0, 2], [3, 2], [1, 1], [-1], [-2, -1], [-1, 0]],
    ids=str,
)
def test_achieved_is_the_named_coordinates_in_the_named_order(indices):
    goals = BoxGoals(indices, 0.5)
    expected = [[[STATE[a, b].tolist()[i] for i in indices] for b in range(3)] for a in range(2)]
    assert goals.dim == len(indices)
    assert goals.achieved(STATE).tolist() == expected
    assert goals.achieved(STATE[1, 2]).tolist() == expected[1][2]


def test_neighbouring_indices_are_a_view_without_a_copy():
    assert BoxGoals([1, 2], 0.5).achieved(STATE).data_ptr() == STATE[..., 1:].data_ptr()


def test_box_goals_keep_the_contract():
    assert isinstance(BoxGoals([0], 0.5), GoalSpace)


def test_distance_is_euclidean_and_broadcasts_one_desired_goal():
    goals = BoxGoals([0, 1], 0.5)
    achieved = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    # |(3,4)| = 5, |0| = 0, |(6,8)| = 10
    assert goals.distance(achieved, torch.zeros(1, 2)).tolist() == [5.0, 0.0, 10.0]


def test_success_includes_the_rim_and_ends_right_behind_it():
    goals = BoxGoals([0, 1], 5.0)
    rim = torch.tensor([[3.0, 4.0], [-5.0, 0.0], [0.0, 5.0]])
    beyond = rim * (1 + 1e-6)
    assert goals.success(rim, torch.zeros(3, 2)).tolist() == [True] * 3
    assert goals.success(beyond, torch.zeros(3, 2)).tolist() == [False] * 3


def test_success_looks_at_the_distance_of_all_coordinates_together():
    # each coordinate is off by 0.4 < 0.5, together they are off by 0.4·sqrt(2) = 0.57 > 0.5
    goals = BoxGoals([0, 1], 0.5)
    assert not goals.success(torch.tensor([0.4, 0.4]), torch.zeros(2))
    assert math.hypot(0.4, 0.4) > 0.5


def test_describe_names_each_coordinate():
    goal = torch.tensor([1.0, -2.345])
    assert BoxGoals([4, 7], 0.5).describe(goal) == "x4=1.00, x7=-2.35"
    assert BoxGoals([4, 7], 0.5, ["left", "up"]).describe(goal) == "left=1.00, up=-2.35"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 0.5), "indices is empty"),
        (([0], 0.0), "radius must be positive, got 0.0"),
        (([0], -1.0), "radius must be positive"),
        (([0], math.nan), "radius must be positive"),
        (([0, 1], 0.5, ["x"]), "2 indices but 1 names"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        BoxGoals(*arguments)
