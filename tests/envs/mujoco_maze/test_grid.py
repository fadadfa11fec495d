import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_envs.layout import MazeLayout
from discover_envs.mujoco_maze.ant import AntMazeConfig
from discover_envs.mujoco_maze.arm import ArmPushConfig
from discover_envs.mujoco_maze.grid import GridLayout
from discover_envs.mujoco_maze.layouts import GRID_LAYOUTS

# columns, rows, moves from the start to the target: sizes and distances as published, or as our drawing has them
FACTS = {
    "plain": (7, 7, 2),
    "square_sparse": (7, 7, 4),
    "big_square_sparse": (9, 9, 6),
    "large_plain": (11, 11, 8),
    "long_horizon": (11, 11, 8),
    "huge": (15, 15, 19),
    "s_sparse": (9, 9, 19),
    "umaze": (5, 5, 6),
    "medium": (8, 8, 10),
    "large": (12, 9, 15),
    "giant": (16, 12, 22),
    "one_wall": (13, 10, 10),
    "two_walls": (13, 10, 15),
}


@pytest.mark.parametrize("name", GRID_LAYOUTS)
def test_named_layouts_have_their_size_and_distance(name):
    grid = GridLayout.from_name(name)
    assert (*grid.shape, grid.path_length()) == FACTS[name]
    assert (grid.distances[~grid.walls] >= 0).all()  # no free cell is cut off


@pytest.mark.parametrize(("name", "theirs"), [("umaze", "U_MAZE"), ("medium", "MEDIUM_MAZE"), ("large", "LARGE_MAZE")])
def test_ours_are_those_of_gymnasium_robotics(name, theirs):
    maps = pytest.importorskip("gymnasium_robotics.envs.maze.maps")
    maze = pytest.importorskip("gymnasium_robotics.envs.maze.maze_v4")
    cells = getattr(maps, theirs)
    grid = GridLayout.from_name(name)
    assert np.array_equal(grid.walls, np.array(cells)[::-1].T == 1)
    their_maze = maze.Maze(cells, 1.0, 0.5)
    for column, row in grid.free_cells.tolist():
        place = their_maze.cell_rowcol_to_xy(np.array([grid.shape[1] - 1 - row, column]))
        assert np.allclose(grid.position((column, row)), place)


@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(3, 9))
def test_boxes_cover_the_walls_and_nothing_else(seed, columns, rows):
    rng = np.random.default_rng(seed)
    walls = rng.random((columns, rows)) < 0.4
    walls[[0, -1]] = walls[:, [0, -1]] = True
    walls[1:-1, 1] = False  # a way from the start to the target
    if columns == 3:
        return
    grid = GridLayout("drawn", walls, (1, 1), (columns - 2, 1), (0.3, -0.2))
    covered = np.zeros_like(walls, int)
    for box in grid.boxes():
        low = np.array([box.x - box.half_x, box.y - box.half_y]) + np.array(grid.origin) + 0.5
        high = low + 2 * np.array([box.half_x, box.half_y])
        (left, bottom), (right, top) = low.round().astype(int), high.round().astype(int)
        covered[left:right, bottom:top] += 1
    assert np.array_equal(covered, walls.astype(int))


def test_walls_are_few_boxes():
    assert len(GridLayout.from_name("large_plain").boxes()) == 4
    assert len(GridLayout.from_name("umaze").boxes()) == 5


def test_a_point_maze_becomes_the_same_grid():
    layout = MazeLayout.from_name("u")
    grid = GridLayout.from_name("u")
    assert grid.cells_from_start() == {tuple(cell) for cell in layout.cells.tolist()}
    assert grid.target_from_start == layout.target
    assert grid.path_length() == layout.path_length()


def test_text_files(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("######\n#S..G#\n######\n")
    grid = GridLayout.from_name(str(path))
    assert grid.shape == (6, 3) and grid.path_length() == 3
    for name in ("other.txt", "other.npz"):
        with pytest.raises(FileNotFoundError, match=f"{name}' does not exist; give a path .*, or one of .*umaze"):
            GridLayout.from_name(str(tmp_path / name))


def test_only_what_can_be_a_point_maze_may_leave_out_its_marks():
    assert GridLayout.from_name("#####\n#...#\n#.S.#\n#...#\n#####").target_from_start == (1, 1)
    for rows in ("#######\n#S....#\n#######", "#####\n#S..#\n#...#\n#...#\n#####"):
        with pytest.raises(ValueError, match=r"no cell is marked G .target.; mark one"):
            GridLayout.from_name(rows)


def test_the_arm_has_tables_that_an_ant_has_not():
    with pytest.raises(ValueError, match=r"unknown layout 'one_wall'; known are (?!.*wall).*umaze"):
        AntMazeConfig(layout="one_wall")
    assert ArmPushConfig(layout="two_walls").layout == "two_walls"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["####", "#SG#", "#.##"], "shell must be wall"),
        (["####", "#S.#", "####"], "no cell is marked G .target.; mark one"),
        (["#####", "#SGG#", "#####"], "2 cells are marked G"),
        (["#####", "#SG##", "###"], "characters wide"),
        (["#####", "#S?G#", "#####"], "unknown character '\\?'"),
        (["#####", "#S#G#", "#####"], "no way leads"),
    ],
)
def test_bad_rows(rows, message):
    with pytest.raises(ValueError, match=message):
        GridLayout.from_rows(rows)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'square_sparse'"):
        GridLayout.from_name("square_spars")
