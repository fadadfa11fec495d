import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from discover_envs.layout import MazeLayout
from discover_envs.named_layouts import NAMED_LAYOUTS
from discover_envs.point_maze import PointMaze, PointMazeConfig
from discover_rl.goals.environment import Environment

CPU = torch.device("cpu")
GENERATED_SIZES = {2: (10, 4, 4), 3: (4, 20, 5), 5: (2, 60, 10)}

# The start corridor runs from x = -2 to 2, the target is up on the left.
ROWS = [
    "#######",
    "#G....#",
    "#.#####",
    "#..S..#",
    "#######",
    "#.....#",
    "#######",
]


def generated(dim, num_envs=32, seed=0, radius=None, device=CPU, **settings):
    default_radius, corridors, dead_ends = GENERATED_SIZES.get(dim, (5, 50, 10))
    settings |= {
        "dim": dim,
        "radius": radius or default_radius,
        "corridors": corridors,
        "dead_ends": dead_ends,
    }
    return PointMaze(PointMazeConfig(layout="generated", **settings), num_envs, device, seed)


@pytest.fixture
def maze(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(ROWS))
    return PointMaze(PointMazeConfig(layout=str(path)), 1, CPU, 0)


def step_from(env, position, action):
    env.position.copy_(torch.tensor([position]))
    return env.step(torch.tensor([action])).observation[0].tolist()


@pytest.mark.parametrize(
    ("position", "action", "after"),
    [
        ((0.0, 0.0), (1.0, 0.5), (0.5, 0.25)),  # a move
        ((0.0, 0.0), (7.0, -9.0), (0.5, -0.5)),  # clipped to [-1, 1]
        ((0.0, 0.0), (float("inf"), float("-inf")), (0.5, -0.5)),
        ((0.0, -0.5), (0.5, -0.75), (0.25, -0.875)),  # y = -0.875 is still cell 0: truncated towards zero
        ((0.0, -0.5), (0.5, -1.0), (0.0, -0.5)),  # y = -1 is cell -1: wall, and x is cancelled too
        ((0.0, 0.5), (0.0, 1.0), (0.0, 0.5)),  # y = 1 is cell 1: wall
        ((2.5, 0.0), (1.0, 0.0), (2.5, 0.0)),  # the shell begins at x = 3
        ((2.25, 0.0), (1.0, 0.0), (2.75, 0.0)),
        ((-1.75, 0.75), (-1.0, 1.0), (-2.25, 1.25)),  # diagonally, past the corner of the wall cell (-1, 1)
    ],
)
def test_moves_by_hand(maze, position, action, after):
    assert step_from(maze, position, action) == list(after)


def test_only_the_end_point_is_tested(tmp_path):
    """A step of a whole cell jumps over a corner of wall that it crosses."""
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(["#####", "#..G#", "#.S##", "#.###", "#####"]))
    env = PointMaze(PointMazeConfig(layout=str(path), step_size=1.0), 1, CPU, 0)
    assert step_from(env, (0.9, 0.2), (0.5, 1.0)) == pytest.approx([1.4, 1.2])  # crosses cell (1, 0) or (0, 1)
    assert step_from(env, (0.9, 0.2), (0.5, 0.5)) == pytest.approx([0.9, 0.2])  # ends in cell (1, 0)


def plain_step(position, action, free, step_size):
    """The rule for one environment, in single precision as on the device."""
    moved = [
        np.float32(x) + np.float32(step_size) * np.float32(min(1.0, max(-1.0, a)))
        for x, a in zip(position, action, strict=True)
    ]
    return moved if tuple(int(x) for x in moved) in free else position


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("step_size", [0.5, 1.0])
def test_agrees_with_a_plain_loop(dim, step_size):
    env = generated(dim, step_size=step_size)
    free = set(map(tuple, env.layout.cells.tolist()))
    generator = torch.Generator().manual_seed(1)
    positions = env.reset().tolist()
    moved = blocked = 0
    for _ in range(60):
        action = torch.rand(32, dim, generator=generator) * 3 - 1.5
        before = positions
        positions = [plain_step(x, a, free, step_size) for x, a in zip(before, action.tolist(), strict=True)]
        observation = env.step(action).observation
        torch.testing.assert_close(observation, torch.tensor(np.array(positions, np.float32)), rtol=0, atol=1e-6)
        positions = observation.tolist()
        moved += sum(x != y for x, y in zip(before, positions, strict=True))
        blocked += sum(x == y for x, y in zip(before, positions, strict=True))
    assert moved > 100
    assert blocked > 100


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_table_and_search_agree_on_every_cell(dim):
    env = generated(dim, radius=2)
    cells = torch.tensor(list(itertools.product(range(-3, 4), repeat=dim)))
    assert env._free_table is not None
    from_table = env.is_free(cells)
    env._free_table = None
    assert torch.equal(env.is_free(cells), from_table)
    assert from_table.sum() == len(env.layout.keys)


def test_ten_dimensions_stay_small():
    env = generated(10, num_envs=64, radius=5)
    held = [value for value in vars(env).values() if isinstance(value, torch.Tensor)]
    assert sum(t.element_size() * t.nelement() for t in held) < 50e6
    assert env._free_table is None
    assert env.layout.path_length() == 50
    before = env.position.clone()
    after = env.step(torch.ones(64, 10)).observation
    assert torch.equal(after, before + 0.5)  # still in cell 0 along every axis


def test_positions_outside_the_grid_are_wall(maze):
    far = torch.tensor([[9.0, 0.0], [-50.0, 1e9], [0.0, float("nan")], [0.0, float("inf")]])
    assert not maze.is_free(maze.cells_of(far)).any()
    assert torch.isinf(maze.distance_to_target(far)).all()


def test_contract(maze):
    assert isinstance(maze, Environment)
    assert (maze.observation_dim, maze.action_dim, maze.goal_space.dim, maze.max_episode_steps) == (
        2,
        2,
        2,
        100,
    )
    assert not maze.ends_early
    assert not maze.terminate_on_success
    step = maze.step(torch.zeros(1, 2))
    assert not step.terminated.any()
    assert not step.truncated.any()
    assert maze.targets().tolist() == [[-2.0, 2.0]]


def test_default_target_is_the_corner_and_radius_is_the_configured_one():
    env = PointMaze(PointMazeConfig(layout="open", success_radius=0.25), 3, CPU, 0)
    assert env.targets().tolist() == [[5.0, 5.0]] * 3
    near = torch.tensor([[5.25, 5.0], [5.2501, 5.0], [5.0, 4.8]])
    assert env.goal_space.success(env.goal_space.achieved(near), env.targets()).tolist() == [
        True,
        False,
        True,
    ]


def test_returned_observations_outlive_the_next_call(maze):
    start = maze.reset()
    first = maze.step(torch.full((1, 2), 0.5)).observation
    kept = start.clone(), first.clone()
    maze.step(torch.full((1, 2), 0.5))
    maze.reset()
    assert torch.equal(start, kept[0])
    assert torch.equal(first, kept[1])


def test_state_stays_where_a_cuda_graph_reads_it_and_is_never_handed_out(maze):
    address = maze.position.data_ptr()
    returned = [maze.reset(), maze.step(torch.zeros(1, 2)).observation, maze.reset(torch.tensor([True]))]
    assert maze.position.data_ptr() == address
    assert all(observation.data_ptr() != address for observation in returned)


def test_starts_fill_the_cube_and_differ_between_episodes():
    env = generated(3, num_envs=2000)
    first, second = env.reset(), env.reset()
    assert (first.abs() <= 0.1).all()
    assert first.max() > 0.099
    assert first.min() < -0.099
    assert first.mean().abs() < 0.005
    assert (first != second).any(-1).all()


def test_reset_by_mask_leaves_the_others_alone():
    env = generated(2, num_envs=6)
    before = env.step(torch.ones(6, 2)).observation
    mask = torch.tensor([True, False, False, True, False, True])
    after = env.reset(mask)
    assert torch.equal(after[~mask], before[~mask])
    assert (after[mask].abs() <= 0.1).all()
    assert torch.equal(env.position, after)


def rollout(seed):
    env = generated(2, seed=seed)
    actions = torch.Generator().manual_seed(3)
    return torch.stack([env.step(torch.randn(32, 2, generator=actions)).observation for _ in range(10)])


def test_same_seed_same_episode_and_other_seed_another():
    assert torch.equal(rollout(5), rollout(5))
    assert not torch.equal(rollout(5), rollout(6))


def test_generator_state_brings_back_the_starts():
    env = generated(2)
    state = env.generator.get_state()
    first = env.reset()
    env.generator.set_state(state)
    assert torch.equal(env.reset(), first)


@pytest.mark.parametrize("name", NAMED_LAYOUTS)
def test_no_start_is_solved_and_every_named_maze_fits_in_an_episode(name):
    env = PointMaze(PointMazeConfig(layout=name), 256, CPU, 0)
    achieved = env.goal_space.achieved(env.reset())
    assert not env.goal_space.success(achieved, env.targets()).any()
    assert env.layout.path_length() / env.config.step_size < env.max_episode_steps


@pytest.mark.parametrize("name", NAMED_LAYOUTS)
def test_success_cannot_be_had_through_a_wall(name):
    env = PointMaze(PointMazeConfig(layout=name), 1, CPU, 0)
    grid = torch.linspace(-0.5, 0.5, 41)
    around = env.targets() + torch.cartesian_prod(grid, grid)
    around = around[env.goal_space.success(around, env.targets())]
    steps = env.distance_to_target(around)
    assert steps[steps.isfinite()].max() <= 2 / env.config.step_size


def test_nan_action_moves_nothing_and_is_remembered():
    env = generated(3, num_envs=4)
    before = env.reset()
    action = torch.full((4, 3), 0.25)
    action[1, 2] = action[3] = float("nan")
    after = env.step(action).observation
    assert torch.equal(after[[1, 3]], before[[1, 3]])
    assert torch.equal(after[[0, 2]], before[[0, 2]] + 0.125)
    env.step(torch.zeros(4, 3))
    assert env.invalid_actions.tolist() == [False, True, False, True]


def test_nan_action_moves_nothing_whatever_cell_a_nan_falls_into(monkeypatch):
    env = generated(2, num_envs=1)
    before = env.reset()
    monkeypatch.setattr(env, "is_free", lambda cells: torch.ones(len(cells), dtype=torch.bool))
    assert torch.equal(env.step(torch.tensor([[float("nan"), 1.0]])).observation, before)


def test_infinite_actions_are_clipped_not_flagged():
    env = generated(2, num_envs=1)
    env.step(torch.tensor([[float("inf"), float("-inf")]]))
    assert not env.invalid_actions.any()


def test_distance_to_target_by_hand(maze):
    goals = torch.tensor([[-2.0, 2.0], [2.9, 2.1], [-2.5, 0.9], [0.9, -0.9], [2.0, 0.0], [0.0, 1.5], [0.0, -2.5]])
    steps = maze.distance_to_target(goals)
    assert steps.tolist() == [0, 8, 4, 8, 12, float("inf"), float("inf")]  # the last: free, but closed in
    assert maze.distance_to_target(goals[None, 3]).tolist() == [8]


@pytest.mark.parametrize("dim", [2, 4])
def test_draw(dim):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    env = generated(dim)
    axes = figure.add_subplot()
    env.draw(axes)
    shades = axes.collections[0].get_array()
    radius = env.layout.radius
    columns = {(x, y) for x, y in env.layout.cells[:, :2].tolist()}
    lit = np.argwhere(np.asarray(shades).reshape(2 * radius + 3, -1) > 0.5)
    assert {(x - radius - 1, y - radius - 1) for y, x in lit.tolist()} == columns
    assert any((line.get_xydata() == radius).all() for line in axes.lines)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 1}, "dim must be at least 2, got 1"),
        ({"radius": 0}, "radius must be at least 1"),
        ({"corridors": 0}, "corridors must be at least 1"),
        ({"dead_ends": -1}, "dead_ends must be at least 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"step_size": 1.5}, "step_size must be above 0 and at most 1"),
        ({"start_noise": 1.0}, "start_noise must be above 0 and below 1"),
        ({"success_radius": float("nan")}, "success_radius must be positive"),
        ({"layout": "serpentin"}, "did you mean 'serpentine'"),
        ({"dim": 4}, "layout 'u' is 2-D but dim is 4; .* set layout=generated"),
    ],
)
def test_config_rejects(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PointMazeConfig(**settings)


@pytest.fixture
def space_file(tmp_path):
    """A maze of three dimensions and radius 2 in a file."""
    walls = np.ones((7, 7, 7), bool)
    walls[1:-1, 1:-1, 1:-1] = False
    path = tmp_path / "space.npz"
    np.savez(path, walls=walls, radius=2)
    return str(path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dim": 4}, r"dim=4 contradicts '.*space\.npz', a 3-D maze of radius 2; leave dim out .*, or set layout=gen"),
        ({"radius": 3}, r"radius=3 contradicts '.*space\.npz', a 3-D maze of radius 2; leave radius out"),
        ({"corridors": 9}, r"corridors=9 draws nothing with '.*space\.npz', a 3-D maze of radius 2; leave cor"),
        ({"dead_ends": 9}, r"dead_ends=9 draws nothing with '.*space\.npz'"),
        ({"layout_seed": 1}, r"layout_seed=1 draws nothing with '.*space\.npz', a 3-D maze of radius 2; leave"),
        ({"layout": "open", "radius": 3}, r"radius=3 contradicts layout 'open', a 2-D maze of radius"),
        ({"layout": "\n#####\n#..G#\n#...#\n#...#\n#####\n", "radius": 3}, "radius=3 contradicts layout 'rows', a 2-D"),
    ],
)
def test_rejects_what_contradicts_the_layout(space_file, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PointMaze(PointMazeConfig(**({"layout": space_file} | settings)), 1, CPU, 0)


@pytest.mark.parametrize("settings", [{}, {"dim": 3}, {"radius": 2}, {"dim": 3, "radius": 2}])
def test_what_agrees_with_the_layout_may_be_said(space_file, settings):
    assert PointMaze(PointMazeConfig(layout=space_file, **settings), 1, CPU, 0).layout.dim == 3


@pytest.mark.parametrize("num_envs", [0, -3])
def test_rejects_no_environments(num_envs):
    with pytest.raises(ValueError, match=f"num_envs must be at least 1, got {num_envs}"):
        PointMaze(PointMazeConfig(), num_envs, CPU, 0)


def test_rejects_a_target_that_a_start_has_reached(tmp_path):
    walls = MazeLayout.from_name("open").to_rows()
    path = tmp_path / "near.txt"
    path.write_text("\n".join(row.replace("G", ".").replace("S.", "SG") for row in walls))
    PointMaze(PointMazeConfig(layout=str(path)), 1, CPU, 0)
    with pytest.raises(ValueError, match=r"lies 0\.90 from the nearest start, within the success radius 0\.95"):
        PointMaze(PointMazeConfig(layout=str(path), success_radius=0.95), 1, CPU, 0)


def test_rejects_wrong_shapes():
    env = generated(3, num_envs=4)
    with pytest.raises(ValueError, match=r"action has shape \(4, 2\), expected .* = \(4, 3\)"):
        env.step(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), expected \(4,\)"):
        env.reset(torch.ones(3, dtype=torch.bool))


class Recorder(TorchDispatchMode):
    """Notes the name of every operator that runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dim", [2, 10])
def test_nothing_is_read_back_or_sent_to_the_device(dim):
    """A CUDA graph cannot capture read-backs, shapes that depend on data, constants made on the host."""
    env = generated(dim)
    action, mask = torch.zeros(32, dim), torch.zeros(32, dtype=torch.bool)
    with Recorder() as recorder:
        env.distance_to_target(env.step(action).observation)
        env.reset(mask)
    forbidden = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::lift_fresh"}
    assert not forbidden & set(recorder.names)
    assert "aten::rand.generator" in recorder.names  # the recorder does see operators
    assert len(recorder.names) < 50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dim", [2, 10])
def test_cuda_graph_agrees_with_the_cpu(dim):
    env = generated(dim, device=torch.device("cuda"))
    assert (env._free_table is None) == (dim == 10)
    on_cpu = generated(dim)
    on_cpu.position.copy_(env.position)
    action = torch.zeros(32, dim, device="cuda")
    mask = torch.zeros(32, dtype=torch.bool, device="cuda")
    env.reset(mask)  # warm up outside the capture
    env.distance_to_target(env.step(action).observation)
    on_cpu.position.copy_(env.position)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(env.generator)
    with torch.cuda.graph(graph):
        observation = env.step(action).observation
        steps = env.distance_to_target(observation)
        after_reset = env.reset(mask)
    starts = []
    for i in range(40):
        action.copy_(torch.rand(32, dim) * 2 - 1)
        action[3] = float("nan")
        mask.fill_(False)
        mask[i % 32] = True
        graph.replay()
        expected = on_cpu.step(action.cpu()).observation
        torch.testing.assert_close(observation.cpu(), expected, rtol=0, atol=1e-5)
        assert torch.equal(steps.cpu(), on_cpu.distance_to_target(observation.cpu()))
        assert torch.equal(after_reset[~mask], observation[~mask])
        on_cpu.position.copy_(after_reset)
        starts.append(after_reset[i % 32].tolist())
    assert len({tuple(x) for x in starts}) == 40
    assert env.invalid_actions.nonzero().flatten().tolist() == [3]
