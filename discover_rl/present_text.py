"""From the folders of runs on texts to the report: what was practised when, what was expected, what came of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from discover_rl.report.atomic import write_atomically
from discover_rl.report.charts import Band, over_time
from discover_rl.report.curves import mean_series
from discover_rl.report.metrics import STEP, curve, read_metrics
from discover_rl.report.page import Section, chart, from_markdown, page, paragraph
from discover_rl.report.practice import TEXT_CONFIG, Practice, calibration, read_practice
from discover_rl.report.practice_charts import ATTEMPTS, Arm, calibration_chart, practice_map
from discover_rl.report.summary import LAST, bootstrap, mean, success_area
from discover_rl.report.table import share
from discover_rl.run_folder import METRICS
from discover_rl.text.ttc_config import FREE_KEYS

SUCCESS, GREEDY, SECONDS = "eval/success_rate", "eval/success_rate_greedy", "time/time_elapsed"
ON_TARGETS = (("sampled attempts at the test tasks", SUCCESS), ("greedy attempts at the test tasks", GREEDY))
IN_NUMBERS = (
    ("α, the weight of achievability", "goal/alpha"),
    ("groups of attempts with both outcomes, share", "text/mixed_groups"),
    ("mean reward at practice tasks", "rollout/reward"),
    ("different tasks attempted", "text/tasks_attempted"),
    ("deviation of the belief about targets", "text/target_std"),
    ("different answers to a task", "text/distinct_answers"),
)
PER_ROW, POINTS = 3, 50
COLOURS = {
    "discover": "#0072B2",
    "uniform": "#56B4E9",
    "sift": "#D55E00",
    "sift_online": "#E69F00",
    "achievable_sift": "#CC79A7",
    "easiest": "#009E73",
    "learnability": "#8C6D31",
    "oracle": "#222222",
}
OTHERS = ("#7570B3", "#A6761D", "#666666", "#E7298A", "#66A61E")

Series = tuple[Float[np.ndarray, "_point"], Float[np.ndarray, "_point"]]


@dataclass(frozen=True)
class TextRun:
    """The folder of a run on texts.

    Attributes:
        folder: Where.
        settings: Its configuration.
    """

    folder: Path
    settings: Mapping[str, Any]

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``."""
        return read_metrics(self.folder / METRICS)

    @cached_property
    def practice(self) -> Practice | None:
        """What it practised; None in a folder of before that was written."""
        found = read_practice(self.folder)
        return found if found is not None and len(found.attempts) else None

    def series(self, tag: str) -> Series:
        """A metric over attempts."""
        return curve(self.metrics, tag)

    def unfinished(self) -> str:
        """What is to be said of a run that has not practised all its batches; empty if it has, or if time ended it."""
        planned = int(self.settings.get("steps", 0)) * self._per_step()
        last = int(self.metrics[STEP].max(initial=0))
        if last >= planned or self.settings.get("minutes"):
            return ""
        return f"{self.folder} is not finished: {last:,} of {planned:,} attempts"

    def _per_step(self) -> int:
        return int(self.settings.get("batch_size", 0)) * int(self.settings.get("attempts", 0))


def text_runs(paths: Sequence[Path]) -> tuple[list[TextRun], list[str]]:
    """The runs on texts below some paths, and warnings about those left out."""
    folders: dict[Path, Path] = {}
    for path in paths:
        for found in sorted(path.rglob(TEXT_CONFIG)) if path.is_dir() else []:
            if (found.parent / METRICS).is_file():
                folders.setdefault(found.parent.resolve(), found.parent)
    runs, warnings = [], []
    for folder in folders.values():
        try:
            settings = json.loads((folder / TEXT_CONFIG).read_text(encoding="utf-8"))
            if not isinstance(settings, dict) or "curriculum" not in settings:
                continue  # a model's own config.json, say
            run = TextRun(folder, settings)
            if not len(run.metrics[STEP]):
                raise ValueError(f"{folder / METRICS} has no row yet")
            _ = run.practice
        except ValueError as error:
            warnings.append(f"left out: {error}")
            continue
        runs.append(run)
        warnings += [told for told in [run.unfinished()] if told]
    return runs, warnings


def write_text_report(runs: Sequence[TextRun], output: Path, title: str = "") -> list[str]:
    """Write one self-contained HTML file about some runs on texts.

    Args:
        runs: At least one.
        output: The file.
        title: Of the page.

    Returns:
        Warnings about what could not be shown.

    Raises:
        OSError: If the file cannot be written; an old one is unchanged.
    """
    arms = _arms(runs)
    drawn = [
        Arm(name, colour, [r.practice for r in members if r.practice is not None]) for name, colour, members in arms
    ]
    warnings = [
        f"{arm.name}: its runs had corpora with different kinds of tasks; their practice is not shown"
        for arm in drawn
        if arm.runs and arm.joined() is None
    ]
    shown = [arm for arm in drawn if arm.joined() is not None]
    sections = [
        _lines("Targets", arms, ON_TARGETS, "targets"),
        *_practice(shown),
        _lines("The curriculum in numbers", arms, IN_NUMBERS, "numbers"),
        Section("Table", [from_markdown(_table(arms))]),
    ]
    counts = {"run": len(runs), "curriculum": len(arms)}
    plurals = {"run": "runs", "curriculum": "curricula"}
    subtitle = ", ".join(f"{count} {name if count == 1 else plurals[name]}" for name, count in counts.items())
    subtitle += (
        ". Bands are 95 % bootstrap intervals over runs. Click a name in a legend to hide it, double-click to see it "
        "alone."
    )
    text = page(title or f"{', '.join(name for name, _, _ in arms)}: practice for the targets", subtitle, [
        section for section in sections if section.parts
    ])  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text.encode())
    return warnings


def _arms(runs: Sequence[TextRun]) -> list[tuple[str, str, list[TextRun]]]:
    """Runs that differ in their seeds alone, with a name and a colour."""
    found: dict[str, list[TextRun]] = {}
    for run in runs:
        found.setdefault(json.dumps(_compared(run), sort_keys=True), []).append(run)
    members = sorted(found.values(), key=lambda some: str(some[0].settings["curriculum"]) != "discover")
    arms, others = [], iter(OTHERS * len(members))
    for some in members:
        name = str(some[0].settings["curriculum"])
        alike = [other[0] for other in members if other[0].settings["curriculum"] == name]
        mine = _compared(some[0])
        keys = sorted(
            key for key in mine if any(_compared(other).get(key) != mine[key] for other in alike)
        )  # fmt: skip
        if keys:
            name += f" ({', '.join(f'{key}={mine[key]}' for key in keys)})"
        plain = name if name in COLOURS and not any(name == arm[0] for arm in arms) else ""
        arms.append((name, COLOURS[plain] if plain else next(others), some))
    return arms


def _compared(run: TextRun) -> dict[str, Any]:
    free = (*FREE_KEYS, "seed")
    kept = {key: value for key, value in run.settings.items() if key not in free}
    return {key: Path(value).name if key in ("model", "targets", "corpus", "test", "oracle") else value
            for key, value in kept.items()}  # fmt: skip


def _lines(
    title: str, arms: Sequence[tuple[str, str, list[TextRun]]], quantities: Sequence[tuple[str, str]], name: str
) -> Section:
    section = Section(title)
    shown: list[tuple[str, list[tuple[str, str, Band]]]] = []
    for heading, tag in quantities:
        lines = []
        for arm, colour, runs in arms:
            series = [_smoothed(found) for found in (run.series(tag) for run in runs) if len(found[0])]
            if series and not (tag == "goal/alpha" and all(np.ptp(values) == 0 for _, values in series)):
                lines.append((arm, colour, mean_series(series)))
        if lines:
            shown.append((heading, lines))
    for first in range(0, len(shown), PER_ROW):
        figure: Any = over_time(shown[first : first + PER_ROW])
        figure.update_xaxes(title_text=ATTEMPTS)
        if name == "targets":
            figure.update_yaxes(tickformat=",.2~%")
        section.parts.append(chart(figure, f"{name}-{first // PER_ROW}"))
    return section


def _smoothed(series: Series) -> Series:
    """Means over stretches of a series with more points than a chart can show."""
    steps, values = series
    if len(steps) <= POINTS:
        return series
    parts = np.array_split(np.arange(len(steps)), POINTS)
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def _practice(arms: Sequence[Arm]) -> list[Section]:
    if not arms:
        return []
    what = Section(
        "What was practised when",
        [
            paragraph(
                "Kinds of tasks, the likest to the targets on top, with the number of tasks in the corpus. Left: "
                "where the practice of each stretch of training went; white: nowhere. Right: how often attempts then "
                "succeeded.",
                note=True,
            ),
            chart(practice_map(arms), "practice"),
        ],
    )
    expected = Section(
        "Expected and seen pass rates",
        [
            paragraph(
                "What the curriculum expected of a task when it chose it, and the share of the attempts then made that "
                "succeeded. A curriculum that knows its model lies on the diagonal. Dots grow with the number of "
                "tasks, brackets are 95 % intervals of the mean.",
                note=True,
            ),
            chart(calibration_chart(arms), "calibration"),
        ],
    )
    return [what, expected]


def _table(arms: Sequence[tuple[str, str, list[TextRun]]]) -> str:
    heads = ["curriculum", "runs", "attempts", "targets at first", "at the end", "best", "area", "time",
             "expected − seen", "by guessing the mean"]  # fmt: skip
    rows = []
    for name, _, runs in arms:
        evaluated = [run.series(SUCCESS) for run in runs]
        evaluated = [(steps, values) for steps, values in evaluated if len(steps)]
        attempts = [int(run.metrics[STEP].max()) for run in runs]
        cells = [
            _over_runs([values[0] for _, values in evaluated]),
            _over_runs([float(values[-LAST:].mean()) for _, values in evaluated]),
            _over_runs([float(values.max()) for _, values in evaluated]),
            _over_runs([success_area(steps, values) for steps, values in evaluated if steps[-1] > 0]),
        ]
        seconds = [float(np.nanmax(run.metrics[SECONDS])) for run in runs if SECONDS in run.metrics]
        held = [calibration(run.practice.rate, run.practice.observed) for run in runs if run.practice is not None]
        errors = [_over_runs([one.error for one in held]), _over_runs([one.guess for one in held])]
        span = f"{min(attempts):,}" if len(set(attempts)) == 1 else f"{min(attempts):,}-{max(attempts):,}"
        rows.append([name, str(len(runs)), span, *cells, f"{sum(seconds) / 60:.1f} min", *errors])
    table = [heads, ["---"] * len(heads), *rows]
    note = (
        f"Success of sampled attempts at the test tasks; at the end: mean of the last {LAST} evaluations; area: under "
        "the curve, in [0, 1]. Means over runs with 95 % bootstrap intervals. Expected − seen: mean distance between "
        "the pass rate expected of a task and the one seen; beside it the same had the mean been expected of each."
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in table) + f"\n\n{note}"


def _over_runs(values: Sequence[float]) -> str:
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return "–"
    low, high = bootstrap(known, mean)
    return share(float(known.mean()), float(low), float(high))
