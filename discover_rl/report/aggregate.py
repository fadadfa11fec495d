"""Methods compared over several environments at once: scores, intervals, probability of improvement, profiles.

After Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (NeurIPS 2021, arXiv
2108.13264): seeds are resampled within each environment (a stratified bootstrap), and the interquartile mean is taken
over all seeds of all environments. Success lies in [0, 1] everywhere, so no score needs to be normalised.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import stats

from discover_rl.report.atomic import write_atomically
from discover_rl.report.rows import REFERENCE, Curve, Group, grouped
from discover_rl.report.summary import LEVEL, final_success, note_of, success_area

RESAMPLES, BATCH = 5_000, 500  # drawn in batches: a thousand resamples of ten environments are 10 MB already
THRESHOLDS = np.linspace(0, 1, 51)  # of a profile

Scores: TypeAlias = Sequence[Float[np.ndarray, "_"]]
"""One array per environment, in which the seeds of one method stand."""

SCORES: dict[str, Callable[[Curve], float]] = {
    "final success": lambda curve: final_success(curve.success),
    "area under the curve": lambda curve: success_area(curve.steps, curve.success),
}
"""What a seed is scored by, each in [0, 1]."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; the ends are nan where an environment has a single seed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Profile:
    """Share of the seeds that score at least some threshold, by threshold, with a pointwise 95 % interval."""

    thresholds: Float[np.ndarray, "threshold"]
    share: Float[np.ndarray, "threshold"]
    low: Float[np.ndarray, "threshold"]
    high: Float[np.ndarray, "threshold"]


@dataclass(frozen=True)
class Method:
    """One method over all environments of a comparison, by one score.

    Attributes:
        name: Selector, with what is particular about its settings.
        score: Which score, a key of ``SCORES``.
        iqm: Interquartile mean over seeds and environments.
        mean: Mean over the same.
        improvement: Probability that a seed of the first method scores higher than one of this, averaged over
            environments; ties count half. None for the first method itself.
        profile: How its scores are distributed.
    """

    name: str
    score: str
    iqm: Interval
    mean: Interval
    improvement: Interval | None
    profile: Profile


@dataclass(frozen=True)
class Comparison:
    """Methods over the environments that all of them were trained in.

    Attributes:
        environments: Which these are.
        left_out: Environments that lack one of the methods.
        unfinished: Environments in which a line is not finished; such lines do not count.
        methods: For each score every method, the one that the others are held against first.
    """

    environments: tuple[str, ...]
    left_out: tuple[str, ...]
    unfinished: tuple[str, ...]
    methods: tuple[Method, ...]


def compare_methods(curves: Sequence[Curve], first: str = REFERENCE) -> Comparison:
    """Score every method over all environments. Lines with a seed that is not finished do not count.

    Args:
        curves: One per seed.
        first: The method that the others are held against; if there is none of that name, the first by name.

    Raises:
        ValueError: If there is no curve, or a seed stands twice in a group.
    """
    if not curves:
        raise ValueError("compare: there is nothing to compare")
    by_method, unfinished = {}, {}
    for name, places in by_name(curves).items():
        done = {env: members for env, members in places.items() if all(curve.finished for curve in members)}
        unfinished |= dict.fromkeys(env for env in places if env not in done)
        if done:
            by_method[name] = done
    names = sorted(by_method, key=lambda name: (name != first, name))
    all_environments = dict.fromkeys(group.environment for group in grouped(curves))
    common = [name for name in all_environments if all(name in by_method[method] for method in names)]
    methods = []
    for score, measure in SCORES.items() if common else ():
        scores = {
            name: [np.array([measure(curve) for curve in by_method[name][env]]) for env in common] for name in names
        }
        methods += [_method(name, score, scores[name], scores[names[0]] if i else None) for i, name in enumerate(names)]
    left_out = tuple(name for name in all_environments if name not in common)
    return Comparison(tuple(common), left_out, tuple(unfinished), tuple(methods))


def by_name(curves: Sequence[Curve]) -> dict[str, dict[str, list[Curve]]]:
    """The curves by method, then by environment."""
    groups = grouped(curves)
    found: dict[str, dict[str, list[Curve]]] = {}
    for group, members in groups.items():
        found.setdefault(method_name(group, members, groups), {})[group.environment] = members
    return found


def method_name(group: Group, members: Sequence[Curve], groups: Mapping[Group, Sequence[Curve]]) -> str:
    """The selector, and its settings where two lines of an environment share it."""
    note = note_of(group, members, groups)
    alike = [other for other in groups if other[:2] == group[:2]]
    return f"{group.selector} ({note})" if note and len(alike) > 1 else group.selector


def stratified(
    strata: Sequence[Float[np.ndarray, "_"]],
    statistic: Callable[..., Float[np.ndarray, "..."]],
    resamples: int = RESAMPLES,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """95 % percentile interval of a statistic when seeds are drawn anew within each stratum.

    Args:
        strata: The values of each stratum.
        statistic: Takes the strata as arguments and reduces their last axis, named by the keyword ``axis``.
        resamples: How often it is drawn.

    Returns:
        The ends; nan where a stratum has a single value, of which nothing can be said.
    """
    if min(len(stratum) for stratum in strata) < 2:
        nothing = np.full_like(np.asarray(statistic(*strata, axis=-1)), np.nan)
        return nothing, nothing
    found = stats.bootstrap(
        tuple(strata),
        statistic,
        n_resamples=resamples,
        batch=BATCH,
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return np.asarray(found.confidence_interval.low), np.asarray(found.confidence_interval.high)


def improvement(mine: Scores, theirs: Scores) -> float:
    """Probability that a seed of one method scores higher than one of the other, averaged over environments.

    The Mann-Whitney U statistic over its largest value, so ties count half.
    """
    return float(_improvement(*mine, *theirs))


def write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    """Write ``methods.csv`` (scores and improvement) and ``profiles.csv`` (a row per threshold).

    Raises:
        OSError: If one cannot be written.
    """
    scores = [
        {
            "score": method.score,
            "method": method.name,
            **_cells("iqm", method.iqm),
            **_cells("mean", method.mean),
            **_cells("first_improves", method.improvement or Interval(math.nan, math.nan, math.nan)),
        }
        for method in comparison.methods
    ]
    profiles = [
        {"score": method.score, "method": method.name, **dict(zip(("threshold", "share", "low", "high"), row))}  # noqa: B905
        for method in comparison.methods
        for row in zip(*_columns(method.profile), strict=True)
    ]
    return [_write(folder / "methods.csv", scores), _write(folder / "profiles.csv", profiles)]


def _method(name: str, score: str, mine: Scores, first: Scores | None) -> Method:
    better = None if first is None else _interval([*first, *mine], _improvement)
    return Method(name, score, _interval(mine, _pooled_iqm), _interval(mine, _pooled_mean), better, _profile(mine))


def _interval(strata: Scores, statistic: Callable[..., Float[np.ndarray, "..."]]) -> Interval:
    low, high = stratified(strata, statistic)
    return Interval(float(statistic(*strata, axis=-1)), float(low), float(high))


def _profile(mine: Scores) -> Profile:
    def shares(*strata: Float[np.ndarray, "*lead seed"], axis: int) -> Float[np.ndarray, "threshold *lead"]:
        pooled = np.concatenate(strata, axis=axis)
        return np.stack([(pooled >= threshold - 1e-9).mean(axis=axis) for threshold in THRESHOLDS])

    low, high = stratified(mine, shares, 1_000)
    return Profile(THRESHOLDS, shares(*mine, axis=-1), low, high)


def _pooled_iqm(*strata: Float[np.ndarray, "*lead seed"], axis: int) -> Float[np.ndarray, "*lead"]:
    return np.asarray(stats.trim_mean(np.concatenate(strata, axis=axis), 0.25, axis=axis))


def _pooled_mean(*strata: Float[np.ndarray, "*lead seed"], axis: int) -> Float[np.ndarray, "*lead"]:
    return np.asarray(np.concatenate(strata, axis=axis).mean(axis=axis))


def _improvement(*strata: Float[np.ndarray, "*lead _seed"], axis: int = -1) -> Float[np.ndarray, "*lead"]:
    assert axis == -1  # what scipy asks for
    half = len(strata) // 2
    wins = [
        ((mine[..., :, None] > other[..., None, :]) + 0.5 * (mine[..., :, None] == other[..., None, :])).mean((-1, -2))
        for mine, other in zip(strata[:half], strata[half:], strict=True)
    ]
    return np.asarray(np.mean(wins, axis=0))


def _columns(profile: Profile) -> list[list[str]]:
    arrays = (profile.thresholds, profile.share, profile.low, profile.high)
    return [[f"{value:.4g}" for value in array] for array in arrays]


def _cells(name: str, interval: Interval) -> dict[str, str]:
    return {
        name: f"{interval.value:.6g}",
        f"{name}_low": f"{interval.low:.6g}",
        f"{name}_high": f"{interval.high:.6g}",
    }


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())
    return path
