"""One episode to look at: its path from above, and a video of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from discover_rl.report.curriculum import HasTargets

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def path_figure(
    environment: HasTargets,
    paths: Float[np.ndarray, "episode time goal_dim"],
    targets: Float[np.ndarray, "episode goal_dim"],
    reached: int,
    title: str,
) -> "Figure":
    """The paths of some episodes from above, in the first two goal coordinates.

    Args:
        environment: Names the coordinates, and may draw itself.
        paths: Achieved goals, nan after the end of an episode.
        targets: The target of each of these episodes.
        reached: How many of the episodes came to their target.
        title: Stands above the picture.

    Returns:
        A figure that pyplot knows nothing of.

    Raises:
        ValueError: If goals have fewer than two coordinates.
    """
    from matplotlib.figure import Figure

    if paths.shape[2] < 2:
        raise ValueError("a picture from above needs goals of two coordinates")
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    axes = figure.subplots()
    draw = getattr(environment, "draw", None)
    own = np.unique(targets[:, :2], axis=0)
    if draw is not None:
        draw(axes)
    else:
        axes.set_aspect("equal")
    drawn = [line for line in axes.lines if line.get_label() in ("target", "_target")]
    if not drawn or len(own) > 1:  # what it draws is the one target of all episodes
        for line in drawn:
            line.remove()
        axes.plot(*own.T, "*", color="tab:red", markersize=12, label="target" if len(own) == 1 else "targets")
    for index, path in enumerate(paths):
        axes.plot(path[:, 0], path[:, 1], linewidth=1.2, alpha=0.8, color=f"C{index % 10}")
        last = path[~np.isnan(path).any(1)][-1]
        axes.plot(*last[:2], ".", color=f"C{index % 10}")
    axes.set_title(f"{title}\n{reached} of {len(paths)} episodes reach the target")
    names = getattr(getattr(environment, "goal_space", None), "names", None) or (
        "goal coordinate 1",
        "goal coordinate 2",
    )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.legend(loc="upper left", frameon=True)
    return figure


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float) -> None:
    """Write an mp4 (H.264) that browsers play.

    Args:
        path: Where.
        frames: Pictures of one size, a multiple of 16 along each axis.
        fps: Pictures per second; rounded to a whole number.

    Raises:
        RuntimeError: If imageio-ffmpeg, which brings ffmpeg, is not installed.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise RuntimeError("videos need imageio-ffmpeg; pip install 'discover-rl[video]'") from error
    writer = None
    for frame in frames:
        if writer is None:
            height, width, _ = frame.shape
            writer = write_frames(str(path), (width, height), fps=round(fps), quality=7)
            writer.send(None)
        writer.send(np.ascontiguousarray(frame))
    if writer is not None:
        writer.close()
