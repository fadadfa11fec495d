"""Pictures of a running episode: from above with matplotlib, which needs no graphics driver."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from discover_rl.goals import Environment
from discover_rl.gym.episodes import Episodes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 100
MARGIN = 1.1  # how far the picture reaches beyond what is to be seen, where the environment draws nothing

VIEWS = ("auto", "model", "top_down")


class Camera:
    """Frames of the running episodes.

    Args:
        episodes: What is seen.
        render_mode: ``rgb_array``.
        view: ``model`` for the environment's own renderer, ``top_down`` for the picture that always works, or
            ``auto``: the renderer if the environment has one.
        width: Width of a frame in pixels.
        height: Height of a frame in pixels.

    Raises:
        ValueError: If the mode or the view is unknown, the environment has no renderer, or no frame can have this size.
    """

    def __init__(self, episodes: Episodes, render_mode: str, view: str, width: int, height: int) -> None:
        if render_mode != "rgb_array":
            raise ValueError(f"render_mode is {render_mode!r}; allowed: None, 'rgb_array'")
        if view not in VIEWS:
            raise ValueError(f"view is {view!r}; allowed: {', '.join(VIEWS)}")
        self._renderer = getattr(episodes.env, "render", None) if view != "top_down" else None
        if view == "model" and self._renderer is None:
            raise ValueError("view is 'model' but this environment has no renderer of its own; use 'top_down'")
        check_size(width, height)
        self._episodes, self._size = episodes, (width, height)
        self._top_down: TopDownView | None = None

    def frame(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The picture of environment ``index`` now.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            RuntimeError: If the environment's renderer cannot draw on this machine.
        """
        seen = self._episodes.last()
        achieved, desired = seen["achieved_goal"][index], seen["desired_goal"][index]
        if self._renderer is not None:
            try:
                return self._renderer(index, desired, *self._size)
            except RuntimeError as error:
                raise RuntimeError(f"{error}; or make the environment with view='top_down'") from error
        if self._top_down is None:
            self._top_down = TopDownView(self._episodes.env, *self._size)
        return self._top_down.frame(achieved.cpu().numpy(), desired.cpu().numpy())


def check_size(width: object, height: object) -> None:
    """Refuse what no frame can be. Whether a graphics driver has room for the rest it says at the first frame only.

    Args:
        width: What is given as the width of a frame.
        height: What is given as its height.

    Raises:
        ValueError: If the size is not whole numbers of pixels, or not positive.
    """
    sides = [side for side in (width, height) if isinstance(side, int | np.integer) and not isinstance(side, bool)]
    if len(sides) < 2:
        raise ValueError(f"width and height must be whole numbers of pixels, got {width!r} and {height!r}")
    if min(sides) < 1:
        raise ValueError(f"width and height must be at least 1 pixel, got {width} and {height}")


class TopDownView:
    """The first two goal coordinates from above: the environment's own drawing, the agent and its goal.

    The background is drawn once and kept. An environment without ``draw`` gets an empty one that grows with what
    is to be seen.

    Args:
        env: The environment.
        width: Width of a frame in pixels.
        height: Height of a frame in pixels.
    """

    def __init__(self, env: Environment, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes: Axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        draw = getattr(env, "draw", None)
        self._grows = draw is None
        if draw is not None:
            draw(self._axes)
        else:
            self._axes.set_aspect("equal")
            self._axes.set_xlim(-1.0, 1.0)
            self._axes.set_ylim(-1.0, 1.0)
        (self._goal,) = self._axes.plot(
            [0], [0], "o", markersize=13, markerfacecolor="none", markeredgewidth=2, color="tab:green", animated=True
        )
        (self._agent,) = self._axes.plot([0], [0], "o", markersize=8, color="tab:orange", animated=True)
        self._background: object | None = None

    def frame(
        self, achieved: Float[np.ndarray, "goal"], desired: Float[np.ndarray, "goal"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The picture of one state."""
        points = np.zeros((2, 2))
        for row, goal in enumerate((achieved, desired)):
            points[row, : min(2, len(goal))] = goal[:2]  # a goal of one coordinate lies on a line
        if self._grows:
            self._make_room(points)
        if self._background is None:
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self._figure.bbox)
        self._canvas.restore_region(self._background)
        for artist, (x, y) in zip((self._agent, self._goal), points, strict=True):
            artist.set_data([x], [y])
            self._axes.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _make_room(self, points: Float[np.ndarray, "point 2"]) -> None:
        reach = float(np.abs(points).max()) * MARGIN
        if np.isfinite(reach) and reach > self._axes.get_xlim()[1]:
            self._axes.set_xlim(-reach, reach)
            self._axes.set_ylim(-reach, reach)
            self._background = None
