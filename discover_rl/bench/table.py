"""Rows, how they are printed as they come, and as CSV or JSON."""

import csv
import io
import json
import string
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from discover_rl.report.atomic import write_atomically

RIVALS = ("graph", "eager", "loop", "sb3")
LABEL, CELL, WIDTH = 28, 9, 120  # characters


class Figure(NamedTuple):
    """One measured number.

    Attributes:
        rate: Per second; None where it could not be measured.
        note: Why not.
    """

    rate: float | None
    note: str = ""

    def times(self, factor: int | float) -> "Figure":
        """In a unit of which there are ``factor`` as many."""
        return self._replace(rate=None if self.rate is None else self.rate * factor)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        section: Section that it belongs to.
        what: What was measured, with its sizes.
        unit: What the rates count.
        ours: Ours, per second.
        floor: Rate at which the floor would be reached, per second.
        rivals: The same by other ways, by name.
        note: What is special about the row.
    """

    section: str
    what: str
    unit: str
    ours: Figure
    floor: float
    rivals: dict[str, Figure] = field(default_factory=dict)
    note: str = ""

    def ratio(self, rival: str) -> float | None:
        """Ours divided by a rival's, or by the ``floor``."""
        other = self.floor if rival == "floor" else self.rivals.get(rival, Figure(None)).rate
        return None if self.ours.rate is None or not other else self.ours.rate / other

    def scaled(self, what: str, unit: str, factor: int | float, rival_factor: int | float) -> "Row":
        """The same in another unit: ours and the floor times ``factor``, the rivals times ``rival_factor``."""
        rivals = {name: figure.times(rival_factor) for name, figure in self.rivals.items()}
        return Row(self.section, what, unit, self.ours.times(factor), self.floor * factor, rivals, self.note)


def format_rate(rate: int | float) -> str:
    """Three significant digits and a unit prefix, e.g. ``12.3k``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= 0.9995 * factor:
            return f"{_three(rate / factor)}{prefix}"
    return _three(rate)


def _three(value: int | float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f}" if value >= 0.995 else f"{value:.3g}"


def format_ratio(ratio: int | float) -> str:
    """Two significant digits, e.g. ``3.1x``."""
    if ratio >= 99.5:
        return f"{float(f'{ratio:.1e}'):.0f}x"
    return f"{ratio:#.2g}".rstrip(".") + "x"


class Printer:
    """Prints sections row by row, so that what was measured stands there if the bench is killed."""

    def __init__(self) -> None:
        self.columns: tuple[str, ...] = ()
        self.notes: list[str] = []

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, flush=True)

    def begin(self, title: str, rivals: Sequence[str]) -> None:
        """The head of a section."""
        self.columns, self.notes = ("floor", *rivals), []
        pairs = [name for rival in self.columns for name in (rival, f"/{rival}")]
        units = [unit for _ in self.columns for unit in ("1/s", "x")]
        self.line(f"\n{title}")
        self.line(_aligned("", ["ours", *pairs]))
        self.line(_aligned("", ["1/s", *units]))

    def row(self, row: Row) -> None:
        """One line of the section."""
        cells = [self._cell(row.ours)]
        for name in self.columns:
            cells.append(self._cell(Figure(row.floor) if name == "floor" else row.rivals.get(name, Figure(None))))
            ratio = row.ratio(name)
            cells.append("-" if ratio is None else format_ratio(ratio))
        self.line(_aligned(row.what + self._mark(row.note), cells))

    def end(self) -> None:
        """The notes of the section."""
        for number, note in enumerate(self.notes):
            self.paragraph(f"[{_letter(number)}] {note}", indent="  ")

    def paragraph(self, text: str, indent: str = "") -> None:
        """Text wrapped to the width of the table."""
        self.line(textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent))

    def _cell(self, figure: Figure) -> str:
        text = "-" if figure.rate is None else format_rate(figure.rate)
        return text + self._mark(figure.note)

    def _mark(self, note: str) -> str:
        if not note:
            return ""
        if note not in self.notes:
            self.notes.append(note)
        return f" [{_letter(self.notes.index(note))}]"


def _letter(number: int) -> str:
    return string.ascii_lowercase[number]


def _aligned(label: str, cells: Sequence[str]) -> str:
    return (f"{label:<{LABEL}}" + "".join(f" {cell:>{CELL}}" for cell in cells)).rstrip()


# -- files ---------------------------------------------------------------------------------------------------

FIELDS = (
    "section",
    "what",
    "unit",
    "ours",
    *(name for rival in ("floor", *RIVALS) for name in (rival, f"ours_per_{rival}")),
    "note",
)


def as_mapping(row: Row) -> dict[str, str | float | None]:
    """The row by ``FIELDS``; None where there is nothing."""
    notes = [row.note, row.ours.note, *(f"{name}: {figure.note}" for name, figure in row.rivals.items() if figure.note)]
    values: dict[str, str | float | None] = dict.fromkeys(FIELDS)
    values |= {"section": row.section, "what": row.what, "unit": row.unit, "ours": row.ours.rate}
    values |= {"note": "; ".join(note for note in notes if note)}
    for name in ("floor", *RIVALS):
        values[name] = row.floor if name == "floor" else row.rivals.get(name, Figure(None)).rate
        values[f"ours_per_{name}"] = row.ratio(name)
    return values


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows: JSON if the name ends in ``.json``, else CSV.

    Raises:
        OSError: If the file cannot be written.
    """
    mappings = [as_mapping(row) for row in rows]
    if path.suffix == ".json":
        text = json.dumps(mappings, indent=2)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, FIELDS)
        writer.writeheader()
        writer.writerows(mappings)
        text = buffer.getvalue()
    write_atomically(path, text.encode())
