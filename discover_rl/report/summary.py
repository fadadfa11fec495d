"""Learning curves of several seeds in a few numbers: steps until the target is reached, and success at the end.

The interquartile mean over seeds with a percentile bootstrap interval is what Agarwal et al., "Deep reinforcement
learning at the edge of the statistical precipice" (NeurIPS 2021, arXiv 2108.13264), recommend for few runs. A seed
that never gets there counts as infinity, so that slow and failing seeds are not left out.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import stats

from discover_rl.report.atomic import write_atomically
from discover_rl.report.rows import Curve, Group, grouped

THRESHOLDS = (0.1, 0.5, 0.9)  # success at which steps are read off
LAST = 5  # evaluations that count as the end
LEVEL, RESAMPLES = 0.95, 10_000
ROUNDING = 1e-6  # 0.9 as float32 is below 0.9


def steps_to(steps: Float[np.ndarray, "point"], success: Float[np.ndarray, "point"], threshold: float) -> float:
    """Environment steps at the first evaluation with at least this success; inf if there is none.

    Args:
        steps: Environment steps at each evaluation.
        success: Share of the episodes that reached the target, in [0, 1].
        threshold: In [0, 1].
    """
    reached = np.flatnonzero(success >= threshold - ROUNDING)
    return float(steps[reached[0]]) if len(reached) else math.inf


def final_success(success: Float[np.ndarray, "point"], last: int = LAST) -> float:
    """Mean success over the last evaluations, or over all where there are fewer."""
    return float(success[-last:].mean())


def success_area(steps: Float[np.ndarray, "point"], success: Float[np.ndarray, "point"]) -> float:
    """Area under the learning curve over its steps: mean success from the first step to the last, in [0, 1].

    Straight lines between evaluations; 0 at step 0.
    """
    area = np.trapezoid(np.concatenate([[0.0], success]), np.concatenate([[0.0], steps]))
    return float(area / steps[-1])


def mean(values: Float[np.ndarray, "*lead seed"]) -> Float[np.ndarray, "*lead"]:
    """Mean over seeds."""
    return np.asarray(values.mean(axis=-1))


def iqm(values: Float[np.ndarray, "*lead seed"]) -> Float[np.ndarray, "*lead"]:
    """Interquartile mean over seeds: the mean without the lowest and the highest quarter (rounded down).

    It is inf where an infinite value is left among the others.
    """
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def bootstrap(
    values: Float[np.ndarray, "*lead seed"],
    statistic: Callable[[np.ndarray], np.ndarray] = iqm,
    resamples: int = RESAMPLES,
) -> tuple[Float[np.ndarray, "*lead"], Float[np.ndarray, "*lead"]]:
    """Percentile bootstrap interval of a statistic over seeds, at 95 %.

    The same resamples of seeds are drawn in every call, so the same values give the same interval.

    Args:
        values: One value per seed; may be inf.
        statistic: Reduces the last axis.
        resamples: How often as many seeds are drawn with replacement.

    Returns:
        The lower and the upper end; nan for a single seed, of which nothing can be said.
    """
    seeds = values.shape[-1]
    if seeds < 2:
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    drawn = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
    found = np.sort(statistic(values[..., drawn]), axis=-1)
    # order statistics themselves: to interpolate between two infinities would give nan
    beyond = (1 - LEVEL) / 2 * (resamples - 1)
    return found[..., math.floor(beyond)], found[..., resamples - 1 - math.floor(beyond)]


@dataclass(frozen=True)
class Reached:
    """Steps until some success, over the seeds of a line.

    Attributes:
        threshold: The success, in [0, 1].
        median: Median over seeds, in environment steps of one seed.
        iqm: Interquartile mean over seeds.
        low: Lower end of its 95 % interval; nan for a single seed.
        high: Upper end.
        seeds: Number of seeds that got there.
    """

    threshold: float
    median: float
    iqm: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Summary:
    """One line of a table.

    Attributes:
        group: Environment, selector, settings.
        note: How its settings differ from those of other lines.
        seeds: Number of seeds.
        budget: Fewest and most environment steps of a seed.
        planned: Environment steps that a seed will have once it is finished, where one is not yet; else 0.
        between: Fewest and most environment steps between two evaluations.
        reached: Steps until each threshold.
        final_mean: Success at the end, mean over seeds.
        final_min: The same of the worst seed.
        final: Its interquartile mean over seeds with the 95 % interval.
        area: Area under the learning curve, the same way.
        seconds: Wall time of all its processes together.
        devices: What it was trained on.
    """

    group: Group
    note: str
    seeds: int
    budget: tuple[float, float]
    planned: float
    between: tuple[float, float]
    reached: tuple[Reached, ...]
    final_mean: float
    final_min: float
    final: tuple[float, float, float]
    area: tuple[float, float, float]
    seconds: float
    devices: tuple[str, ...]


def summarise(curves: Sequence[Curve]) -> list[Summary]:
    """One line per environment, selector and settings.

    Args:
        curves: One per seed.

    Raises:
        ValueError: If a seed stands twice in a line.
    """
    groups = grouped(curves)
    return [_summary(group, members, groups) for group, members in groups.items()]


def note_of(group: Group, members: Sequence[Curve], groups: Mapping[Group, Sequence[Curve]]) -> str:
    """What tells a group from its neighbours, if their settings differ; empty for the one that has no note."""
    if noted := _noted(members):
        return noted
    plain = [other for other in groups if other[:2] == group[:2] and not _noted(groups[other])]
    return f"settings {group.settings}" if len(plain) > 1 else ""


def _noted(members: Sequence[Curve]) -> str:
    return "; ".join(dict.fromkeys(curve.note for curve in members if curve.note))


def write_summary(path: Path, lines: Sequence[Summary]) -> None:
    """Write the lines of a table as CSV; steps are environment steps of one seed, never is ``inf``.

    Raises:
        OSError: If it cannot be written.
    """
    text = io.StringIO()
    columns = [_columns(line) for line in lines]
    writer = csv.DictWriter(text, columns[0] if columns else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def _summary(group: Group, members: Sequence[Curve], groups: Mapping[Group, Sequence[Curve]]) -> Summary:
    last = [float(curve.steps[-1]) for curve in members]
    between = np.concatenate([np.diff(curve.steps, prepend=0) for curve in members])
    final = [final_success(curve.success) for curve in members]
    processes: dict[int, float] = {}
    for curve in members:
        processes[curve.run] = max(processes.get(curve.run, 0.0), float(curve.seconds[-1]))
    return Summary(
        group,
        note_of(group, members, groups),
        len(members),
        (min(last), max(last)),
        max((curve.planned for curve in members if not curve.finished), default=0.0),
        (float(between.min()), float(between.max())),
        tuple(_reached(members, threshold) for threshold in THRESHOLDS),
        float(np.mean(final)),
        min(final),
        _with_interval(final),
        _with_interval([success_area(curve.steps, curve.success) for curve in members]),
        sum(processes.values()),
        tuple(sorted({curve.device for curve in members if curve.device})),
    )


def _with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    array = np.array(values)
    low, high = bootstrap(array)
    return float(iqm(array)), float(low), float(high)


def _reached(members: Sequence[Curve], threshold: float) -> Reached:
    steps = np.array([steps_to(curve.steps, curve.success, threshold) for curve in members])
    low, high = bootstrap(steps)
    return Reached(
        threshold,
        float(np.median(steps)),
        float(iqm(steps)),
        float(low),
        float(high),
        int(np.isfinite(steps).sum()),
    )


def _columns(line: Summary) -> dict[str, object]:
    columns: dict[str, object] = {
        **line.group._asdict(),
        "note": line.note,
        "seeds": line.seeds,
        "steps_min": int(line.budget[0]),
        "steps_max": int(line.budget[1]),
        "finished": int(not line.planned),
    }
    for reached in line.reached:
        name = f"steps_to_{reached.threshold * 100:.0f}"
        values = {"median": reached.median, "iqm": reached.iqm, "low": reached.low, "high": reached.high}
        columns |= {f"{name}_{key}": f"{value:.0f}" for key, value in values.items()}
        columns[f"{name}_seeds"] = reached.seeds
    for name, interval in (("final", line.final), ("area", line.area)):
        columns |= {f"{name}_{k}": f"{v:.6g}" for k, v in zip(("iqm", "low", "high"), interval, strict=True)}
    return columns | {
        "final_mean": f"{line.final_mean:.6g}",
        "final_min": f"{line.final_min:.6g}",
        "seconds": f"{line.seconds:.1f}",
        "device": "; ".join(line.devices),
    }
