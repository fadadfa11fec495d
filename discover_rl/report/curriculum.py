"""The picture of a curriculum: where the chosen goals lay, when, and how they closed in on the target."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from discover_rl.report.atomic import write_atomically
from discover_rl.report.metrics import curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Metrics: TypeAlias = Mapping[str, Shaped[np.ndarray, "row"]]
Panel: TypeAlias = "Callable[[Axes], None]"

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, VERMILLION, GREEN, PURPLE, INK = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#222222"
DOTS = 2000  # more hide one another
TRAJECTORIES = 5
POINTS = 60  # along one curve; finer ones show noise
ABOVE_DOTS = 6
NO_GOAL = "no goal was chosen"  # early in training, or by a selector that only ever takes the target


@runtime_checkable
class HasTargets(Protocol):
    """What the picture needs of an environment; ``draw`` and ``distance_to_target`` are used if there."""

    def targets(self) -> Float[Tensor, "env goal"]:
        """The target of each running episode."""
        ...


@dataclass(frozen=True)
class CurriculumHistory:
    """The goals chosen in one run.

    Attributes:
        steps: Environment steps of the run when each round chose its goals.
        goals: The chosen goals, or a sample of them; nan where there was none.
        achieved: Whether the episode that followed achieved the goal.

    Raises:
        ValueError: If the shapes do not fit one another.
    """

    steps: Shaped[np.ndarray, "round"]
    goals: Float[np.ndarray, "round goal_sample goal_dim"]
    achieved: Bool[np.ndarray, "round goal_sample"]

    def __post_init__(self) -> None:
        if self.goals.ndim != 3 or self.goals.shape[2] < 1:
            raise ValueError(f"curriculum: goals must be (round, sample, goal), got shape {self.goals.shape}")
        if self.steps.shape != self.goals.shape[:1] or self.achieved.shape != self.goals.shape[:2]:
            raise ValueError(
                f"curriculum: steps {self.steps.shape}, goals {self.goals.shape} and achieved "
                f"{self.achieved.shape} do not belong together"
            )


def curriculum_figure(
    history: CurriculumHistory,
    metrics: Metrics,
    environment: HasTargets,
    trajectories: Float[np.ndarray, "episode time goal_dim"] | None,
    title: str,
) -> "Figure":
    """Draw one run: its goals from above at the left, its success, frontier and alpha over time at the right.

    With more than two goal coordinates the left panel shows the first two; with one it shows the coordinate
    over time, without trajectories. Curves of more than 60 points are means of neighbours.

    Args:
        history: The chosen goals.
        metrics: Columns of ``metrics.csv`` of the same run; what is missing is left out.
        environment: Gives the targets, may draw itself and may know the true distance to the target.
        trajectories: Achieved goals along episodes of the evaluation policy, nan after their end.
        title: Stands above the picture.

    Returns:
        A figure of 12 by 6.6 inches that pyplot knows nothing of.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=[1.12, 1], wspace=0.02)
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    goal_dim = history.goals.shape[2]
    note = f" (first 2 of {goal_dim} goal coordinates)" if goal_dim > 2 else ""
    figure.suptitle(title + note, fontsize=14)

    axes = left.subplots()
    if goal_dim == 1:
        dots = _draw_line_world(axes, history, environment)
    else:
        dots = _draw_map(axes, history, environment, trajectories)
    if len(dots.get_offsets()):
        bar = left.colorbar(dots, ax=axes, location="bottom", shrink=0.7, aspect=40, pad=0.02, format=short_tick)
        bar.set_label("environment steps", fontsize=11)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue] - a Spine, typed as a list of them

    panels = _panels(history, metrics, environment)
    rows = right.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for row, panel in zip(rows, panels, strict=True):
        row.spines[["top", "right"]].set_visible(False)
        row.grid(color="0.9", linewidth=0.8)
        row.set_axisbelow(True)
        panel(row)
    rows[-1].set_xlim(left=0)  # or a single row of metrics would stand in a range made up around it
    rows[-1].set_xlabel("environment steps", fontsize=11)
    rows[-1].xaxis.set_major_formatter(short_tick)
    right.align_ylabels()
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Save a figure in the format of the file's suffix; an old file stays whole until the new one is there.

    Args:
        figure: A matplotlib figure.
        path: Where; its folder exists.

    Raises:
        OSError: If it cannot be written; an old file is unchanged.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lstrip(".") or "png", dpi=150)
    write_atomically(path, picture.getvalue())


def distance_to_target(
    goals: Float[np.ndarray, "number goal_dim"], environment: HasTargets
) -> tuple[Float[np.ndarray, "number"], str]:
    """How far goals are from the target.

    Args:
        goals: Goals without nan.
        environment: Its true distance counts if nine goals in ten have a finite one; the others are nan.

    Returns:
        The distances and their unit: "steps", or "Euclidean" (to the nearest target).
    """
    targets = environment.targets()
    known = getattr(environment, "distance_to_target", None)
    if known is not None and len(goals):
        tensor = torch.as_tensor(goals, dtype=targets.dtype, device=targets.device)
        distance = known(tensor).double().cpu().numpy()
        finite = np.isfinite(distance)
        if finite.mean() >= 0.9:
            return np.where(finite, distance, np.nan), "steps"
    unique = np.unique(targets.double().cpu().numpy(), axis=0)
    distance = np.full(len(goals), np.inf)
    for target in unique:
        distance = np.minimum(distance, np.linalg.norm(goals - target, axis=-1))
    return distance, "Euclidean"


def _draw_map(
    axes: "Axes",
    history: CurriculumHistory,
    environment: HasTargets,
    trajectories: Float[np.ndarray, "episode time goal_dim"] | None,
) -> Any:  # noqa: ANN401 - what scatter returned
    draw = getattr(environment, "draw", None)
    if draw is not None:
        draw(axes)
        _lift_markers(axes)
    steps, goals, achieved = _dots(history)
    dots = _scatter(axes, goals[:, 0], goals[:, 1], steps, achieved)
    if draw is None:
        targets = np.unique(environment.targets().cpu().numpy()[:, :2], axis=0)
        _mark(axes, targets, "*", VERMILLION, "target")
    if trajectories is not None and len(trajectories):
        for index, path in enumerate(trajectories[:TRAJECTORIES]):
            label = "evaluation policy" if index == 0 else None
            axes.plot(path[:, 0], path[:, 1], color=INK, linewidth=1.0, zorder=ABOVE_DOTS - 1, label=label)
        if draw is None:
            _mark(axes, trajectories[:TRAJECTORIES, 0, :2], "o", "white", "start")
    axes.set_aspect("equal")
    axes.set_xlabel("goal coordinate 1", fontsize=11)
    axes.set_ylabel("goal coordinate 2", fontsize=11)
    _legend_above(axes)
    return dots


def _draw_line_world(axes: "Axes", history: CurriculumHistory, environment: HasTargets) -> Any:  # noqa: ANN401
    steps, goals, achieved = _dots(history)
    dots = _scatter(axes, steps, goals[:, 0], steps, achieved)
    for index, target in enumerate(np.unique(environment.targets().cpu().numpy()[:, 0])):
        axes.axhline(target, color=VERMILLION, linestyle="--", label="target" if index == 0 else None)
    axes.xaxis.set_major_formatter(short_tick)
    axes.set_xlabel("environment steps", fontsize=11)
    axes.set_ylabel("goal", fontsize=11)
    _legend_above(axes)
    return dots


def _dots(
    history: CurriculumHistory,
) -> tuple[Float[np.ndarray, "dot"], Float[np.ndarray, "dot goal_dim"], Bool[np.ndarray, "dot"]]:
    """Every chosen goal, or an even sample of them, oldest first."""
    rounds, samples, goal_dim = history.goals.shape
    steps = np.repeat(history.steps.astype(np.float64), samples)
    goals = history.goals.reshape(rounds * samples, goal_dim)
    kept = np.flatnonzero(~np.isnan(goals).any(axis=-1))
    kept = kept[np.argsort(steps[kept], kind="stable")]
    if len(kept) > DOTS:
        kept = kept[np.linspace(0, len(kept) - 1, DOTS).astype(int)]
    return steps[kept], goals[kept], history.achieved.reshape(-1)[kept]


def _scatter(
    axes: "Axes",
    x: Float[np.ndarray, "dot"],
    y: Float[np.ndarray, "dot"],
    steps: Float[np.ndarray, "dot"],
    achieved: Bool[np.ndarray, "dot"],
) -> Any:  # noqa: ANN401 - what scatter returned
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, Normalize

    # The last eighth of viridis is too light to be seen on white.
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))
    span = Normalize(steps.min(), steps.max()) if len(steps) else Normalize(0, 1)
    dots = axes.scatter(x, y, c=steps, cmap=colours, norm=span, s=11, linewidths=0.8, zorder=3)
    edges = colours(span(steps), alpha=0.9)
    faces = edges.copy()
    faces[~achieved, 3] = 0  # a ring: chosen, not achieved
    dots.set_array(None)  # or these colours would be computed anew from the steps
    dots.set_facecolor(list(map(tuple, faces)))
    dots.set_edgecolor(list(map(tuple, edges)))
    return dots


def _mark(axes: "Axes", points: Float[np.ndarray, "point 2"], marker: str, colour: str, label: str) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], marker=marker, color=colour, edgecolors=INK, label=label,
        s=220 if marker == "*" else 30, zorder=ABOVE_DOTS,
    )  # fmt: skip


def _lift_markers(axes: "Axes") -> None:
    """Start and target, which the environment drew as markers or discs, must not drown in dots."""
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    for artist in axes.get_children():
        marker = isinstance(artist, Line2D) and artist.get_marker() not in (None, "None", "", " ")
        if marker or isinstance(artist, PathCollection | Circle | Text):
            artist.set_zorder(max(artist.get_zorder(), ABOVE_DOTS))
            artist.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _legend_above(axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    ring = {"marker": "o", "linestyle": "none", "markersize": 5, "color": "0.35"}
    handles += [Line2D([], [], **ring), Line2D([], [], markerfacecolor="none", **ring)]
    labels += ["goal, achieved", "goal, missed"]
    axes.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(labels), frameon=False,
        fontsize=10, handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip


def _panels(history: CurriculumHistory, metrics: Metrics, environment: HasTargets) -> list[Panel]:
    panels: list[Panel] = []
    if any(len(curve(metrics, tag)[0]) for tag in ("eval/success_rate", "goal/selected_success_rate")):
        panels.append(lambda axes: _draw_success(axes, metrics))
    panels.append(lambda axes: _draw_frontier(axes, history, environment))
    weighs_novelty = _varies(metrics, "goal/beta")
    if _varies(metrics, "goal/alpha") or (len(curve(metrics, "goal/alpha")[0]) and not weighs_novelty):
        panels.append(lambda axes: _draw_alpha(axes, metrics))
    if weighs_novelty:
        panels.append(lambda axes: _draw_beta(axes, metrics))
    return panels


def _varies(metrics: Metrics, tag: str) -> bool:
    values = curve(metrics, tag)[1]
    return len(values) > 0 and float(np.ptp(values)) > 0


def _draw_success(axes: "Axes", metrics: Metrics) -> None:
    lines = [
        ("goal/selected_success_rate", "chosen goals achieved", VERMILLION, "--"),
        ("eval/success_rate", "target reached (at any step)", BLUE, "-"),
    ]
    for tag, label, colour, style in lines:
        steps, values = _thin(*curve(metrics, tag))
        if len(steps):
            axes.plot(steps, values, style, color=colour, label=label, linewidth=1.8, marker=_marker(steps))
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share of episodes", fontsize=11)
    axes.legend(frameon=False, fontsize=10, loc="best")


def _draw_frontier(axes: "Axes", history: CurriculumHistory, environment: HasTargets) -> None:
    rounds, samples, _ = history.goals.shape
    known = ~np.isnan(history.goals).any(axis=-1)
    if not known.any():
        axes.text(0.5, 0.5, NO_GOAL, transform=axes.transAxes, ha="center", va="center", fontsize=11)
        axes.set_yticks([])
        axes.set_ylabel("goal to target", fontsize=11)
        return
    distance = np.full((rounds, samples), np.nan)
    distance[known], unit = distance_to_target(history.goals[known], environment)
    order = np.argsort(history.steps, kind="stable")
    groups = np.array_split(order, min(rounds, POINTS)) if rounds else []
    groups = [group for group in groups if not np.isnan(distance[group]).all()]
    steps = [float(history.steps[group].mean()) for group in groups]
    low, median, high, closest = (
        [float(np.nanpercentile(distance[group], level)) for group in groups] for level in (10, 50, 90, 0)
    )
    axes.fill_between(steps, low, high, color=GREEN, alpha=0.22, linewidth=0, label="10 to 90 %")
    axes.plot(steps, median, color=GREEN, linewidth=1.8, label="median")
    axes.plot(steps, closest, ":", color=INK, linewidth=1.6, label="closest")
    axes.set_ylim(bottom=-0.03 * max([*high, 1e-3]))  # a line at 0 would be half hidden
    axes.set_ylabel(f"goal to target ({unit})", fontsize=11)
    axes.legend(frameon=False, fontsize=10, loc="best")


def _draw_alpha(axes: "Axes", metrics: Metrics) -> None:
    steps, values = _thin(*curve(metrics, "goal/alpha"))
    axes.plot(steps, values, color=PURPLE, linewidth=1.8, marker=_marker(steps))
    axes.set_ylim(min(0.0, float(values.min())), max(1.0, float(values.max())) * 1.03)
    axes.set_ylabel("alpha", fontsize=11)


def _draw_beta(axes: "Axes", metrics: Metrics) -> None:
    axes.plot(*_thin(*curve(metrics, "goal/beta")), color=PURPLE, linewidth=1.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(short_tick)
    axes.set_ylabel("beta", fontsize=11)


def _marker(steps: Float[np.ndarray, "point"]) -> str:
    """A line through a single point shows nothing."""
    return "o" if len(steps) == 1 else ""


def _thin(
    steps: Float[np.ndarray, "point"], values: Float[np.ndarray, "point"]
) -> tuple[Float[np.ndarray, "thinned"], Float[np.ndarray, "thinned"]]:
    if len(steps) <= POINTS:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), POINTS)
    return (
        np.array([steps[group].mean() for group in groups]),
        np.array([values[group].mean() for group in groups]),
    )


def short_tick(value: float, _: float | int | None = None) -> str:
    """A tick: 500, 20k, 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
