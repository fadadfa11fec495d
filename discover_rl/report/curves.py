"""The picture of learning curves: success over steps, one panel per environment, one band per selector."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from discover_rl.report.curriculum import BLUE, GREEN, INK, PURPLE, VERMILLION, short_tick
from discover_rl.report.rows import Curve, Group, grouped
from discover_rl.report.summary import bootstrap, mean, note_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PUBLISHED: dict[str, dict[str, float]] = {
    "rand_2d_10h": {"discover": 2.9e6, "mega": 4.8e6, "achievability_novelty": 5.2e6, "her": math.inf},
    "rand_3d_7h": {"discover": 3.1e6, "mega": math.inf, "achievability_novelty": math.inf, "her": math.inf},
    "rand_4d_5h": {"discover": 7.4e6},
    "rand_5d_4h": {"discover": 5.4e6},
}
"""Environment steps to 10 % success in arXiv 2505.19850 (10 seeds, 50 M steps; inf: never), by layout and selector.

DISCOVER's 18.7 M in six dimensions belong to a layout that no recipe here uses: ours of that size is generated.
"""

COLOURS = {
    "discover": BLUE,
    "mega": VERMILLION,
    "her": GREEN,
    "achievability_novelty": PURPLE,
    "omega": "#E69F00",
    "uniform": "#56B4E9",
    "random": "#888888",
    "oracle": INK,
}
LineStyle = str | tuple[int, tuple[int, ...]]
# of groups that differ in their settings; dashes are for published numbers
STYLES: tuple[LineStyle, ...] = ("-", "-.", (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
COLUMNS = 3  # panels side by side
POINTS, RESAMPLES = 200, 1_000


def mean_curve(
    members: Sequence[Curve],
) -> tuple[
    Float[np.ndarray, "point"], Float[np.ndarray, "point"], Float[np.ndarray, "point"], Float[np.ndarray, "point"]
]:
    """Mean success over seeds, over the steps that all seeds have; straight lines between evaluations.

    The mean and not the interquartile mean, which hides the few seeds that fail.

    Args:
        members: Curves of one group.

    Returns:
        Environment steps of one seed, mean, and the ends of the 95 % bootstrap interval over seeds (nan for a
        single seed). Empty if the seeds have no steps in common.
    """
    return mean_series([(curve.steps, curve.success) for curve in members])


def mean_series(
    series: Sequence[tuple[Float[np.ndarray, "_point"], Float[np.ndarray, "_point"]]],
) -> tuple[
    Float[np.ndarray, "point"], Float[np.ndarray, "point"], Float[np.ndarray, "point"], Float[np.ndarray, "point"]
]:
    """The same of any quantity: steps and values of each seed, at least one of each."""
    grid = np.unique(np.concatenate([steps for steps, _ in series]))
    first = max(steps[0] for steps, _ in series)
    last = min(steps[-1] for steps, _ in series)
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) > POINTS:
        grid = grid[np.linspace(0, len(grid) - 1, POINTS).astype(int)]
    values = np.stack([np.interp(grid, steps, found) for steps, found in series], axis=-1)
    low, high = bootstrap(values, mean, RESAMPLES)
    return grid, mean(values), low, high


def curves_figure(curves: Sequence[Curve], published: Mapping[str, Mapping[str, float]] = PUBLISHED) -> "Figure":
    """Draw success over steps, one panel per environment, with published steps as dashed lines.

    Args:
        curves: One per seed, of any number of environments, selectors and settings.
        published: Environment -> selector -> environment steps to 10 % success, inf for never.

    Returns:
        A figure that pyplot knows nothing of.

    Raises:
        ValueError: If there is no curve, or a seed stands twice in a group.
    """
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("curves: there is nothing to draw")
    groups = grouped(curves)
    panels = [(name, list(members)) for name, members in groupby(groups, lambda group: group.environment)]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1 + 4.6 * columns, 0.8 + 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    colours = colours_of(groups)
    labels = {group: _label(group, groups) for group in groups}
    styles = {label: STYLES[number % len(STYLES)] for label, number in line_numbers(labels).items()}
    for axes, (name, members) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, name, members, groups, colours, styles, published.get(name, {}))
    for axes in grid[:, 0]:
        axes.set_ylabel("success on the target", fontsize=11)
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center", ncols=min(len(handles), 5), frameon=False
    )
    return figure


def _draw_panel(
    axes: "Axes",
    name: str,
    members: Sequence[Group],
    groups: Mapping[Group, Sequence[Curve]],
    colours: Mapping[str, str],
    styles: Mapping[str, LineStyle],
    published: Mapping[str, float],
) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for group in members:
        steps, middle, low, high = mean_curve(groups[group])
        colour, label = colours[group.selector], _label(group, groups)
        axes.plot(steps, middle, linestyle=styles[label], color=colour, linewidth=1.8, label=label)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    for selector, at in published.items():
        if math.isfinite(at):
            axes.axvline(at, color=colours.get(selector, INK), linestyle="--", linewidth=1.4)
    axes.set_title("\n".join([name, *_caption(published)]), fontsize=10)
    if any(map(math.isfinite, published.values())):
        axes.plot([], [], "--", color="0.4", linewidth=1.4, label="published: 10 % success reached")
    axes.set_xscale("log")
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(short_tick)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("environment steps of one seed", fontsize=10)


def _label(group: Group, groups: Mapping[Group, Sequence[Curve]]) -> str:
    note = note_of(group, groups[group], groups)
    return group.selector + (f" ({note})" if note else "")


def line_numbers(labels: Mapping[Group, str]) -> dict[str, int]:
    """Which of its selector's lines a label is, the same in every panel, so that each has a style of its own."""
    of_selector: dict[str, dict[str, int]] = {}
    for group, label in labels.items():
        known = of_selector.setdefault(group.selector, {})
        known.setdefault(label, len(known))
    return {label: number for known in of_selector.values() for label, number in known.items()}


def _caption(published: Mapping[str, float]) -> list[str]:
    """In words what no line can show: who never got there."""
    never = [selector for selector, at in published.items() if math.isinf(at)]
    return [f"published, never: {', '.join(never)}"] if never else []


def colours_of(groups: Mapping[Group, Sequence[Curve]]) -> dict[str, str]:
    """A colour for each selector, the same in every picture for those that are known here."""
    names = list(dict.fromkeys(group.selector for group in groups))
    strangers = [name for name in names if name not in COLOURS]
    return COLOURS | {name: f"C{number % 10}" for number, name in enumerate(strangers)}
