"""Another goal space or another target: what the environment offers beyond the contract, as far as it still holds."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from discover_envs.mujoco_maze.ant import AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.point import PointMazeMujocoConfig
from discover_envs.point_maze import PointMaze, PointMazeConfig
from discover_rl.adapters.gymnasium_env import GymnasiumConfig
from discover_rl.build import make_environment
from discover_rl.goals import BoxGoals, HasCells, Retargeted, Simulated
from discover_rl.goals.spaces import FullGoals, LinearGoals

CPU = torch.device("cpu")
OFFERS = ("monitor", "close", "step_seconds", "render", "draw", "cell_map", "state_at", "distance_to_target")


def offered(env):
    return [name for name in OFFERS if hasattr(env, name)]


def point(target=None, space=None, **changes):
    return make_environment(PointMazeMujocoConfig(num_threads=1, **changes), 4, CPU, 0, space, target)


def test_all_that_the_environment_offers_with_another_target_but_its_distances():
    plain, env = point(), point([0.0, -1.2])
    assert isinstance(env, Retargeted) and isinstance(env, HasCells)
    assert offered(plain) == list(OFFERS)
    assert offered(env) == [name for name in OFFERS if name != "distance_to_target"]
    assert env.capturable is plain.capturable is False  # type: ignore[attr-defined]
    assert env.step_seconds == plain.step_seconds  # type: ignore[attr-defined]
    assert env.observation_scale.equal(plain.observation_scale)  # type: ignore[attr-defined]
    assert env.goal_scale.equal(plain.goal_scale)  # type: ignore[attr-defined]
    env.step(torch.full((4, 2), torch.nan))
    assert env.invalid_actions.all()  # type: ignore[union-attr]
    assert set(env.monitor()) == set(plain.monitor())  # type: ignore[attr-defined]


def test_the_simulation_within_a_step_stays_told_apart():
    env, whole = point([0.0, -1.2]), point([0.0, -1.2])
    assert isinstance(env, Simulated)
    assert not isinstance(make_environment(PointMazeConfig(), 4, CPU, 0, None, [1.0, 1.0]), Simulated)
    action = torch.tensor([[1.0, 0.5]] * 4)
    torch.testing.assert_close(env.reset(), whole.reset(), rtol=0, atol=0)
    env.begin_step(action)
    env.simulate()
    torch.testing.assert_close(env.end_step().observation, whole.step(action).observation, rtol=0, atol=0)


@pytest.mark.parametrize("target", [[0.0, 0.0], [100.0, 2.0]])  # a wall, outside
def test_a_target_to_which_no_way_leads_is_refused(target):
    with pytest.raises(ValueError, match=r"target=\[.*\]: no way leads there in PointMazeMujoco, it lies in a wall"):
        point(target)


def test_the_same_goals_under_another_name_keep_the_distances():
    env = point(space=BoxGoals([0, 1], 0.3))
    assert env.distance_to_target(env.targets()).tolist() == [0.0] * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("space", "target", "missing"),
    [
        (FullGoals(0.5, observation_dim=4), [1.0, 1.0, 0.0, 0.0], ("cell_map", "state_at", "distance_to_target")),
        (BoxGoals([2, 3], 0.5), [1.0, 1.0], ("draw", "cell_map", "state_at", "distance_to_target")),
        (BoxGoals([0], 0.1), [1.0], ("draw", "cell_map", "state_at", "distance_to_target")),
        (
            LinearGoals([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]], 0.1),
            [1.0, 2.0],
            ("draw", "cell_map", "state_at", "distance_to_target"),
        ),
    ],
    ids=["begins with x and y", "velocities", "x only", "stretched"],
)  # fmt: skip
def test_maps_are_for_goals_that_are_places(space, target, missing):
    assert offered(point(target, space)) == [name for name in OFFERS if name not in missing]


@pytest.mark.parametrize(("space", "target"), [(None, [3.0, 1.0]), (BoxGoals([0, 1], 0.3), None)])
def test_a_view_stays_where_goals_are_the_environments_own(space, target):
    env = make_environment(AntMazeConfig(num_threads=1, egocentric=True), 2, CPU, 0, space, target)
    assert isinstance(env, Retargeted)
    assert isinstance(env.env, AntMaze)
    assert getattr(env, "view", None) is env.env.view


def test_a_view_of_other_goals_is_refused():
    with pytest.raises(ValueError, match=r"goal_space has others \(1 coordinates\); switch its view off"):
        make_environment(AntMazeConfig(num_threads=1, egocentric=True), 2, CPU, 0, BoxGoals([2], 0.1), [1.0])


def test_the_scale_of_goals_is_that_of_what_they_are_made_of():
    env = make_environment(AntMazeConfig(num_threads=1, xy_scale=4.0), 2, CPU, 0, BoxGoals([0, 15], 0.5), [3.0, 1.0])
    assert env.goal_scale.tolist() == [4.0, env.observation_scale[15].item()]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("target", "stars"), [([1.0, -0.25], [[1.0, -0.25]]), ({"low": [-1, -1], "high": [1, 1]}, [])])
@pytest.mark.parametrize("make", [point, lambda target: make_environment(PointMazeConfig(), 4, CPU, 0, None, target)])
def test_the_map_shows_the_target_that_was_given(make, target, stars):
    axes = Figure().subplots()
    make(target).draw(axes)
    shown = [np.asarray(line.get_xydata()).tolist()[0] for line in axes.lines if line.get_label() == "target"]
    assert shown == stars
    labels = [line.get_label() for line in axes.lines]
    assert "_target" not in labels and "start" in labels


def test_further_coordinates_are_drawn_where_the_environment_can():
    env = make_environment(PointMazeConfig(layout="generated", dim=3, radius=3), 2, CPU, 0, None, [-2.0, -3.0, 0.0])
    axes = Figure().subplots()
    env.draw(axes, coordinates=(1, 2))  # type: ignore[attr-defined]
    assert [np.asarray(line.get_xydata()).tolist() for line in axes.lines if line.get_label() == "target"] == [
        [[-3.0, 0.0]]
    ]


def test_cells_know_the_target_that_was_given():
    assert point().cell_map().target == (0, 2)  # type: ignore[attr-defined]
    assert point([1.0, 1.0]).cell_map().target == (2, 2)  # type: ignore[attr-defined]
    assert point([[1.0, 1.0], [1.0, -1.0]]).cell_map().target is None  # type: ignore[attr-defined]


def test_a_camera_marks_the_goal_where_it_knows_its_coordinates():
    seen = []

    class Filmed(PointMaze):
        def render(self, index, goal, width, height):
            seen.append(goal.tolist())
            return np.zeros((height, width, 3), np.uint8)

    maze: Any = Filmed(PointMazeConfig(layout="u"), 2, CPU, 0)
    own = maze.targets()[0].tolist()
    for space in (maze.goal_space, BoxGoals([1], 0.5)):
        env = Retargeted(maze, space, [1.0] * space.dim)
        env.reset()
        env.render(0, torch.full((space.dim,), 9.0), 8, 8)  # type: ignore[attr-defined]
    assert seen == [[9.0, 9.0], own]


def test_starts_that_have_solved_their_target_are_drawn_anew():
    """A pendulum starts at any angle, one in sixteen within this goal."""
    config = GymnasiumConfig(id="Pendulum-v1")
    env = make_environment(config, 200, CPU, 0, BoxGoals([0, 1], 0.2), [1.0, 0.0])
    for mask in (None, torch.arange(200) < 150):
        before = env.reset(mask)
        assert not env.goal_space.success(env.goal_space.achieved(before), env.targets()).any()
    after = env.reset(torch.arange(200) < 3)
    assert after[3:].equal(before[3:]) and not after[:3].equal(before[:3])
