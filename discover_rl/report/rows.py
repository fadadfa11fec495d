"""Learning curves as plain rows: one line of a CSV per seed and evaluation, all that tables and pictures need."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from discover_rl.report.atomic import write_atomically

COLUMNS = (
    "environment",
    "selector",
    "settings",
    "note",
    "device",
    "run",
    "seed",
    "steps",
    "success",
    "seconds",
)
REFERENCE = "discover"
"""The selector that stands first, and that the others are held against."""
PLANNED = "planned"
"""A column that tables of before lack."""


class Group(NamedTuple):
    """What the seeds of one line of a table have in common.

    Attributes:
        environment: Name of the environment.
        selector: Name of the goal selector.
        settings: Fingerprint of everything else but the seeds.
    """

    environment: str
    selector: str
    settings: str


@dataclass(frozen=True)
class Curve:
    """The evaluations of one seed.

    Attributes:
        group: What it shares with the other seeds of its line.
        seed: Its seed.
        steps: Environment steps of this seed at each evaluation, increasing.
        success: Share of the evaluation episodes that reached the target, in [0, 1].
        seconds: Wall time of its process until then; seeds trained together share a process.
        run: Number of its process.
        note: How its settings differ from those of other groups of its environment, in words; may be empty.
        device: What it was trained on; may be empty.
        source: Where it was read, for messages.
        planned: Environment steps it was to have; 0 if that is not known, or if it ended early because it had solved
            its task.

    Raises:
        ValueError: If there is no evaluation, a success is not in [0, 1], or the steps do not increase.
    """

    group: Group
    seed: int
    steps: Float[np.ndarray, "point"]
    success: Float[np.ndarray, "point"]
    seconds: Float[np.ndarray, "point"]
    run: int = 0
    note: str = ""
    device: str = ""
    source: str = ""
    planned: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether it has all the steps that it was to have."""
        return bool(self.steps[-1] >= self.planned)

    def __post_init__(self) -> None:
        where = f"{self.source}: seed {self.seed} of {self.group.selector} on {self.group.environment}"
        if len(self.steps) == 0:
            raise ValueError(f"{where} has no evaluation")
        if not ((self.success >= 0) & (self.success <= 1)).all():
            raise ValueError(f"{where} has a success that does not lie in [0, 1]")
        if not (np.diff(self.steps) > 0).all():
            raise ValueError(f"{where} has steps that do not increase; are two runs in one table?")


def write_rows(path: Path, curves: Iterable[Curve]) -> None:
    """Write the curves as CSV, one row per seed and evaluation; the folder is made where missing.

    Args:
        path: The file; an old one is replaced.
        curves: What to write.

    Raises:
        OSError: If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, PLANNED])
    for curve in curves:
        head = (*curve.group, curve.note, curve.device, curve.run, curve.seed)
        for steps, success, seconds in zip(curve.steps, curve.success, curve.seconds, strict=True):
            writer.writerow([*head, int(steps), f"{success:.6g}", f"{seconds:.1f}", int(curve.planned)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def read_rows(path: Path) -> list[Curve]:
    """Read what ``write_rows`` wrote.

    Args:
        path: The file; further columns are ignored.

    Raises:
        ValueError: If it is not such a table.
        FileNotFoundError: If there is no such file.
    """
    points: dict[tuple[Group, int, int], list[tuple[float, float, float]]] = {}
    words: dict[tuple[Group, int, int], tuple[str, str, float]] = {}
    kind = f"{path} is no table of rows, as table --rows writes it"
    try:
        file = io.StringIO(path.read_bytes().decode(), newline="")
    except UnicodeDecodeError as error:
        raise ValueError(f"{kind}: it is not text") from error
    reader = csv.DictReader(file)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise ValueError(f"{kind}: no column {', '.join(missing)}")
    for line in reader:
        try:
            group = Group(line["environment"], line["selector"], line["settings"])
            key = (group, int(line["run"]), int(line["seed"]))
            point = (float(line["steps"]), float(line["success"]), float(line["seconds"]))
            planned = float(line.get(PLANNED) or 0)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
        points.setdefault(key, []).append(point)
        words.setdefault(key, (line["note"], line["device"], planned))
    curves = []
    for (group, run, seed), found in points.items():
        steps, success, seconds = np.array(found).T
        note, device, planned = words[group, run, seed]
        curves.append(Curve(group, seed, steps, success, seconds, run, note, device, str(path), planned))
    return curves


def grouped(curves: Sequence[Curve]) -> dict[Group, list[Curve]]:
    """The curves of each line of a table, by seed; groups in the order of their environments and selectors.

    Raises:
        ValueError: If a seed stands twice in a group.
    """
    groups: dict[Group, dict[int, Curve]] = {}
    for curve in curves:
        seeds = groups.setdefault(curve.group, {})
        if curve.seed in seeds:
            sources = sorted({seeds[curve.seed].source, curve.source})
            raise ValueError(
                f"seed {curve.seed} of {curve.group.selector} on {curve.group.environment} stands twice, in "
                f"{' and in '.join(sources)}; name the runs to count one by one, without one of the two, "
                "or move it elsewhere"
            )
        seeds[curve.seed] = curve
    order = sorted(groups, key=_place)
    return {group: [groups[group][seed] for seed in sorted(groups[group])] for group in order}


def _place(group: Group) -> tuple[list[str | int], bool, str, str]:
    """The method of this project first, as the one that the others are held against."""
    return _natural(group.environment), group.selector != REFERENCE, group.selector, group.settings


def _natural(name: str) -> list[str | int]:
    """Sorts ``6d`` before ``10d``: letters and numbers in turn."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]
