"""The curriculum to play: for each method the goals it chose and what its values said, moment by moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from discover_rl.report.curriculum import INK, VERMILLION, CurriculumHistory, Metrics, short_tick
from discover_rl.report.metrics import curve
from discover_rl.report.scene import BINS, View
from discover_rl.report.value_maps import MapHistory

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

GOALS_SHOWN = 600  # of one method; more hide one another
FRAMES = 24
COLUMNS = (
    "Goals chosen so far",
    "V(s₀, g): how near to the start",
    "V(g, g*): how near to the target",
    "σ(s₀, g): how uncertain",
    "success —  goals achieved ··  α - -",
)
VISITED = "#cfdcf2"
PANEL, LEFT, TOP, BOTTOM, GAP = 204, 84, 44, 150, 18  # pixels
MAPS = 3  # columns of values
FONT = {"family": "Helvetica, Arial, sans-serif", "size": 12, "color": INK}
SUCCESS_LINES = (  # tag, name, dash
    ("eval/success_rate", "success on the target", "solid"),
    ("goal/selected_success_rate", "chosen goals achieved", "dot"),
    ("goal/alpha", "α", "dash"),
)


@dataclass(frozen=True)
class Track:
    """One seed of one method.

    Attributes:
        name: The method.
        colour: Its colour in every chart.
        seed: Which seed is shown.
        goals: The goals it chose.
        maps: What its values said.
        metrics: Its rows of ``metrics.csv``.
        has_alpha: Whether the method has an α that adapts.
    """

    name: str
    colour: str
    seed: int
    goals: CurriculumHistory | None
    maps: MapHistory
    metrics: Metrics
    has_alpha: bool = True


def player(tracks: Sequence[Track], view: View) -> "Figure":
    """One row per method: goals chosen until then, the maps of the moment, and where success stands.

    Args:
        tracks: The methods in one environment.
        view: Which two goal coordinates are shown, and on what.

    Returns:
        A figure of fixed size with one frame per moment, a slider and a button that plays them; it shows the last.
    """
    from plotly.graph_objects import Frame
    from plotly.subplots import make_subplots

    moments = moments_of(tracks)
    figure: Any = make_subplots(
        rows=len(tracks),
        cols=len(COLUMNS),
        column_titles=COLUMNS,
        horizontal_spacing=GAP / (len(COLUMNS) * (PANEL + GAP)),
        vertical_spacing=GAP / max(GAP + 1, len(tracks) * (PANEL + GAP) - GAP),
    )
    ranges = _ranges(tracks)
    for row, track in enumerate(tracks, start=1):
        for column in range(1, len(COLUMNS)):
            _add_backdrop(figure, view, row, column)
        figure.add_traces(*_placed(_still(track), row, len(COLUMNS)))
    still = len(figure.data)
    moving = [_moving(track, view, moment) for moment in (moments[-1],) for track in tracks]
    for row, traces in enumerate(moving, start=1):
        for column, trace in traces:
            figure.add_trace(trace, row=row, col=column)
    changed = list(range(still, len(figure.data)))
    for row in range(1, len(tracks) + 1):
        for column in range(1, len(COLUMNS)):  # above the maps
            figure.add_trace(_landmarks(view), row=row, col=column)
    figure.frames = [
        Frame(
            name=short_tick(float(f"{moment:.3g}")),
            data=[trace for track in tracks for _, trace in _moving(track, view, moment)],
            traces=changed,
        )
        for moment in moments
    ]
    _dress(figure, tracks, view, ranges)
    _add_controls(figure)
    return figure


def moments_of(tracks: Sequence[Track]) -> list[int]:
    """When something is shown: the moments of the maps, thinned; those of the goals where no map is there."""
    steps = np.unique(np.concatenate([track.maps.steps for track in tracks])).astype(int)
    if len(steps) == 0:
        goals = [track.goals.steps for track in tracks if track.goals is not None]
        steps = np.unique(np.concatenate([*goals, np.zeros(0)])).astype(int)
    if len(steps) == 0:
        raise ValueError("report: there is no moment to show; the runs have stored neither goals nor maps")
    if len(steps) > FRAMES:
        steps = steps[np.linspace(0, len(steps) - 1, FRAMES).astype(int)]
    return steps.tolist()


def _moving(track: Track, view: View, moment: int) -> list[tuple[int, Any]]:
    """Column and trace of everything that changes with time."""
    from plotly.graph_objects import Heatmap, Scatter

    points, steps, achieved = _chosen(track, view, moment)
    traces: list[tuple[int, Any]] = [(1, _visited(track, view, moment))]
    for mask, symbol, name in ((~achieved, "circle-open", "missed"), (achieved, "circle", "achieved")):
        marker = {"symbol": symbol, "size": 4.5, "color": steps[mask], "coloraxis": "coloraxis", "opacity": 0.9}
        dots = Scatter(
            x=points[mask, 0],
            y=points[mask, 1],
            mode="markers",
            marker=marker,
            name=name,
            hovertemplate="(%{x:.1f}, %{y:.1f}) at %{marker.color:,.0f} steps<extra>" + name + "</extra>",
            showlegend=False,
        )
        traces.append((1, dots))
    x, y = view.edges()
    for column, values in enumerate(_values(track.maps, moment), start=2):
        z = np.full((BINS, BINS), np.nan, dtype=np.float32)
        if values is not None:
            z = view.map(track.maps.goals[_index(track.maps, moment)], values)
        heat = Heatmap(
            x=(x[:-1] + x[1:]) / 2,
            y=(y[:-1] + y[1:]) / 2,
            z=z,
            coloraxis=f"coloraxis{column}",
            hovertemplate="(%{x:.1f}, %{y:.1f}): %{z:.0f} steps<extra></extra>",
            hoverongaps=False,
        )
        traces.append((column, heat))
    now = Scatter(
        x=[moment, moment],
        y=[0, 1],
        mode="lines",
        line={"color": INK, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    return [*traces, (len(COLUMNS), now)]


def _visited(track: Track, view: View, moment: int) -> Any:  # noqa: ANN401 - a plotly trace
    """Where the agent had been by then, in pale blue: the bins that the maps fill."""
    from plotly.graph_objects import Heatmap

    index = _index(track.maps, moment)
    z = np.full((BINS, BINS), np.nan, dtype=np.float32)
    if index >= 0:
        goals = track.maps.goals[index]
        z = np.where(np.isnan(view.map(goals, np.ones(len(goals), dtype=np.float32))), np.nan, 1.0)
    x, y = view.edges()
    return Heatmap(
        x=(x[:-1] + x[1:]) / 2, y=(y[:-1] + y[1:]) / 2, z=z.astype(np.float32), colorscale=[[0, VISITED], [1, VISITED]],
        showscale=False, hoverinfo="skip", name="visited",
    )  # fmt: skip


def _still(track: Track) -> list[Any]:
    """The curves of the last column."""
    from plotly.graph_objects import Scatter

    lines = []
    for tag, name, dash in SUCCESS_LINES:
        steps, values = curve(track.metrics, tag)
        if tag != "eval/success_rate" and not (track.has_alpha if tag == "goal/alpha" else values.any()):
            continue  # a method that chooses no goals, or has no alpha
        colour = track.colour if dash == "solid" else "#888888"
        line = {"color": colour, "width": 2.4 if dash == "solid" else 1.3, "dash": dash}
        lines.append(
            Scatter(
                x=steps,
                y=values,
                mode="lines",
                line=line,
                name=name,
                showlegend=False,
                hovertemplate="%{y:.2f} at %{x:,.0f} steps<extra>" + name + "</extra>",
            )
        )
    return lines


def _placed(traces: Sequence[Any], row: int, column: int) -> tuple[list[Any], list[int], list[int]]:
    return list(traces), [row] * len(traces), [column] * len(traces)


def _landmarks(view: View) -> Any:  # noqa: ANN401 - a plotly trace
    from plotly.graph_objects import Scatter

    points = np.concatenate([view.start[None], view.targets])
    count = len(view.targets)
    return Scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="markers",
        marker={
            "symbol": ["circle"] + ["star"] * count,
            "size": [8] + [13] * count,
            "color": ["white"] + [VERMILLION] * count,
            "line": {"color": INK, "width": 1.3},
        },
        text=["start"] + ["target"] * count,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


def _chosen(
    track: Track, view: View, moment: int
) -> tuple[Float[np.ndarray, "dot 2"], Float[np.ndarray, "dot"], np.ndarray]:
    """The goals chosen until a moment, an even sample of all, oldest first."""
    if track.goals is None:
        return np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool)
    rounds, samples, dim = track.goals.goals.shape
    goals = track.goals.goals.reshape(rounds * samples, dim)
    steps = np.repeat(track.goals.steps, samples).astype(np.float32)
    kept = np.flatnonzero(~np.isnan(goals).any(-1))
    if len(kept) > GOALS_SHOWN:
        kept = kept[np.linspace(0, len(kept) - 1, GOALS_SHOWN).astype(int)]
    kept = kept[steps[kept] <= moment]
    return view.of(goals[kept]), steps[kept], track.goals.achieved.reshape(-1)[kept]


def _index(maps: MapHistory, moment: int) -> int:
    """The newest map at a moment; -1 if there is none yet."""
    return int(np.searchsorted(maps.steps, moment, side="right")) - 1


def _values(maps: MapHistory, moment: int) -> list[Float[np.ndarray, "state"] | None]:
    index = _index(maps, moment)
    if index < 0:
        return [None] * MAPS
    return [maps.achievability[index], maps.relevance[index], maps.novelty[index]]


def _ranges(tracks: Sequence[Track]) -> list[tuple[float, float]]:
    """Lower and upper end of the colours of each map, the same for all methods and moments."""
    ranges = []
    for name in ("achievability", "relevance", "novelty"):
        values = np.concatenate([getattr(track.maps, name).reshape(-1) for track in tracks])
        values = values[~np.isnan(values)]
        if not len(values):
            ranges.append((0.0, 1.0))
        elif name == "novelty":
            ranges.append((0.0, float(np.percentile(values, 98)) or 1.0))
        else:
            ranges.append((float(np.percentile(values, 2)), 0.0))
    return ranges


def _add_backdrop(figure: "Figure", view: View, row: int, column: int) -> None:
    if view.backdrop:
        figure.add_layout_image(
            source=view.backdrop,
            x=view.low[0],
            y=view.high[1],
            sizex=view.high[0] - view.low[0],
            sizey=view.high[1] - view.low[1],
            sizing="stretch",
            layer="below",
            row=row,
            col=column,
        )


def _dress(
    figure: Any,  # noqa: ANN401 - a plotly Figure, whose stubs do not know of subplots
    tracks: Sequence[Track],
    view: View,
    ranges: Sequence[tuple[float, float]],
) -> None:
    """Axes, colour bars, names."""
    rows = len(tracks)
    last = max([1.0, *(float(curve(track.metrics, "eval/success_rate")[0].max(initial=0)) for track in tracks)])
    for row in range(1, rows + 1):
        for column in range(1, len(COLUMNS)):
            figure.update_xaxes(range=[view.low[0], view.high[0]], row=row, col=column)
            figure.update_yaxes(range=[view.low[1], view.high[1]], row=row, col=column)
        figure.update_xaxes(range=[0, last * 1.02], nticks=4, showticklabels=True, row=row, col=len(COLUMNS))
        figure.update_yaxes(range=[-0.03, 1.03], tickvals=[0, 0.5, 1], side="right", row=row, col=len(COLUMNS))
    figure.update_xaxes(showgrid=False, zeroline=False, showline=True, mirror=True, linecolor="#bbbbbb")
    figure.update_yaxes(showgrid=False, zeroline=False, showline=True, mirror=True, linecolor="#bbbbbb")
    for row in range(1, rows + 1):
        for column in range(1, len(COLUMNS)):
            figure.update_xaxes(showticklabels=False, row=row, col=column)
            figure.update_yaxes(showticklabels=False, row=row, col=column)
        track = tracks[row - 1]
        name = f"<b>{track.name}</b><br><span style='font-size:12px'>seed {track.seed}</span>"
        title = {"text": name, "standoff": 14, "font": {"color": track.colour, "size": 14}}
        figure.update_yaxes(title=title, row=row, col=1)
        if not len(_chosen(track, view, int(1e18))[0]):
            axis = figure.get_subplot(row, 1)
            figure.add_annotation(
                x=0.5, y=0.06, xref=f"{axis.xaxis.plotly_name.replace('axis', '')} domain",
                yref=f"{axis.yaxis.plotly_name.replace('axis', '')} domain",
                text="always sent to the target", showarrow=False, font={"size": 12, "color": INK},
                bgcolor="rgba(255,255,255,0.85)",
            )  # fmt: skip
    steps = {"title": "environment steps", "tickformat": "~s"}
    scales = [("Viridis", 0.0, float(last), steps)]
    unit = {"title": "steps, with a minus sign", "tickformat": "~s"}
    scales += [("YlGnBu_r", *ranges[0], unit), ("YlGnBu_r", *ranges[1], unit)]
    scales += [("Plasma", *ranges[2], {"title": "steps"})]
    for column, (scale, low, high, extra) in enumerate(scales, start=1):
        domain = figure.get_subplot(1, column).xaxis.domain
        bar = {
            "orientation": "h", "thickness": 9, "outlinewidth": 0, "nticks": 4, "xanchor": "center", "yanchor": "top",
            "x": (domain[0] + domain[1]) / 2, "len": (domain[1] - domain[0]) * 0.94,
            "y": -10 / (rows * (PANEL + GAP) - GAP), "ypad": 0,
            "title": {"text": extra["title"], "side": "bottom", "font": {"size": 11}},
            "tickformat": extra.get("tickformat", ""), "tickfont": {"size": 10},
        }  # fmt: skip
        name = "coloraxis" if column == 1 else f"coloraxis{column}"
        figure.update_layout({name: {"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar}})
    width = LEFT + len(COLUMNS) * (PANEL + GAP) + 34
    height = TOP + rows * (PANEL + GAP) - GAP + BOTTOM
    figure.update_layout(
        width=width, height=height, margin={"l": LEFT, "r": 34 + GAP, "t": TOP, "b": BOTTOM}, font=FONT,
        paper_bgcolor="white", plot_bgcolor="white", hovermode="closest",
    )  # fmt: skip
    figure.update_annotations(selector={"yanchor": "bottom"}, font={"size": 13})


def _add_controls(figure: "Figure") -> None:
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    playing = {**at_once, "frame": {"duration": 450, "redraw": True}, "fromcurrent": False}
    steps = [{"method": "animate", "args": [[frame.name], at_once], "label": frame.name} for frame in figure.frames]
    area = figure.layout.height - TOP - BOTTOM
    figure.update_layout(
        sliders=[{
            "steps": steps, "active": len(steps) - 1, "x": 0.08, "len": 0.92, "y": -78 / area, "yanchor": "top",
            "pad": {"t": 0, "b": 0}, "currentvalue": {"prefix": "after ", "suffix": " steps", "font": {"size": 13}},
            "ticklen": 4, "font": {"size": 10}, "minorticklen": 0, "borderwidth": 0, "bgcolor": "#dddddd",
        }],
        updatemenus=[{
            "type": "buttons", "direction": "left", "showactive": False, "x": -0.02, "xanchor": "left",
            "y": -84 / area, "yanchor": "top", "pad": {"t": 0},
            "buttons": [
                {"label": "▶", "method": "animate", "args": [None, playing]},
                {"label": "❚❚", "method": "animate", "args": [[None], {**at_once, "mode": "immediate"}]},
            ],
        }],
    )  # fmt: skip
