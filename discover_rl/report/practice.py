"""What a language model practised: a line for each task of each batch, and the groups that the tasks belong to."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from discover_rl.report.atomic import write_atomically

TEXT_CONFIG, PRACTICE, GROUPS = "config.json", "practice.csv", "groups.csv"
"""Files in the folder of a run on texts."""
COLUMNS = ("attempts", "task", "group", "rate", "std", "observed", "counted")
TARGETS = "(targets)"
"""The group of targets that are practised themselves."""


class TaskGroup(NamedTuple):
    """Tasks of one kind.

    Attributes:
        name: Of the kind.
        tasks: How many the corpus has.
        likeness: To the targets: mean cosine of the embeddings.
    """

    name: str
    tasks: int
    likeness: float


class Practised(NamedTuple):
    """A task of a batch.

    Attributes:
        task: Its id.
        group: Name of its group.
        rate: Pass rate that was expected when it was chosen; nan for a target.
        std: Deviation of that belief.
        observed: Pass rate of the attempts then made.
        counted: Whether the selector chose it and learnt from how it went; not one drawn uniformly.
    """

    task: str
    group: str
    rate: float
    std: float
    observed: float
    counted: bool


class PracticeLog:
    """Writes ``groups.csv`` and ``practice.csv`` of a run.

    Args:
        run_dir: Folder of the run; it is there.
        groups: Kinds of tasks, the likest to the targets first.
        resume_attempts: Where the run goes on, in attempts so far: later lines are dropped. None for a new run.

    Raises:
        OSError: If a file cannot be written.
    """

    def __init__(self, run_dir: Path, groups: Sequence[TaskGroup], resume_attempts: int | None = None) -> None:
        self.path = run_dir / PRACTICE
        write_atomically(run_dir / GROUPS, _lines([TaskGroup._fields, *groups]))
        kept: list[list[str]] = []
        if resume_attempts is not None and self.path.is_file():
            kept = [row for row in _rows(self.path) if int(row[0]) <= resume_attempts]
        write_atomically(self.path, _lines([COLUMNS, *kept]))

    def write(self, attempts: int, practised: Sequence[Practised]) -> None:
        """Append a batch.

        Args:
            attempts: Attempts made so far, these included.
            practised: Its tasks.
        """
        lines = [
            (attempts, one.task, one.group, *(f"{x:.5g}" for x in one[2:5]), int(one.counted)) for one in practised
        ]
        with self.path.open("ab") as file:
            file.write(_lines(lines))


@dataclass(frozen=True)
class Practice:
    """Everything that a run practised; arrays have an entry for each task of each batch.

    Attributes:
        groups: Kinds of tasks, the likest to the targets first.
        attempts: Attempts made when its batch was through.
        group: Place in ``groups``; -1 for targets.
        rate: Expected pass rate; nan for targets.
        observed: Pass rate of the attempts.
    """

    groups: list[TaskGroup]
    attempts: Int[np.ndarray, "pick"]
    group: Int[np.ndarray, "pick"]
    rate: Float[np.ndarray, "pick"]
    observed: Float[np.ndarray, "pick"]


def read_practice(run_dir: Path) -> Practice | None:
    """What a run practised; None in a folder of before these files.

    Raises:
        ValueError: If a file is not what ``PracticeLog`` writes.
    """
    if not (run_dir / PRACTICE).is_file() or not (run_dir / GROUPS).is_file():
        return None
    with (run_dir / GROUPS).open(encoding="utf-8", newline="") as file:
        groups = [TaskGroup(row[0], int(row[1]), float(row[2])) for row in list(csv.reader(file))[1:]]
    rows = _rows(run_dir / PRACTICE)
    place = {group.name: index for index, group in enumerate(groups)}
    return Practice(
        groups,
        np.array([int(row[0]) for row in rows], dtype=np.int64),
        np.array([place.get(row[2], -1) for row in rows], dtype=np.int64),
        np.array([float(row[3]) for row in rows], dtype=np.float64),
        np.array([float(row[5]) for row in rows], dtype=np.float64),
    )


@dataclass(frozen=True)
class Calibration:
    """Expected pass rates against what was seen, in bins.

    Attributes:
        expected: Mean expected pass rate of each bin.
        observed: Mean pass rate seen.
        half: Half of the 95 % interval of that mean (normal approximation); nan for a single task.
        count: Tasks in the bin.
        error: Mean of |expected - observed| over all tasks.
        guess: The same if the mean of all that was seen had been expected of each.
    """

    expected: Float[np.ndarray, "bin"]
    observed: Float[np.ndarray, "bin"]
    half: Float[np.ndarray, "bin"]
    count: Int[np.ndarray, "bin"]
    error: float
    guess: float


def calibration(rate: Float[np.ndarray, "pick"], observed: Float[np.ndarray, "pick"], bins: int = 10) -> Calibration:
    """How far expected pass rates hold.

    Args:
        rate: Expected, in [0, 1]; nan where nothing was.
        observed: Seen.
        bins: Of equal width over [0, 1]; empty ones are left out.
    """
    known = ~np.isnan(rate)
    rate, observed = rate[known], observed[known]
    place = np.minimum((rate * bins).astype(int), bins - 1)
    used, count = np.unique(place, return_counts=True)
    members = [place == one for one in used]
    spread = np.array([observed[m].std(ddof=1) if m.sum() > 1 else math.nan for m in members])
    return Calibration(
        np.array([rate[m].mean() for m in members]),
        np.array([observed[m].mean() for m in members]),
        1.96 * spread / np.sqrt(np.maximum(count, 1)),
        count,
        float(np.abs(rate - observed).mean()) if len(rate) else math.nan,
        float(np.abs(observed - observed.mean()).mean()) if len(rate) else math.nan,
    )


def over_bins(
    attempts: Int[np.ndarray, "pick"], group: Int[np.ndarray, "pick"], values: Float[np.ndarray, "pick"], groups: int,
    edges: Float[np.ndarray, "edge"],
) -> tuple[Float[np.ndarray, "group bin"], Float[np.ndarray, "group bin"]]:  # fmt: skip
    """How much of each stretch of training went to each group, and the mean of some values there.

    Args:
        attempts: When each task was practised.
        group: Which it belongs to; negative ones count for the whole, but have no row.
        values: One for each task.
        groups: How many there are.
        edges: Of the stretches: a task belongs to the one with edge < attempts <= next edge.

    Returns:
        Shares in [0, 1] (nan where nothing was practised at all) and means (nan where that group was not).
    """
    place = np.searchsorted(edges, attempts, side="left") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    total = np.bincount(place[inside], minlength=len(edges) - 1)
    cells = np.zeros((groups, len(edges) - 1))
    sums = np.zeros_like(cells)
    kept = inside & (group >= 0)
    np.add.at(cells, (group[kept], place[kept]), 1)
    np.add.at(sums, (group[kept], place[kept]), values[kept])
    with np.errstate(divide="ignore", invalid="ignore"):
        return cells / total, sums / cells


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _rows(path: Path) -> list[list[str]]:
    """The lines of ``practice.csv``; what a killed process left unfinished is dropped."""
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    head, *rows = list(csv.reader(io.StringIO(whole))) or [[]]
    if tuple(head) != COLUMNS:
        raise ValueError(f"{path} is no list of practised tasks: its first line must be {','.join(COLUMNS)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS):
            raise ValueError(f"{path}, line {number}: {len(row)} cells under {len(COLUMNS)} columns")
    return rows
