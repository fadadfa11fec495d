"""Maze layouts of any dimension, stored as the list of their free cells.

A maze of radius r has cells in {-r-1, ..., r+1}^n, of which the outermost shell is wall. A position x lies in
the cell trunc(x), so cell 0 is two units wide along each axis and the others one. The start is the cell 0.
A cell is known by its key: its index vector ``cell + r + 1`` read as a number in base ``2r + 3``. Memory
grows with the number of free cells, never with the number of cells.
"""

import difflib
import os
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from discover_envs.named_layouts import NAMED_LAYOUTS

FILE_SUFFIXES = (".npz", ".txt")
PUBLISHED = ("rand_2d_10h.npz", "rand_3d_7h.npz", "rand_4d_5h.npz", "rand_5d_4h.npz")
"""Files of the published code of arXiv 2505.19850, which the recipes maze_2d to maze_5d look for."""
PUBLISHED_FOLDER = "DISCOVER_LAYOUTS"
"""Environment variable that names their folder; the recipes read it."""
STRAIGHTNESS = 0.75  # chance that a generated corridor keeps its axis for one more cell
UNREACHABLE = -1


@dataclass(frozen=True, eq=False)
class MazeLayout:
    """A maze that is known to be solvable by moves of one cell along one axis.

    Attributes:
        name: How the maze is called in pictures and error messages.
        dim: Number of dimensions n, at least 2.
        radius: Radius r, at least 1: free cells have coordinates from -r to r.
        keys: Sorted, distinct keys of the free cells.
        target: Cell of the target, n coordinates from -r to r.

    Raises:
        ValueError: If a number is out of range, a free cell lies on the shell, the start or the target is
            wall, the two are the same cell, or no way leads from one to the other.
    """

    name: str
    dim: int
    radius: int
    keys: Int64[np.ndarray, "cell"]
    target: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_size(self.name, self.dim, self.radius)
        _check_cells(self)
        if self.path_length() == UNREACHABLE:
            raise ValueError(
                f"layout {self.name!r}: no way leads from the start {self.start} to the target {self.target} "
                "by moves of one cell along one axis; free the cells between them or move the target"
            )

    @classmethod
    def from_name(cls, name: str) -> "MazeLayout":
        """A hand-drawn layout by its name, a file where ``name`` ends in ``.npz`` or ``.txt``, or rows of text.

        Raises:
            ValueError: If the name is unknown or the layout is bad.
            FileNotFoundError: If the file is not there.
        """
        if is_drawing(name):
            return cls.from_rows(name.split("\n"))
        if name.endswith(FILE_SUFFIXES):
            return cls.load(name)
        check_name(name)
        return cls.from_rows(NAMED_LAYOUTS[name], name)

    @classmethod
    def load(cls, path: str | Path) -> "MazeLayout":
        """Read a layout from a file.

        A ``.npz`` holds ``walls`` (bool, side 2r+3 along each axis), ``radius`` and optionally ``target``
        (n whole numbers; default (r, ..., r)). A ``.txt`` holds the rows of a 2-D maze; see ``from_rows``.

        Raises:
            FileNotFoundError: If the file is not there.
            ValueError: If its content is not a solvable maze.
        """
        path = existing_file(path, NAMED_LAYOUTS)
        if path.suffix == ".npz":
            return _load_npz(path)
        if path.suffix == ".txt":
            return cls.from_rows(read_rows(path), path.stem)
        raise ValueError(f"layout file {str(path)!r}: ending {path.suffix!r} is unknown; use .npz or .txt")

    @classmethod
    def from_rows(cls, rows: Sequence[str], name: str = "rows") -> "MazeLayout":
        """A 2-D maze from text, the top row first, the shell of walls included.

        ``#`` is wall, a space or ``.`` is free, ``S`` marks the start (optional; only the middle cell can be
        it) and ``G`` the target (default: the top right free corner). The first coordinate grows to the
        right, the second upwards. Blank rows above and below do not count.

        Raises:
            ValueError: If the rows are not a square of odd side, hold another character, or are no maze.
        """
        rows = trimmed(rows, name)
        side = len(rows)
        bad_row = next((i for i, row in enumerate(rows) if len(row) != side), None)
        if bad_row is not None or side < 5 or side % 2 == 0:
            what = "" if bad_row is None else f", and row {bad_row} has {len(rows[bad_row])} characters"
            raise ValueError(f"layout {name!r}: {side} rows{what}; a maze of radius r >= 1 has 2r+3 rows as long")
        grid = np.array([list(row) for row in rows])[::-1].T  # axis 0 to the right, axis 1 upwards
        radius = (side - 3) // 2
        unknown = sorted(set(grid.ravel().tolist()) - set("# .SG"))
        if unknown:
            raise ValueError(f"layout {name!r}: unknown character {unknown[0]!r}; use '#', '.', 'S' and 'G'")
        starts, targets = (np.argwhere(grid == mark) - radius - 1 for mark in "SG")
        stray = starts[starts.any(1)]
        if len(stray):
            raise ValueError(
                f"layout {name!r}: S stands at {tuple(map(int, stray[0]))}, but the start is the middle cell "
                "(0, 0); shift the maze or leave S out"
            )
        if len(targets) > 1:
            raise ValueError(f"layout {name!r}: {len(targets)} cells are marked G; mark one")
        target = targets[0].tolist() if len(targets) else [radius, radius]
        return _from_walls(grid == "#", name, radius, tuple(target))

    def to_rows(self) -> list[str]:
        """The rows that ``from_rows`` reads back as this layout.

        Raises:
            ValueError: If the maze is not 2-D.
        """
        if self.dim != 2:
            raise ValueError(f"layout {self.name!r}: only 2-D mazes can be written as rows, this one is {self.dim}-D")
        grid = np.full((self.side, self.side), "#")
        marks = [(self.cells, "."), (np.array([self.start]), "S"), (np.array([self.target]), "G")]
        for cells, mark in marks:
            grid[tuple((cells + self.radius + 1).T)] = mark
        return ["".join(row) for row in grid.T[::-1]]

    @property
    def side(self) -> int:
        """Number of cells along an axis, shell included."""
        return 2 * self.radius + 3

    @property
    def start(self) -> tuple[int, ...]:
        """Cell of the start: the origin."""
        return (0,) * self.dim

    @cached_property
    def cells(self) -> Int64[np.ndarray, "cell dim"]:
        """Coordinates of the free cells, from -r to r, in the order of ``keys``."""
        return self.keys[:, None] // self.strides % self.side - self.radius - 1

    @property
    def strides(self) -> Int64[np.ndarray, "dim"]:
        """What a step of one cell along each axis adds to the key."""
        return self.side ** np.arange(self.dim - 1, -1, -1, dtype=np.int64)

    def keys_of(self, cells: Int64[np.ndarray, "some dim"]) -> Int64[np.ndarray, "some"]:
        """Keys of cells given by their coordinates."""
        return (cells + self.radius + 1) @ self.strides

    def distances_to_target(self) -> Int64[np.ndarray, "cell"]:
        """Least number of moves of one cell along one axis to the target; -1 where no way leads there."""
        return self._distances

    def path_length(self) -> int:
        """Least number of such moves from the start to the target."""
        start = self.keys_of(np.array([self.start], np.int64))
        return int(self._distances[np.searchsorted(self.keys, start)[0]])

    @cached_property
    def _distances(self) -> Int64[np.ndarray, "cell"]:
        distances = np.full(len(self.keys), UNREACHABLE, np.int64)
        moves = np.concatenate([self.strides, -self.strides])
        frontier = np.searchsorted(self.keys, self.keys_of(np.array([self.target], np.int64)))
        steps = 0
        while len(frontier):
            distances[frontier] = steps
            # Free cells never lie on the shell, so a move cannot wrap round to the other side of the grid.
            near = (self.keys[frontier, None] + moves).ravel()
            found = np.searchsorted(self.keys, near).clip(max=len(self.keys) - 1)
            reached = np.zeros(len(self.keys), bool)
            reached[found[self.keys[found] == near]] = True
            frontier = np.flatnonzero(reached & (distances == UNREACHABLE))
            steps += 1
        return distances


@lru_cache(maxsize=4)
def generate(dim: int, radius: int, corridors: int, dead_ends: int, seed: int) -> MazeLayout:
    """Draw a maze: corridors from the centre to random corners, and short branches off them.

    Each corridor is one cell wide and walks towards its corner only, one axis at a time. The first one leads
    to the target (r, ..., r). A branch is a straight run of at most max(1, r // 2) cells off a corridor. The last
    few mazes are kept: large ones take a second, and one process often makes many environments of one maze.

    Args:
        dim: Number of dimensions, at least 2.
        radius: Radius in cells, at least 1.
        corridors: Number of corridors, at least 1.
        dead_ends: Number of branches, at least 0.
        seed: Seed; the same arguments give the same maze.

    Raises:
        ValueError: If an argument is out of range.
    """
    name = f"generated {dim}-D r{radius}"
    _check_size(name, dim, radius)
    if corridors < 1 or dead_ends < 0:
        raise ValueError(
            f"layout {name!r}: needs corridors >= 1 and dead_ends >= 0, got corridors={corridors} and "
            f"dead_ends={dead_ends}"
        )
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], size=(corridors, dim))
    signs[0] = 1
    keys = _walks(rng, signs, radius)
    if dead_ends:
        keys = _sorted_once(np.concatenate([keys, *(_branch(rng, keys, dim, radius) for _ in range(dead_ends))]))
    return MazeLayout(name, dim, radius, keys, (radius,) * dim)


def check_name(name: str, known: Collection[str] = NAMED_LAYOUTS.keys()) -> None:
    """Raise ``ValueError`` unless ``name`` is a known layout, a drawing or looks like a file; suggests the nearest.

    Args:
        name: What is given as a layout.
        known: Names of hand-drawn layouts.
    """
    if name in known or is_drawing(name) or name.endswith(FILE_SUFFIXES):
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(
        f"unknown layout {name!r}; {hint}known are {', '.join(sorted(known))}, 'generated', "
        "and paths to .npz or .txt files"
    )


def is_drawing(layout: str) -> bool:
    """Whether a layout is given by its rows, not by a name or a path."""
    return "\n" in layout


def existing_file(path: str | Path, known: Collection[str]) -> Path:
    """The path of a layout file that is there.

    Args:
        path: The path.
        known: Names of layouts that need no file, for the message.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"layout file {str(path)!r} is a folder; give a path to a .npz or .txt file")
    if not path.is_file() and path.name in PUBLISHED:
        folder = os.environ.get(PUBLISHED_FOLDER)
        raise FileNotFoundError(
            f"layout file {str(path)!r} does not exist; copy {path.name} from the published code of arXiv 2505.19850 "
            f"into a folder and name the folder in the environment variable {PUBLISHED_FOLDER}, which is "
            f"{'not set' if folder is None else repr(folder)}"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"layout file {str(path)!r} does not exist; give a path to a .npz or .txt file, or one of "
            f"{', '.join(sorted(known))}"
        )
    return path


def read_rows(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        ValueError: If it is no text, or holds none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"layout file {str(path)!r} is no text (UTF-8); draw the maze with '#', '.', 'S' and 'G'"
        ) from error
    if not text.strip():
        raise ValueError(f"layout file {str(path)!r} is empty; draw the maze with '#', '.', 'S' and 'G'")
    return text.split("\n")


def trimmed(rows: Sequence[str], name: str) -> Sequence[str]:
    """Rows of a maze without the blank ones above and below.

    Raises:
        ValueError: If all are blank, or one between others is.
    """
    drawn = [i for i, row in enumerate(rows) if row.strip()]
    if not drawn:
        raise ValueError(f"layout {name!r} has no rows; draw the maze with '#', '.', 'S' and 'G'")
    blank = next((i for i in range(drawn[0], drawn[-1]) if not rows[i].strip()), None)
    if blank is not None:
        raise ValueError(f"layout {name!r}: row {blank + 1} is blank; take it out, or draw it")
    return rows[drawn[0] : drawn[-1] + 1]


def _walks(
    rng: np.random.Generator, signs: Int64[np.ndarray, "corridor dim"], radius: int
) -> Int64[np.ndarray, "cell"]:
    """Keys of the cells of one walk for each row of ``signs``, from the origin to the corner ``radius * signs``.

    All walks advance together, and only keys are kept: dense mazes of many dimensions have 100,000 corridors.
    """
    corridors, dim = signs.shape
    strides = signs * (2 * radius + 3) ** np.arange(dim - 1, -1, -1, dtype=np.int64)
    left = np.full((corridors, dim), radius, np.int8)
    axis = rng.integers(dim, size=corridors)
    every = np.arange(corridors)
    keys = np.full(corridors, np.abs(strides[0]).sum() * (radius + 1))
    walked = [keys]
    for _ in range(dim * radius):
        turns = (left[every, axis] == 0) | (rng.random(corridors) > STRAIGHTNESS)
        lots = np.where(left > 0, rng.random((corridors, dim), np.float32), -1)
        axis = np.where(turns, lots.argmax(1), axis)
        left[every, axis] -= 1
        keys = keys + strides[every, axis]
        walked.append(keys)
    return _sorted_once(np.concatenate(walked))


def _branch(
    rng: np.random.Generator, keys: Int64[np.ndarray, "cell"], dim: int, radius: int
) -> Int64[np.ndarray, "length"]:
    """Keys of a straight run off a random cell, cut at the shell (so possibly empty)."""
    strides = (2 * radius + 3) ** np.arange(dim - 1, -1, -1, dtype=np.int64)
    root = keys[rng.integers(len(keys))] // strides % (2 * radius + 3) - radius - 1
    direction = np.zeros(dim, np.int64)
    direction[rng.integers(dim)] = rng.choice([-1, 1])
    length = int(rng.integers(1, max(1, radius // 2) + 1))
    run = root + direction * np.arange(1, length + 1)[:, None]
    return (run[(np.abs(run) <= radius).all(1)] + radius + 1) @ strides


def _sorted_once(keys: Int64[np.ndarray, "any"]) -> Int64[np.ndarray, "cell"]:
    """As np.unique, whose hashing takes many times as long for millions of keys."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]


def _load_npz(path: Path) -> MazeLayout:
    """Read a dense boolean grid; see ``MazeLayout.load``."""
    how = "save it with numpy.savez(path, walls=<bool grid>, radius=<int>)"
    if not zipfile.is_zipfile(path):
        what = "is no .npz archive" if path.stat().st_size else "is empty"
        raise ValueError(f"layout file {str(path)!r} cannot be read as .npz: it {what}; {how}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"layout file {str(path)!r} cannot be read as .npz: it is damaged, or holds Python objects; {how}"
        ) from error
    missing = [key for key in ("walls", "radius") if key not in arrays]
    if missing:
        raise ValueError(f"layout file {str(path)!r}: key {missing[0]!r} is missing (found: {list(arrays)}); {how}")
    walls, radius = arrays["walls"], arrays["radius"]
    if radius.shape != () or radius.dtype.kind not in "iu":
        raise ValueError(f"layout file {str(path)!r}: radius must be one whole number, got {radius!r}")
    target = arrays.get("target", np.full(walls.ndim, radius))
    if target.shape != (walls.ndim,) or target.dtype.kind not in "iu":
        raise ValueError(f"layout file {str(path)!r}: target must be {walls.ndim} integers, got {target!r}")
    return _from_walls(walls, path.stem, int(radius), tuple(target.tolist()))


def _from_walls(walls: np.ndarray, name: str, radius: int, target: tuple[int, ...]) -> MazeLayout:
    """A layout from a dense grid that may still be wrong in any way."""
    _check_size(name, walls.ndim, radius)
    side = 2 * radius + 3
    if walls.dtype != np.bool_:
        raise ValueError(f"layout {name!r}: walls must be bool, got {walls.dtype}; save walls.astype(bool)")
    if walls.shape != (side,) * walls.ndim:
        raise ValueError(
            f"layout {name!r}: walls has shape {walls.shape}, but radius {radius} needs side 2r+3 = {side} "
            "along each axis; correct the radius or add the shell of walls"
        )
    return MazeLayout(name, walls.ndim, radius, np.flatnonzero(~walls).astype(np.int64), target)


def _check_size(name: str, dim: int, radius: int) -> None:
    """Raise ``ValueError`` unless the dimension and the radius make a maze whose keys fit in 63 bits."""
    if dim < 2:
        raise ValueError(f"layout {name!r}: dim must be at least 2, got {dim}")
    if radius < 1:
        raise ValueError(f"layout {name!r}: radius must be at least 1, got {radius}")
    if (2 * radius + 3) ** dim >= 2**63:
        raise ValueError(f"layout {name!r}: (2*{radius}+3)^{dim} cells are too many to number; lower dim or radius")


def _check_cells(layout: MazeLayout) -> None:
    """Raise ``ValueError`` unless free cells lie inside the shell and start and target are two of them."""
    on_shell = (np.abs(layout.cells) > layout.radius).any(1)
    if on_shell.any():
        cell = tuple(map(int, layout.cells[on_shell][0]))
        raise ValueError(
            f"layout {layout.name!r}: cell {cell} on the shell is free, but the shell must be wall; "
            "surround the maze with walls and raise the radius by one"
        )
    if len(layout.target) != layout.dim or max(map(abs, layout.target)) > layout.radius:
        raise ValueError(
            f"layout {layout.name!r}: target {layout.target} is not a cell of a {layout.dim}-D maze of "
            f"radius {layout.radius}; give {layout.dim} integers from {-layout.radius} to {layout.radius}"
        )
    for what, cell in (("start", layout.start), ("target", layout.target)):
        key = layout.keys_of(np.array([cell], np.int64))[0]
        place = np.searchsorted(layout.keys, key)
        if place == len(layout.keys) or layout.keys[place] != key:
            raise ValueError(f"layout {layout.name!r}: the {what} cell {cell} is wall; free it or choose another maze")
    if layout.target == layout.start:
        raise ValueError(f"layout {layout.name!r}: the target is the start cell {layout.start}; move the target")
