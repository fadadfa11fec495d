"""Two-dimensional grids of cells for the MuJoCo mazes: from text, a name, a file or the maze generator.

Positions here are in cells: (x, y), x to the right, y upwards, the middle of the origin cell at (0, 0), every cell
one unit wide. The environment multiplies by its cell size to get metres.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int64

from discover_envs.layout import MazeLayout, check_name, existing_file, is_drawing, read_rows, trimmed
from discover_envs.mujoco_maze.layouts import CENTRED, GRID_LAYOUTS
from discover_envs.named_layouts import NAMED_LAYOUTS

KNOWN = (*GRID_LAYOUTS, *NAMED_LAYOUTS)
UNREACHABLE = -1
NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True, eq=False)
class Box:
    """A block of wall cells: its middle and half of its extent, in cells."""

    x: float
    y: float
    half_x: float
    half_y: float


@dataclass(frozen=True, eq=False)
class GridLayout:
    """A maze of square cells that is known to be solvable.

    Attributes:
        name: How the maze is called in pictures and error messages.
        walls: True where wall, [column, row from below]; surrounded by walls.
        start: Column and row of the start.
        target: Column and row of the target.
        origin: Column and row of the position (0, 0), not always whole.

    Raises:
        ValueError: If the shell is open, start and target are not two free cells, or no way joins them.
    """

    name: str
    walls: Bool[np.ndarray, "column row"]
    start: tuple[int, int]
    target: tuple[int, int]
    origin: tuple[float, float]

    def __post_init__(self) -> None:
        walls = self.walls
        if min(walls.shape) < 3 or not (walls[[0, -1]].all() and walls[:, [0, -1]].all()):
            raise ValueError(f"layout {self.name!r}: the shell must be wall; surround the maze with '#'")
        if walls[self.start] or walls[self.target] or self.start == self.target:
            raise ValueError(
                f"layout {self.name!r}: start {self.start} and target {self.target} must be two free cells"
            )
        if self.path_length() == UNREACHABLE:
            raise ValueError(
                f"layout {self.name!r}: no way leads from the start {self.start} to the target {self.target}; "
                "free the cells between them or move the target"
            )

    @classmethod
    def from_rows(cls, rows: Sequence[str], name: str = "rows", centred: bool = False) -> "GridLayout":
        """A maze from text, the top row first, the shell of walls included.

        Args:
            rows: ``#`` wall, ``.`` or a space free, one ``S`` the start, one ``G`` the target. Blank rows above and
                below do not count.
            name: Name of the maze.
            centred: Whether (0, 0) is the middle of the map; else it is the middle of the start cell.

        Raises:
            ValueError: If the rows are no maze.
        """
        rows = trimmed(rows, name)
        widths = {len(row) for row in rows}
        if len(widths) != 1:
            raise ValueError(f"layout {name!r}: rows are {sorted(widths)} characters wide; give them one width")
        grid = np.array([list(row) for row in rows])[::-1].T
        unknown = sorted(set(grid.ravel().tolist()) - set("# .SG"))
        if unknown:
            raise ValueError(f"layout {name!r}: unknown character {unknown[0]!r}; use '#', '.', 'S' and 'G'")
        marks = []
        for mark, what in (("S", "start"), ("G", "target")):
            found = np.argwhere(grid == mark)
            if len(found) != 1:
                wrong = f"{len(found)} cells are marked" if len(found) else "no cell is marked"
                raise ValueError(f"layout {name!r}: {wrong} {mark} ({what}); mark one")
            marks.append((int(found[0, 0]), int(found[0, 1])))
        start, target = marks
        middle = ((grid.shape[0] - 1) / 2, (grid.shape[1] - 1) / 2)
        return cls(name, grid == "#", start, target, middle if centred else (float(start[0]), float(start[1])))

    @classmethod
    def from_name(cls, name: str, known: Collection[str] = KNOWN) -> "GridLayout":
        """A named layout, a ``.txt`` or ``.npz`` file, or rows of text; named 2-D point mazes are known too.

        Rows as a point maze has them may leave out ``S`` and ``G``, see ``MazeLayout.from_rows``.

        Args:
            name: What is given as a layout.
            known: Names of layouts, some of ``KNOWN``.

        Raises:
            ValueError: If the name is unknown or the layout is bad.
            FileNotFoundError: If the file is not there.
        """
        check_name(name, known)
        if name in GRID_LAYOUTS:
            return cls.from_rows(GRID_LAYOUTS[name], name, name in CENTRED)
        if is_drawing(name):
            return cls._from_drawing(name.split("\n"), "rows")
        if name in NAMED_LAYOUTS:
            return cls.from_point_maze(MazeLayout.from_name(name))
        path = existing_file(name, known)
        if path.suffix == ".txt":
            return cls._from_drawing(read_rows(path), name)
        return cls.from_point_maze(MazeLayout.load(path))

    @classmethod
    def _from_drawing(cls, rows: Sequence[str], name: str) -> "GridLayout":
        rows = trimmed(rows, name)
        if _is_point_maze(rows) and not all(any(mark in row for row in rows) for mark in "SG"):
            return cls.from_point_maze(MazeLayout.from_rows(rows, name))
        return cls.from_rows(rows, name)

    @classmethod
    def from_point_maze(cls, layout: MazeLayout) -> "GridLayout":
        """The same cells as a 2-D point maze, the start in the middle.

        Raises:
            ValueError: If the point maze is not 2-D.
        """
        return cls.from_rows(layout.to_rows(), layout.name)

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows, shell included."""
        columns, rows = self.walls.shape
        return columns, rows

    @cached_property
    def free_cells(self) -> Int64[np.ndarray, "cell 2"]:
        """Column and row of every free cell."""
        return np.argwhere(~self.walls).astype(np.int64)

    def position(self, cell: tuple[float | int, float | int]) -> tuple[float, float]:
        """The middle of a cell."""
        return cell[0] - self.origin[0], cell[1] - self.origin[1]

    @cached_property
    def distances(self) -> Int64[np.ndarray, "column row"]:
        """Least number of moves of one cell along one axis to the target; -1 in walls and where no way leads."""
        distances = np.full(self.shape, UNREACHABLE, np.int64)
        distances[self.target] = 0
        frontier = [self.target]
        while frontier:
            found = []
            for column, row in frontier:
                for dx, dy in NEIGHBOURS:
                    cell = (column + dx, row + dy)  # never outside: the shell is wall
                    if not self.walls[cell] and distances[cell] == UNREACHABLE:
                        distances[cell] = distances[column, row] + 1
                        found.append(cell)
            frontier = found
        return distances

    def path_length(self) -> int:
        """Least number of such moves from the start to the target."""
        return int(self.distances[self.start])

    def boxes(self) -> list[Box]:
        """The walls as few rectangles: greedily the largest one that the uncovered wall cells hold.

        Fewer geoms mean fewer pairs to test for collision.
        """
        left, boxes = self.walls.copy(), []
        while left.any():
            column, row, width, height = _largest_rectangle(left)
            left[column : column + width, row : row + height] = False
            x, y = self.position((column + (width - 1) / 2, row + (height - 1) / 2))
            boxes.append(Box(x, y, width / 2, height / 2))
        return boxes

    def cells_from_start(self) -> frozenset[tuple[int, int]]:
        """Free cells by their offset from the start: two mazes are the same where these are."""
        return frozenset((int(c) - self.start[0], int(r) - self.start[1]) for c, r in self.free_cells)

    @property
    def target_from_start(self) -> tuple[int, int]:
        """Offset of the target from the start."""
        return self.target[0] - self.start[0], self.target[1] - self.start[1]

    @cached_property
    def corners(self) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """Lower left and upper right corner of the map."""
        low = np.array(self.position((-0.5, -0.5)))
        return low, low + np.array(self.shape)


def _is_point_maze(rows: Sequence[str]) -> bool:
    """Whether rows are a square of odd side in which no cell but the middle one is marked as the start."""
    side, middle = len(rows), len(rows) // 2
    square = side >= 5 and side % 2 == 1 and all(len(row) == side for row in rows)
    return square and "".join(rows).count("S") == (rows[middle][middle] == "S")


def _largest_rectangle(cells: Bool[np.ndarray, "column row"]) -> tuple[int, int, int, int]:
    """Column, row, width and height of a largest rectangle of True cells; the first found on a tie."""
    best, place = 0, (0, 0, 0, 0)
    for column, row in np.argwhere(cells).tolist():
        height = cells.shape[1] - row
        for width in range(1, cells.shape[0] - column + 1):
            line = cells[column + width - 1, row : row + height]
            height = len(line) if line.all() else int(line.argmin())
            if height == 0:
                break
            if width * height > best:
                best, place = width * height, (column, row, width, height)
    return place
