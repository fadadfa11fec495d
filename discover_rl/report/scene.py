"""The world of a report from above: its backdrop, start and targets, seen along two goal coordinates at a time."""

import base64
import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import ndimage, stats
from scipy.spatial import KDTree

from discover_rl.goals import Environment
from discover_rl.report.curriculum import distance_to_target

BINS = 48  # of a map along each axis
MARGIN = 0.05
TARGETS = 20


@dataclass(frozen=True)
class View:
    """Two goal coordinates.

    Attributes:
        coordinates: Which, counted from 0; the same one twice where the goal space has only one.
        low: Lower ends of what is shown.
        high: Upper ends.
        backdrop: A PNG that fills it as a data URI; empty if the environment cannot draw itself so.
        start: A start.
        targets: Some targets.
    """

    coordinates: tuple[int, int]
    low: Float[np.ndarray, "2"]
    high: Float[np.ndarray, "2"]
    backdrop: str
    start: Float[np.ndarray, "2"]
    targets: Float[np.ndarray, "target 2"]

    def of(self, goals: Float[np.ndarray, "*lead goal"]) -> Float[np.ndarray, "*lead 2"]:
        """Goals as points of this view."""
        points = goals[..., list(self.coordinates)].astype(np.float32)
        if self.coordinates[0] == self.coordinates[1]:
            points[..., 1] = 0
        return points

    def edges(self) -> tuple[Float[np.ndarray, "bin"], Float[np.ndarray, "bin"]]:
        """Where the bins of a map begin and end, along each axis."""
        x, y = (np.linspace(self.low[axis], self.high[axis], BINS + 1) for axis in (0, 1))
        return x, y

    def map(
        self, goals: Float[np.ndarray, "state goal"], values: Float[np.ndarray, "state"]
    ) -> Float[np.ndarray, "row column"]:
        """Mean of the values in each bin; nan where no state is, but for gaps of a bin among others.

        Args:
            goals: What is achieved in each state; nan where there is none.
            values: One of each.
        """
        known = ~np.isnan(goals).any(-1) & ~np.isnan(values)
        if not known.any():
            return np.full((BINS, BINS), np.nan, dtype=np.float32)
        points, (x, y) = self.of(goals[known]), self.edges()
        bins: Any = [y, x]  # scipy's stubs know of numbers only
        found = stats.binned_statistic_2d(points[:, 1], points[:, 0], values[known], bins=bins).statistic
        # the grid on which the states were picked is not that of the bins: close the gaps, but do not grow
        there = ~np.isnan(found)
        closed = ndimage.binary_closing(np.pad(there, 1), np.ones((3, 3)))[1:-1, 1:-1]
        gaps = np.argwhere(closed & ~there)
        if len(gaps):
            _, nearest = KDTree(np.argwhere(there)).query(gaps)
            found[tuple(gaps.T)] = found[tuple(np.argwhere(there)[nearest].T)]
        return found.astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """An environment as a report shows it.

    Attributes:
        views: What is shown of it: pairs of goal coordinates, all coordinates at least once.
        distance: From goals to their distance to the target, and its unit; None if no environment is there.
    """

    views: list[View]
    distance: Callable[[Float[np.ndarray, "number goal"]], tuple[Float[np.ndarray, "number"], str]] | None


def scene_of(environment: Environment) -> Scene:
    """Look at an environment from above."""
    start = environment.goal_space.achieved(environment.reset()).double().cpu().numpy()[0]
    targets = np.unique(environment.targets().double().cpu().numpy(), axis=0)[:TARGETS]
    views = []
    for pair in pairs(len(start)):
        drawn = _backdrop(environment, pair)
        corners = np.stack([start, *targets])[:, list(pair)]
        low, high = drawn[1:] if drawn else _padded(corners.min(0), corners.max(0))
        views.append(View(pair, low, high, drawn[0] if drawn else "", start[list(pair)], targets[:, list(pair)]))
    return Scene(views, lambda goals: distance_to_target(goals, environment))


def scene_without(goals: Float[np.ndarray, "number goal"]) -> Scene:
    """What can be shown where the environment cannot be built: the goals alone.

    Args:
        goals: Goals that must be in sight, without nan, at least one.
    """
    views = []
    for pair in pairs(goals.shape[-1]):
        points = goals[:, list(pair)].astype(np.float64)
        low, high = _padded(points.min(0), points.max(0))
        views.append(View(pair, low, high, "", np.full(2, np.nan), np.zeros((0, 2))))
    return Scene(views, None)


def widened(scene: Scene, goals: Float[np.ndarray, "number goal"]) -> Scene:
    """The scene with all these goals in sight, where there is no backdrop that says what is in sight."""
    views = []
    for view in scene.views:
        points = view.of(goals)
        if view.backdrop or not len(points):
            views.append(view)
            continue
        low, high = _padded(np.minimum(view.low, points.min(0)), np.maximum(view.high, points.max(0)))
        views.append(View(view.coordinates, low, high, "", view.start, view.targets))
    return Scene(views, scene.distance)


def pairs(dim: int) -> list[tuple[int, int]]:
    """Pairs of coordinates in which each occurs: neighbours, and the last with the first of an odd number."""
    if dim == 1:
        return [(0, 0)]
    found = [(i, i + 1) for i in range(0, dim - 1, 2)]
    return [*found, (0, dim - 1)] if dim % 2 else found


def _padded(
    low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """A square round a box, a little larger."""
    middle, half = (low + high) / 2, float(max((high - low).max() / 2, 0.5)) * (1 + MARGIN)
    return middle - half, middle + half


def _backdrop(
    environment: Environment, pair: tuple[int, int]
) -> tuple[str, Float[np.ndarray, "2"], Float[np.ndarray, "2"]] | None:
    """What the environment draws of itself as a PNG, with its limits; None if it cannot draw this pair."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    draw = getattr(environment, "draw", None)
    if draw is None:
        return None
    options = {}
    if pair != (0, 1):
        if "coordinates" not in inspect.signature(draw).parameters:
            return None
        options = {"coordinates": pair}
    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw(axes, **options)
    axes.set_axis_off()
    axes.margins(0)
    axes.set_aspect("equal", adjustable="datalim")
    figure.canvas.draw()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    uri = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    return uri, np.array([left, bottom]), np.array([right, top])
