import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_envs.layout import UNREACHABLE, MazeLayout, check_name, generate
from discover_envs.mujoco_maze.grid import GridLayout
from discover_envs.named_layouts import NAMED_LAYOUTS

HOOK = [
    "#######",
    "#....G#",
    "#.#####",
    "#..S..#",
    "#####.#",
    "#.#...#",
    "#######",
]


def walls_of(radius=1, dim=2):
    walls = np.ones((2 * radius + 3,) * dim, bool)
    walls[(slice(1, -1),) * dim] = False
    return walls


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_cells_target_and_orientation_of_text():
    layout = MazeLayout.from_rows(HOOK, "hook")
    assert layout.radius == 2
    assert layout.target == (2, 2)
    free = set(map(tuple, layout.cells.tolist()))
    assert (2, -1) in free  # right of the start and one down
    assert (-2, 1) in free
    assert (2, 1) not in free
    assert len(free) == 5 + 1 + 5 + 1 + 4


def test_distances_by_hand():
    layout = MazeLayout.from_rows(HOOK, "hook")
    field = dict(zip(map(tuple, layout.cells.tolist()), layout.distances_to_target().tolist(), strict=True))
    assert field[(2, 2)] == 0
    assert field[(-2, 2)] == 4
    assert field[(-2, 0)] == 6
    assert field[(0, 0)] == 8 == layout.path_length()
    assert field[(2, -2)] == 12
    assert field[(-2, -2)] == UNREACHABLE  # closed in; only the start must reach the target


@pytest.mark.parametrize("name", NAMED_LAYOUTS)
def test_text_round_trip(name):
    layout = MazeLayout.from_name(name)
    assert layout.to_rows() == list(NAMED_LAYOUTS[name])


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("open", 10),
        ("u", 16),
        ("cross", 20),
        ("spiral", 32),
        ("serpentine", 24),
        ("misleading", 21),
        ("dead_end", 30),
    ],
)
def test_path_lengths_of_named_layouts(name, length):
    assert MazeLayout.from_name(name).path_length() == length


@pytest.mark.parametrize("name", NAMED_LAYOUTS)
def test_no_named_layout_has_a_short_cut_past_a_corner(name):
    """Only end points are tested by the dynamics, so two free cells that touch in a corner are a passage."""
    free = set(map(tuple, MazeLayout.from_name(name).cells.tolist()))
    for (x, y), dx in itertools.product(free, (-1, 1)):
        if (x + dx, y + 1) in free:
            assert (x + dx, y) in free or (x, y + 1) in free, (x, y, dx)


@pytest.mark.parametrize("name", ["misleading", "dead_end", "cross"])
def test_misleading_layouts_mislead(name):
    """Some cell nearer to the target than three units is further on foot than the start."""
    layout = MazeLayout.from_name(name)
    straight = np.linalg.norm(layout.cells - np.array(layout.target), axis=1)
    assert layout.distances_to_target()[straight <= 3].max() >= layout.path_length()


def test_npz_and_txt_hold_the_same_maze(tmp_path):
    layout = MazeLayout.from_rows(HOOK, "hook")
    (tmp_path / "hook.txt").write_text("\n".join(HOOK) + "\n")
    walls = np.ones((7, 7), bool)
    walls[tuple((layout.cells + 3).T)] = False
    save(tmp_path / "hook.npz", walls=walls, radius=2)
    for suffix in ("txt", "npz"):
        loaded = MazeLayout.from_name(str(tmp_path / f"hook.{suffix}"))
        assert loaded.name == "hook"
        assert loaded.to_rows() == layout.to_rows()


def test_npz_target_and_dimension(tmp_path):
    path = save(tmp_path / "m.npz", walls=walls_of(2, 3), radius=2, target=np.array([-2, 0, 1]))
    layout = MazeLayout.load(path)
    assert (layout.dim, layout.target, layout.path_length(), len(layout.keys)) == (3, (-2, 0, 1), 3, 125)


def shell_hole(walls):
    walls[0, 2] = False
    return walls


def wall_at(walls, *cells):
    for cell in cells:
        walls[cell] = True
    return walls


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"walls": walls_of()}, "key 'radius' is missing"),
        ({"radius": 1}, "key 'walls' is missing"),
        ({"walls": walls_of(), "radius": 2}, r"shape \(5, 5\), but radius 2 needs side 2r\+3 = 7"),
        ({"walls": walls_of()[:, :4], "radius": 1}, r"shape \(5, 4\)"),
        ({"walls": walls_of().astype(float), "radius": 1}, "walls must be bool, got float64"),
        ({"walls": walls_of(), "radius": 1.0}, "radius must be one whole number"),
        ({"walls": walls_of(), "radius": 0}, "radius must be at least 1, got 0"),
        ({"walls": walls_of(dim=1), "radius": 1}, "dim must be at least 2, got 1"),
        ({"walls": shell_hole(walls_of()), "radius": 1}, r"cell \(-2, 0\) on the shell is free"),
        ({"walls": walls_of(), "radius": 1, "target": [1, 2]}, r"target \(1, 2\) is not a cell"),
        ({"walls": walls_of(), "radius": 1, "target": [1]}, "target must be 2 integers"),
        ({"walls": walls_of(), "radius": 1, "target": [0, 0]}, "target is the start cell"),
        ({"walls": wall_at(walls_of(), (2, 2)), "radius": 1}, r"start cell \(0, 0\) is wall"),
        ({"walls": wall_at(walls_of(), (3, 3)), "radius": 1}, r"target cell \(1, 1\) is wall"),
        (
            {"walls": wall_at(walls_of(), (2, 3), (3, 2)), "radius": 1},
            r"no way leads from the start \(0, 0\)",
        ),
        ({"walls": np.array([None]), "radius": 1}, "cannot be read as .npz"),
    ],
)
def test_bad_npz(tmp_path, arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        MazeLayout.load(save(tmp_path / "bad.npz", **arrays))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["#####"] * 4, "4 rows, and row 0 has 5 characters"),
        (["####"] * 4, "4 rows; a maze"),
        (["#####", "#...#", "#.?.#", "#...#", "#####"], r"unknown character '\?'"),
        (["#####", "#..S#", "#...#", "#...#", "#####"], r"S stands at \(1, 1\)"),
        (["#####", "#G.G#", "#...#", "#...#", "#####"], "2 cells are marked G"),
        (["#####", "#.#G#", "#.S##", "#...#", "#####"], "no way leads"),
        (["", " "], "'rows' has no rows; draw the maze"),
        (["", "#####", "", "#..G#"], "row 3 is blank; take it out"),
    ],
)
def test_bad_rows(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        MazeLayout.from_rows(rows)


def test_missing_file_and_unknown_ending(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz' does not exist; give a path"):
        MazeLayout.from_name(str(tmp_path / "nowhere.npz"))
    (tmp_path / "maze.csv").write_text("")
    with pytest.raises(ValueError, match=r"ending '\.csv' is unknown"):
        MazeLayout.load(tmp_path / "maze.csv")


@pytest.mark.parametrize("read", [MazeLayout.from_name, GridLayout.from_name])
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("maze.npz", b"", "cannot be read as .npz: it is empty; save it with numpy"),
        ("maze.npz", b"not a zip file", "cannot be read as .npz: it is no .npz archive; save it with numpy"),
        ("maze.txt", b"", "is empty; draw the maze"),
        ("maze.txt", b"\x93NUMPY", "is no text (UTF-8); draw the maze"),
        ("maze.txt", None, "is a folder; give a path to a .npz or .txt file"),
    ],
)
def test_files_that_hold_no_maze_are_named(tmp_path, read, name, content, sentence):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"layout file {str(path)!r} {sentence}")):
        read(str(path))


def test_blank_lines_round_a_maze_do_not_count_and_rows_need_no_file(tmp_path):
    drawing = "\n \n" + "\n".join(HOOK) + "\n\n"
    (tmp_path / "hook.txt").write_text(drawing)
    for name in (str(tmp_path / "hook.txt"), drawing):
        assert MazeLayout.from_name(name).to_rows() == HOOK
        assert GridLayout.from_name(name).path_length() == MazeLayout.from_rows(HOOK).path_length()


def test_unknown_name_suggests():
    with pytest.raises(ValueError, match="did you mean 'serpentine'"):
        MazeLayout.from_name("serpentin")
    with pytest.raises(ValueError, match=r"unknown layout 'xyzzy'; known are .*misleading"):
        check_name("xyzzy")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((1, 3, 1, 0), "dim must be at least 2"),
        ((2, 0, 1, 0), "radius must be at least 1"),
        ((2, 3, 0, 0), "corridors >= 1"),
        ((2, 3, 1, -1), "dead_ends=-1"),
        ((20, 10, 1, 0), "too many"),
    ],
)
def test_generate_rejects(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        generate(*arguments, seed=0)


@settings(max_examples=25, deadline=None)
@given(
    dim=st.integers(2, 6),
    radius=st.integers(1, 5),
    corridors=st.integers(1, 12),
    dead_ends=st.integers(0, 6),
    seed=st.integers(0, 2**32),
)
def test_generated_mazes(dim, radius, corridors, dead_ends, seed):
    layout = generate(dim, radius, corridors, dead_ends, seed)
    assert layout.path_length() == dim * radius  # a monotone walk is a shortest way
    assert layout.target == (radius,) * dim
    assert np.abs(layout.cells).max() <= radius
    assert (np.diff(layout.keys) > 0).all()
    assert (layout.distances_to_target() >= 0).all()  # every branch hangs on a corridor
    assert len(layout.keys) <= corridors * dim * radius + 1 + dead_ends * max(1, radius // 2)
    assert np.array_equal(layout.keys, generate(dim, radius, corridors, dead_ends, seed).keys)


def test_seeds_give_different_mazes():
    a, b = (generate(4, 5, 20, 5, seed).keys for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_dead_ends_add_cells():
    without, with_branches = (len(generate(3, 6, 1, count, 0).keys) for count in (0, 20))
    assert without == 3 * 6 + 1
    assert with_branches > without
