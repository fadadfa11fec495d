import numpy as np
import pytest
import torch

from discover_envs.point_maze import PointMazeConfig
from discover_rl.build import make_environment
from discover_rl.report.scene import BINS, View, pairs, scene_of, scene_without, widened

CPU = torch.device("cpu")


def view(low=(0, 0), high=(BINS, BINS), coordinates=(0, 1)):
    first, last = np.array(low, dtype=float), np.array(high, dtype=float)
    return View(coordinates, first, last, "", np.zeros(2), np.zeros((0, 2)))


@pytest.mark.parametrize(("dim", "expected"), [(1, [(0, 0)]), (2, [(0, 1)]), (3, [(0, 1), (0, 2)])])
def test_every_coordinate_is_seen(dim, expected):
    assert pairs(dim) == expected
    for many in range(2, 11):
        assert {i for pair in pairs(many) for i in pair} == set(range(many))


def test_a_map_is_the_mean_of_what_lies_in_a_bin_and_blank_elsewhere():
    goals = np.array([[0.5, 2.5], [0.6, 2.4], [7.5, 3.5], [np.nan, 1.0]], dtype=np.float32)
    found = view().map(goals, np.array([1.0, 3.0, 5.0, 9.0], dtype=np.float32))
    assert found[2, 0] == 2 and found[3, 7] == 5  # row: second coordinate
    assert np.isnan(found).sum() == BINS**2 - 2
    assert np.isnan(view().map(goals[3:], np.ones(1, dtype=np.float32))).all()


def test_gaps_are_closed_but_nothing_grows():
    x, y = np.meshgrid(np.arange(10) + 0.5, np.arange(10) + 0.5)
    goals = np.stack([x.ravel(), y.ravel()], -1).astype(np.float32)
    kept = (goals != [4.5, 5.5]).any(-1)
    found = view().map(goals[kept], goals[kept, 0])
    assert np.isfinite(found).sum() == 100
    assert 3.5 <= found[5, 4] <= 5.5


def test_other_coordinates_are_projected():
    goals = np.array([[9, 1.5, 9, 3.5]], dtype=np.float32)
    assert view(coordinates=(1, 3)).map(goals, np.ones(1, dtype=np.float32))[3, 1] == 1
    assert view(coordinates=(0, 0)).of(goals).tolist() == [[9, 0]]


def test_a_maze_is_drawn_from_above_in_every_pair():
    config = PointMazeConfig(layout="generated", dim=4, radius=2, corridors=9)
    maze = make_environment(config, 2, CPU, 0)
    scene = scene_of(maze)
    assert [each.coordinates for each in scene.views] == [(0, 1), (2, 3)]
    target = maze.targets()[0].double().numpy()
    for each in scene.views:
        assert each.backdrop.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(each.low, [-4, -4])
        np.testing.assert_array_equal(each.high, [4, 4])
        np.testing.assert_array_equal(each.targets, [target[list(each.coordinates)]])
    assert scene.views[0].backdrop != scene.views[1].backdrop
    assert scene.distance is not None
    away, unit = scene.distance(np.array([target]))
    assert unit == "steps" and away[0] == 0


def test_a_world_that_cannot_be_drawn_shows_all_goals():
    goals = np.array([[-3.0, 9.0, 1.0]])
    for each in widened(scene_without(np.zeros((1, 3))), goals).views:
        point = each.of(goals)[0]
        assert (each.low < point).all() and (point < each.high).all()
        assert (each.high - each.low)[0] == (each.high - each.low)[1]  # square
        assert not each.backdrop
