# pyright: reportAttributeAccessIssue=false
import math
from typing import Any

import mujoco
import pytest
import torch

from discover_envs.mujoco_maze import native
from discover_envs.mujoco_maze.ant import ANT, AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.arm import ArmPush, ArmPushConfig
from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig
from discover_rl.build import make_environment
from discover_rl.goals import Environment, HasCells

CPU = torch.device("cpu")
KINDS = [(AntMaze, AntMazeConfig), (PointMazeMujoco, PointMazeMujocoConfig), (ArmPush, ArmPushConfig)]


def make(kind: Any = PointMazeMujoco, num_envs=6, seed=0, **changes):
    changes = {"num_threads": 1, "layout": "umaze"} | changes
    return kind(kind.Config(**changes), num_envs, CPU, seed)


def actions(maze, steps, seed=0):
    shape = (steps, maze.num_envs, maze.action_dim)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("kind", "config_type"), KINDS)
@pytest.mark.parametrize("goals", [0, 1])
def test_the_contract(kind, config_type, goals):
    maze: Any = make_environment(config_type(goals=config_type.GOALS[goals], num_threads=1), 5, CPU, 0)
    assert all(isinstance(maze, contract) for contract in (Environment, HasCells))
    observation = maze.reset()
    assert observation.shape == (5, maze.observation_dim) == (5, len(maze.body.names))
    assert maze.goal_space.achieved(observation).shape == maze.targets().shape == (5, maze.goal_space.dim)
    assert maze.observation_scale.shape == (maze.observation_dim,) and maze.goal_scale.shape == (maze.goal_space.dim,)
    before = observation.clone()
    step = maze.step(actions(maze, 1)[0])
    assert torch.equal(observation, before)  # what was returned is not written to
    assert step.observation.shape == observation.shape and step.observation.dtype == torch.float32
    assert not step.terminated.any() and not step.truncated.any()


def test_starts_and_targets_where_the_layout_has_them():
    maze = make(num_envs=500)
    start, target = maze.reset()[:, :2], maze.targets()
    assert ((start - torch.tensor([-1.0, -1.0])).abs() <= 0.25).all()
    assert start.std(0).min() > 0.1
    assert torch.equal(target, torch.tensor([-1.0, 1.0]).expand(500, 2))


def test_random_starts_and_targets_as_in_gymnasium_robotics():
    maze = make(num_envs=2_000, random_starts=True, random_targets=True, target_noise=0.25)
    start, target = maze.reset()[:, :2], maze.targets()
    for places in (start, target):
        assert not maze._walls[maze._cell_of(places)].any()
        assert len(maze._cell_of(places).unique()) == 7
    assert ((start - target).norm(dim=1) > 0.5).all()


def test_reset_by_mask_leaves_the_others_alone():
    maze, twin = make(AntMaze), make(AntMaze)
    for action in actions(maze, 3):
        maze.step(action)
        twin.step(action)
    mask = torch.tensor([True, False, False, True, False, True])
    before = twin.reset(~torch.ones_like(mask))
    after = maze.reset(mask)
    assert torch.equal(after[~mask], before[~mask])
    assert (after[mask][:, 2] == 0.75).all() and not after[mask][:, 15:].any()
    step, plain = maze.step(actions(maze, 1)[0]), twin.step(actions(maze, 1)[0])
    assert torch.equal(step.observation[~mask], plain.observation[~mask])


def test_worlds_do_not_depend_on_their_number():
    many, numbers = make(AntMaze, num_envs=4), torch.rand(4, 6)
    many.reset_from(numbers)
    moves = actions(many, 5)
    ends = [many.step(action).observation for action in moves][-1]
    for index in range(4):
        one = make(AntMaze, num_envs=1)
        one.reset_from(numbers[[index]])
        end = [one.step(action[[index]]).observation for action in moves][-1]
        assert torch.equal(end[0], ends[index])


def test_the_same_with_more_threads():
    one, two = (make(AntMaze, num_envs=8, num_threads=threads) for threads in (1, 2))
    for action in actions(one, 5):
        assert torch.equal(one.step(action).observation, two.step(action).observation)


@pytest.mark.parametrize("what", ["nan", "fast"])
def test_a_diverged_world_is_cut_counted_and_spoils_no_other(what, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    maze, twin = make(AntMaze), make(AntMaze)
    if what == "nan":
        maze._stepper._state[2, 1] = math.nan
    else:
        maze._stepper._state[2, maze._stepper._qvel.start] = 1e6
    last = maze._state[2].clone()
    action = actions(maze, 1)[0]
    step, plain = maze.step(action), twin.step(action)
    assert step.truncated.tolist() == [False, False, True, False, False, False] and not step.terminated.any()
    assert torch.equal(step.observation[2], last)
    others = ~step.truncated
    assert torch.equal(step.observation[others], plain.observation[others])
    assert maze.monitor()["rollout/diverged_worlds"].tolist() == [0, 0, 1, 0, 0, 0]
    assert not maze.monitor()["rollout/diverged_worlds"].any()
    maze.reset(step.truncated)
    assert maze.step(action).observation.isfinite().all()
    assert capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []  # it is counted; MuJoCo says no more


def test_warnings_still_go_where_the_user_wants_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maze, said = make(AntMaze), []
    takes = said.append
    mujoco.set_mju_user_warning(takes)
    try:
        maze._stepper._state[2, 1] = math.nan
        maze.step(actions(maze, 1)[0])
        assert said and mujoco.get_mju_user_warning() is takes
    finally:
        mujoco.set_mju_user_warning(None)


def test_mujoco_is_silent_until_the_last_stepper_has_stepped():
    with native._QUIET:
        with native._QUIET:  # as in another thread
            pass
        assert mujoco.get_mju_user_warning() is native._say_nothing
    assert mujoco.get_mju_user_warning() is None


def test_a_body_on_a_wall_or_outside_is_cut():
    maze = make(AntMaze)
    everywhere = torch.ones(6, dtype=torch.bool)
    state = maze.reset().clone()
    state[0, :2] = torch.tensor([0.0, 0.0])  # the wall in the middle
    state[1, :2] = torch.tensor([30.0, 0.0])
    state[:, 2] = 5.0
    maze._stepper.write(everywhere, state[:, :15], state[:, 15:])
    assert maze.step(torch.zeros(6, 8)).truncated.tolist() == [True, True, False, False, False, False]
    assert maze.monitor()["rollout/escaped_worlds"].tolist() == [1, 1, 0, 0, 0, 0]


def test_a_nan_acts_as_zero_and_is_reported():
    maze, twin = make(), make()
    action = actions(maze, 1)[0]
    action[1, 0] = math.nan
    step, plain = maze.step(action), twin.step(action.nan_to_num(0.0))
    assert torch.equal(step.observation, plain.observation)
    assert maze.invalid_actions.tolist() == [False, True, False, False, False, False]


def test_flipped_ants_end_their_episode_only_if_asked():
    for ends in (False, True):
        maze = make(AntMaze, terminate_flipped=ends)
        state = maze.reset().clone()
        state[0, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # on its back
        state[1, 3:7] = torch.tensor([0.0, 0.0, 0.0, 1.0])  # turned round, upright
        maze._stepper.write(torch.ones(6, dtype=torch.bool), state[:, :15], state[:, 15:])
        assert maze.step(torch.zeros(6, 8)).terminated.tolist() == [ends, *[False] * 5]


@pytest.mark.parametrize(("cell", "radius", "unit"), [(4.0, 0.45, 0.9), (1.0, 0.45, 0.9), (0.5, 0.45, 0.5)])
def test_networks_see_goals_a_success_radius_apart_as_different(cell, radius, unit):
    maze = make(layout="plain", cell_size=cell, success_radius=radius)
    assert maze.goal_scale.tolist() == pytest.approx([unit, unit])
    assert maze.observation_scale[:2].tolist() == pytest.approx([unit, unit])
    assert make(AntMaze, xy_scale=3.0).goal_scale.tolist() == [3.0, 3.0]


def test_walls_stop_the_point_and_its_speed_is_bounded():
    maze = make()
    right = torch.tensor([[1.0, 0.0]]).expand(6, 2)
    step = [maze.step(right) for _ in range(60)][-1]
    assert (step.observation[:, 0] - 1.4).abs().max() < 0.02  # the ball's radius before the wall at 1.5
    assert not step.truncated.any()
    wide = make(layout="large_plain")
    fastest = max(float(wide.step(torch.ones(6, 2)).observation[:, 2:].max()) for _ in range(10))
    assert 5.0 < fastest < 6.3


def test_distance_to_target_grows_along_the_way():
    maze = make()
    way = torch.tensor([[-1.0, 1.0], [-0.5, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, -1.0], [-1.0, -1.0]])
    distance = maze.distance_to_target(way) * POINT_METRES_A_STEP
    torch.testing.assert_close(distance, torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0]))
    assert maze.distance_to_target(torch.tensor([0.0, 0.0])) == math.inf


POINT_METRES_A_STEP = 4.0 * 0.05


def test_full_state_goals_ask_for_the_pose_too():
    maze = make(AntMaze, goals="full_state")
    space, target = maze.goal_space, maze.targets()
    assert space.success(target, target).all()
    moved = target.clone()
    moved[:, 0] += 0.4
    assert space.success(moved, target).all()
    moved[:, 0] += 0.1
    assert not space.success(moved, target).any()
    running = target.clone()
    running[:, 15] += 20.0
    assert not space.success(running, target).any()
    assert space.success(running[:, None], target[:1]).shape == (6, 1)
    assert "height [m]" in space.describe(target[0])


def test_goals_and_cells():
    maze = make(AntMaze, layout="medium")
    cells = maze.cell_map()
    start = torch.tensor(maze.grid.position(maze.grid.start)) * 4.0
    torch.testing.assert_close(cells.to_cells(start), torch.zeros(2))
    torch.testing.assert_close(cells.to_cells(maze.targets()[0]), torch.tensor(cells.target).float())
    goal = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(cells.from_cells(cells.to_cells(goal)), goal)
    state = maze.state_at(goal)
    assert torch.equal(state[:, :2], goal) and state.shape == (1, 29)
    assert 0.2 < float(state[0, 2]) < 0.75  # the ant rests on its feet


def test_the_oracle_and_the_body_agree_on_names():
    assert len(ANT.names) == 29 and len(ANT.scales) == 27


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "plane"}, "did you mean 'plain'"),
        ({"integrator": "rk4"}, "allowed: implicitfast, Euler, RK4"),
        (
            {"layout": "umaze", "radius": 4, "layout_seed": 1},
            "radius=4, layout_seed=1 is of mazes that are generated, and",
        ),
        ({"goals": "xyz"}, "allowed: xy, full_state"),
        ({"cell_size": 0.0}, "cell_size must be positive and finite, got 0.0"),
        ({"cell_size": math.inf}, "cell_size must be positive and finite, got inf"),
        ({"xy_scale": -1.0}, "xy_scale must be positive and finite, or 0, got -1.0"),
        ({"start_noise": 0.5}, "below 0.5"),
        ({"frame_skip": 0}, "at least 1"),
        ({"layout": "plain", "cell_size": 1.7}, "reaches 0.88 m to each side; cell_size must be at least 1.76$"),
        ({"success_radius": 8.0}, "within the success radius"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        make(AntMaze, **changes)


@pytest.mark.parametrize(("kind", "least"), [(AntMaze, 3.52), (PointMazeMujoco, 0.4), (ArmPush, 0.16)])
def test_cells_in_which_a_start_would_overlap_a_wall_are_refused(kind, least):
    def small(cell_size, **changes):
        return make(kind, cell_size=cell_size, success_radius=0.01, num_envs=4, **changes)

    with pytest.raises(ValueError, match=rf"beside a wall; cell_size must be at least {least}, or start_noise at most"):
        small(least * 0.99)
    maze = small(least)
    corners = torch.full((4, maze.start_numbers), 0.5)
    corners[:, :2] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    data = mujoco.MjData(maze.model)
    for state in maze.reset_from(corners):
        data.qpos[:] = state[: maze.model.nq].numpy()
        mujoco.mj_forward(maze.model, data)
        walls = [maze.model.geom(i).name.startswith("wall_") for i in range(maze.model.ngeom)]
        assert all(c.dist > -1e-6 for c in data.contact if walls[c.geom1] or walls[c.geom2])
    small(least * 0.8, start_noise=0.1)
    small(least * 0.8, layout="large_plain")  # starts far from its walls


def test_wrong_shapes():
    maze = make()
    with pytest.raises(ValueError, match="action has shape"):
        maze.step(torch.zeros(6, 3))
    with pytest.raises(ValueError, match="mask has shape"):
        maze.reset(torch.zeros(2, dtype=torch.bool))


def test_the_native_backend_wants_the_cpu():
    from discover_envs.mujoco_maze.stepper import make_stepper

    with pytest.raises(ValueError, match="backend=native steps on the CPU"):
        make_stepper(make().model, 1, 1, torch.device("cuda"), "native", 1, 8, 8)


def test_picture_from_above():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    make(AntMaze).draw(axes)
    assert axes.get_xlim() == (-10.0, 10.0)
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["start", "target"]
