"""Views that environments offer, and what is said of those that are none."""
# pyright: reportArgumentType=false

from types import SimpleNamespace

import pytest
import torch

from discover_envs.point_maze import PointMaze, PointMazeConfig
from discover_rl.build import make_view
from discover_rl.goals import PlainView


def maze(**attributes):
    env = PointMaze(PointMazeConfig(layout="open"), 2, torch.device("cpu"), 0)
    for name, value in attributes.items():
        setattr(env, name, value)
    return env


def test_an_environment_without_a_view_is_seen_as_it_is():
    view = make_view(maze())
    assert isinstance(view, PlainView) and (view.width, view.scales) == (4, None)


def test_a_view_that_is_offered_is_taken():
    view = PlainView(2, 2, (torch.ones(2), torch.ones(2)))
    assert make_view(maze(view=view)) is view


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"view": "from above"}, r"must have width, see, seen_action and own_action .*got 'from above'"),
        ({"view": SimpleNamespace(width=4)}, "must have width, see"),
        ({"view": PlainView(3, 2)}, r"said to be 5 columns wide, and has 4; set its width to 4"),
        ({"view": PlainView(2, 2), "discrete_actions": True}, "actions, and these are discrete"),
    ],
    ids=["a word", "half of one", "a wrong width", "discrete actions"],
)
def test_what_is_no_view_is_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        make_view(maze(**attributes))
