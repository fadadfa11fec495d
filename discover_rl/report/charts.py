"""The charts of a report that stand still: learning curves, alpha and goals over time, methods as a whole."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from discover_rl.report.aggregate import SCORES, Comparison, Interval, method_name
from discover_rl.report.curriculum import INK
from discover_rl.report.curves import line_numbers, mean_curve
from discover_rl.report.player import FONT
from discover_rl.report.rows import Curve, Group

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
WIDTH, PANEL_HEIGHT = 1220, 270
SIDE_BY_SIDE = 3

Band = tuple[
    Float[np.ndarray, "_point"], Float[np.ndarray, "_point"], Float[np.ndarray, "_point"], Float[np.ndarray, "_point"]
]
"""Steps, mean, lower and upper end of an interval."""


def learning_curves(groups: Mapping[Group, Sequence[Curve]], colours: Mapping[str, str]) -> "Figure":
    """Success over steps, a panel for each environment, a line with its interval for each method.

    Args:
        groups: Curves by line of the table.
        colours: Of each selector.
    """
    from plotly.subplots import make_subplots

    panels = [(name, list(members)) for name, members in groupby(groups, lambda group: group.environment)]
    columns = min(SIDE_BY_SIDE, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure: Any = make_subplots(rows=rows, cols=columns, subplot_titles=[name for name, _ in panels], shared_yaxes=True)
    names = {group: method_name(group, groups[group], groups) for group in groups}
    lines = line_numbers(names)
    shown: set[str] = set()
    for number, (_, members) in enumerate(panels):
        for group in members:
            name = names[group]
            dash = DASHES[lines[name] % len(DASHES)]
            for trace in band(mean_curve(groups[group]), name, colours[group.selector], dash, name not in shown):
                figure.add_trace(trace, row=number // columns + 1, col=number % columns + 1)
            shown.add(name)
    figure.update_yaxes(range=[-0.03, 1.03], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(title_text="success on the target", col=1)
    return dressed(figure, rows, narrow=len(panels) == 1)


def over_time(quantities: Sequence[tuple[str, Sequence[tuple[str, str, Band]]]]) -> "Figure":
    """Several quantities of the methods of one environment, side by side.

    Args:
        quantities: Title of the panel; name, colour and band of each method.
    """
    from plotly.subplots import make_subplots

    figure: Any = make_subplots(rows=1, cols=len(quantities), subplot_titles=[title for title, _ in quantities])
    shown: set[str] = set()
    for column, (_, lines) in enumerate(quantities, start=1):
        for name, colour, values in lines:
            for trace in band(values, name, colour, "solid", name not in shown):
                figure.add_trace(trace, row=1, col=column)
            shown.add(name)
    figure.update_yaxes(rangemode="tozero")
    return dressed(figure, 1)


def methods_chart(comparison: Comparison, colours: Mapping[str, str]) -> "Figure":
    """Methods over all environments: interquartile means, profiles, probability of improvement, for each score.

    Args:
        comparison: With at least one method.
        colours: Of each method.
    """
    from plotly.subplots import make_subplots

    first = comparison.methods[0].name
    kinds = ("IQM of {score}", "share of seeds with {score} ≥ τ", "P(" + first + " better), {score}")
    titles = [kind.format(score=score) for score in SCORES for kind in kinds]
    figure: Any = make_subplots(
        rows=len(SCORES), cols=3, subplot_titles=titles, vertical_spacing=0.2, horizontal_spacing=0.15
    )
    for row, score in enumerate(SCORES, start=1):
        for method in (method for method in comparison.methods if method.score == score):
            colour = colours[method.name]
            figure.add_trace(_dot(method.iqm, method.name, colour), row=row, col=1)
            profile = method.profile
            lines = (profile.thresholds, profile.share, profile.low, profile.high)
            for trace in band(lines, method.name, colour, "solid", row == 1):
                figure.add_trace(trace, row=row, col=2)
            if method.improvement is not None:
                figure.add_trace(_dot(method.improvement, method.name, colour), row=row, col=3)
        figure.add_vline(x=0.5, line={"color": "#999999", "dash": "dot", "width": 1}, row=row, col=3)
    for column in (1, 3):
        figure.update_xaxes(range=[-0.03, 1.03], tickvals=[0, 0.5, 1], col=column)
        figure.update_yaxes(autorange="reversed", col=column)
    figure = dressed(figure, len(SCORES))
    figure.update_xaxes(tickformat="", title_text="")
    return figure


def band(values: Band, name: str, colour: str, dash: str, in_legend: bool) -> list[Any]:
    """A line and the interval round it, which a click in the legend hides together."""
    from plotly.graph_objects import Scatter

    steps, middle, low, high = values
    line = Scatter(
        x=steps, y=middle, mode="lines", line={"color": colour, "dash": dash, "width": 2.2}, name=name,
        legendgroup=name, showlegend=in_legend, hovertemplate="%{y:.2f} at %{x:,.3~s}<extra>" + name + "</extra>",
    )  # fmt: skip
    if np.isnan(low).all():
        return [line]
    around = Scatter(
        x=np.concatenate([steps, steps[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself", mode="lines",
        line={"width": 0}, fillcolor=faded(colour), name=name, legendgroup=name, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    return [around, line]


def faded(colour: str, opacity: float = 0.18) -> str:
    """A colour for what lies behind."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def dressed(figure: "Figure", rows: int, narrow: bool = False) -> "Figure":
    """What all charts have in common."""
    figure.update_xaxes(
        showline=True, linecolor="#888888", gridcolor="#eeeeee", zeroline=False, tickformat="~s", rangemode="tozero",
        title_text="environment steps of one seed", title_standoff=6,
    )  # fmt: skip
    figure.update_yaxes(showline=True, linecolor="#888888", gridcolor="#eeeeee", zeroline=False)
    figure.update_layout(
        width=WIDTH * 0.62 if narrow else WIDTH, height=rows * (PANEL_HEIGHT + 70) + 45, font=FONT,
        paper_bgcolor="white", plot_bgcolor="white", margin={"l": 70, "r": 20, "t": 62, "b": 55},
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 0.5, "xanchor": "center"},
        hovermode="closest",
    )  # fmt: skip
    figure.update_annotations(font={"size": 14, "color": INK})
    return figure


def _dot(interval: Interval, name: str, colour: str) -> Any:  # noqa: ANN401 - a plotly trace
    from plotly.graph_objects import Scatter

    error = None
    if not math.isnan(interval.low):
        error = {
            "type": "data", "symmetric": False, "array": [interval.high - interval.value],
            "arrayminus": [interval.value - interval.low], "thickness": 2, "width": 5,
        }  # fmt: skip
    return Scatter(
        x=[interval.value], y=[name], mode="markers", marker={"color": colour, "size": 11}, error_x=error, name=name,
        legendgroup=name, showlegend=False, hovertemplate="%{x:.2f}<extra>" + name + "</extra>",
    )  # fmt: skip
