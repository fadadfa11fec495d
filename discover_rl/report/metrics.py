"""Metrics of stacked runs: one row per seed in ``metrics.csv``, one TensorBoard run per seed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped

from discover_rl.report.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = "seed"
STEP = "time/total_timesteps"

Value: TypeAlias = Shaped[np.ndarray, "..."] | np.number | float | int
"""One metric: an array of shape (run,), or one number that holds for every run."""


class MetricsWriter:
    """Writes the rows of stacked runs to ``metrics.csv`` and to ``tensorboard/seed_<s>/``.

    Each row of ``metrics.csv`` is one seed at one step: ``seed``, ``time/total_timesteps``, then the tags in
    the order of their first use. A tag that a row lacks is an empty cell; a tag that turns up later widens
    the header. Every write reaches the operating system before it returns.

    Args:
        run_dir: Folder of the run; created where missing.
        seeds: The seed of each run, in the order of the run axis.
        resume_step: Where the run goes on, in environment steps: rows after it are dropped from
            ``metrics.csv`` and hidden in TensorBoard. None for a new run.

    Raises:
        ValueError: If seeds are missing or double, or an existing ``metrics.csv`` is of other seeds or not a
            file of metrics.
        FileExistsError: If this is a new run and ``metrics.csv`` is there already.
        OSError: If a file cannot be written.
    """

    def __init__(self, run_dir: Path, seeds: Sequence[int], resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # some seconds that only training should pay

        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"metrics: seeds must be distinct and at least one, got {list(seeds)}")
        self.seeds = list(seeds)
        self.path = run_dir / "metrics.csv"
        run_dir.mkdir(parents=True, exist_ok=True)
        self._columns = self._open_table(resume_step)
        self._file: BinaryIO = self.path.open("ab", buffering=0)
        purge = None if resume_step is None else resume_step + 1
        self._boards = [
            SummaryWriter(str(run_dir / "tensorboard" / f"seed_{seed}"), purge_step=purge) for seed in self.seeds
        ]

    def write(self, step: int, row: Mapping[str, Value]) -> None:
        """Append one row per seed.

        Args:
            step: Environment steps of each run so far; it becomes ``time/total_timesteps``.
            row: Tag -> array of shape (run,), or one number for every run.

        Raises:
            ValueError: If a tag cannot be a column or a value has another shape.
            OSError: If the disk is full, say; ``metrics.csv`` then ends with the row before.
        """
        values = {tag: self._per_run(tag, value) for tag, value in row.items()}
        self._widen([tag for tag in values if tag not in self._columns])
        lines = []
        for run, seed in enumerate(self.seeds):
            cells = [str(values[tag][run]) if tag in values else "" for tag in self._columns[2:]]
            lines.append(",".join([str(seed), str(step), *cells]) + "\n")
        self._append("".join(lines).encode())
        for run, board in enumerate(self._boards):
            for tag, value in values.items():
                board.add_scalar(tag, float(value[run]), step)
            board.flush()

    def figure(self, step: int, tag: str, figure: "Figure", seed: int | None = None) -> None:
        """Show a figure in TensorBoard.

        Args:
            step: Environment steps of each run so far.
            tag: Its name in TensorBoard.
            figure: A matplotlib figure.
            seed: The run under which it appears; the first if None.
        """
        # SummaryWriter.add_figure would pull in pyplot and its global list of figures.
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        board = self._boards[0 if seed is None else self.seeds.index(seed)]
        board.add_image(tag, pixels, step, dataformats="HWC")
        board.flush()

    def text(self, tag: str, text: str) -> None:
        """Show a text (the config, say) in TensorBoard under every seed, verbatim."""
        verbatim = "\n".join("    " + line for line in text.splitlines())  # TensorBoard renders Markdown
        for board in self._boards:
            board.add_text(tag, verbatim)
            board.flush()

    def close(self) -> None:
        """Close all files; closing twice is fine."""
        self._file.close()
        for board in self._boards:
            board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401 - type, value and traceback; none is used
        self.close()

    def _open_table(self, resume_step: int | None) -> list[str]:
        """Leave a valid table on the disk, nothing in it later than ``resume_step``; returns its columns."""
        columns, rows = [SEED, STEP], []
        if self.path.exists():
            if resume_step is None:
                raise FileExistsError(f"{self.path} exists: resume that run or choose another folder")
            columns, rows = _read_rows(self.path)
            strangers = {int(cells[0]) for cells in rows} - set(self.seeds)
            if strangers:
                raise ValueError(f"{self.path} holds seeds {sorted(strangers)}; this run has {self.seeds}")
            rows = [cells for cells in rows if int(cells[1]) <= resume_step]
        self._replace(columns, rows)
        return columns

    def _widen(self, tags: list[str]) -> None:
        if not tags:
            return
        columns, rows = _read_rows(self.path)
        empty = [""] * len(tags)
        self._replace([*columns, *tags], [cells + empty for cells in rows])
        self._columns += tags
        self._file.close()  # the open handle still points at the file that was replaced
        self._file = self.path.open("ab", buffering=0)

    def _replace(self, columns: list[str], rows: list[list[str]]) -> None:
        lines = [",".join(cells) + "\n" for cells in [columns, *rows]]
        write_atomically(self.path, "".join(lines).encode())

    def _append(self, data: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._file.truncate(start)  # or the next row would go on in the middle of this one
            raise OSError(error.errno, f"cannot append to {self.path}: {error.strerror}") from error

    def _per_run(self, tag: str, value: Value) -> Shaped[np.ndarray, "run"]:
        if tag in (SEED, STEP):
            raise ValueError(f"metrics: the column {tag!r} is filled by the writer itself")
        if not tag or any(character in tag for character in ',"\r\n'):
            raise ValueError(f"metrics: the tag {tag!r} is empty or has a comma, quote or line break")
        array = np.asarray(value)
        if array.shape not in ((), (len(self.seeds),)):
            raise ValueError(
                f"metrics: {tag!r} has shape {array.shape}; expected one number or shape ({len(self.seeds)},)"
            )
        if array.dtype == bool:
            array = array.astype(np.int64)
        return np.broadcast_to(array, (len(self.seeds),))


def read_metrics(path: Path) -> dict[str, Shaped[np.ndarray, "row"]]:
    """The columns of a ``metrics.csv``, also of one that is being written.

    Args:
        path: The file.

    Returns:
        Column name -> array of shape (row,): int64 for ``seed`` and ``time/total_timesteps``, float64 for
        the tags, nan where a cell is empty.

    Raises:
        ValueError: If the file is not a table of metrics.
        FileNotFoundError: If there is no such file.
    """
    columns, rows = _read_rows(path)
    table: dict[str, np.ndarray] = {}
    for index, name in enumerate(columns):
        cells = [row[index] for row in rows]
        if name in (SEED, STEP):
            table[name] = np.array([int(cell) for cell in cells], dtype=np.int64)
        else:
            table[name] = np.array([float(cell or "nan") for cell in cells], dtype=np.float64)
    return table


def select_seed(
    metrics: Mapping[str, Shaped[np.ndarray, "row"]], seed: int
) -> dict[str, Shaped[np.ndarray, "selected"]]:
    """The rows of one seed.

    Args:
        metrics: What ``read_metrics`` returned.
        seed: Which one.

    Raises:
        ValueError: If there is no row of that seed.
    """
    chosen = metrics[SEED] == seed
    if not chosen.any():
        raise ValueError(f"metrics: no row of seed {seed}; there are {np.unique(metrics[SEED]).tolist()}")
    return {name: column[chosen] for name, column in metrics.items()}


def curve(
    metrics: Mapping[str, Shaped[np.ndarray, "row"]], tag: str
) -> tuple[Float[np.ndarray, "point"], Float[np.ndarray, "point"]]:
    """Environment steps and values of one tag where it has a value; both empty where the tag is missing."""
    if tag not in metrics:
        return np.zeros(0), np.zeros(0)
    known = ~np.isnan(metrics[tag])
    return metrics[STEP][known].astype(np.float64), metrics[tag][known].astype(np.float64)


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    # What follows the last line break is a line that a killed process left unfinished.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    if not lines:
        return [SEED, STEP], []
    columns = lines[0].split(",")
    if columns[:2] != [SEED, STEP]:
        raise ValueError(f"{path} is no table of metrics: its first line must begin with {SEED},{STEP}")
    rows = [line.split(",") for line in lines[1:]]
    for number, cells in enumerate(rows, start=2):
        if len(cells) != len(columns):
            raise ValueError(f"{path}, line {number}: {len(cells)} cells under {len(columns)} columns")
    return columns, rows
