"""The charts of a report on texts: what was practised when, what was expected and what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from discover_rl.report.charts import dressed
from discover_rl.report.practice import Calibration, Practice, calibration, over_bins

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STRETCHES = 40  # along the time of a map
ATTEMPTS = "attempts at practice tasks"
ROW, HEAD, LEAST = 19, 78, 120  # pixels


@dataclass(frozen=True)
class Arm:
    """A curriculum, with what its runs practised.

    Attributes:
        name: Of the curriculum.
        colour: Six hexadecimal digits after #.
        runs: What each run practised; may be empty.
    """

    name: str
    colour: str
    runs: Sequence[Practice]

    def joined(self) -> Practice | None:
        """All runs as if they were one; None without runs or where their corpora have other groups."""
        if not self.runs or any(
            [g[:2] for g in run.groups] != [g[:2] for g in self.runs[0].groups] for run in self.runs
        ):
            return None
        columns = ("attempts", "group", "rate", "observed")
        return Practice(
            self.runs[0].groups, *(np.concatenate([getattr(run, name) for run in self.runs]) for name in columns)
        )


def practice_map(arms: Sequence[Arm]) -> "Figure":
    """A row for each curriculum: share of practice by kind of task over time, and the pass rate seen there.

    Args:
        arms: Each with ``joined``.
    """
    from plotly.graph_objects import Heatmap
    from plotly.subplots import make_subplots

    found = [(arm, practice) for arm in arms if (practice := arm.joined()) is not None]
    heights = [max(LEAST, ROW * len(practice.groups)) for _, practice in found]
    gap = HEAD / (sum(heights) + HEAD * (len(found) - 1))
    titles = [
        title
        for arm, _ in found
        for title in (f"{arm.name}: share of practice", f"{arm.name}: pass rate when practised")
    ]
    figure: Any = make_subplots(
        rows=len(found), cols=2, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.1,
        vertical_spacing=gap if len(found) > 1 else 0, row_heights=heights,
    )  # fmt: skip
    end = max(int(practice.attempts.max()) for _, practice in found)
    batches = min(len(np.unique(practice.attempts)) for _, practice in found)
    edges = np.linspace(0, end, min(STRETCHES, batches) + 1)
    maps = [over_bins(p.attempts, p.group, p.observed, len(p.groups), edges) for _, p in found]
    most = max(float(np.nanmax(shares)) for shares, _ in maps)
    for row, ((_, practice), (shares, rates)) in enumerate(zip(found, maps, strict=True), start=1):
        names = [f"{group.name} · {group.tasks:,}" for group in practice.groups]
        middles = (edges[1:] + edges[:-1]) / 2
        for column, (values, axis, what) in enumerate(
            ((shares, "coloraxis", "share"), (rates, "coloraxis2", "pass rate")), start=1
        ):
            hover = "%{y}<br>%{x:,.3~s}: " + what + " %{z:.2f}<extra></extra>"
            shown = np.where(values == 0, np.nan, values) if column == 1 else values
            drawn = Heatmap(x=middles, y=names, z=shown, coloraxis=axis, hovertemplate=hover, hoverongaps=False)
            figure.add_trace(drawn, row=row, col=column)
    figure = dressed(figure, 1)
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True, ticks="")
    figure.update_xaxes(showgrid=False, title_text="", range=[0, end])
    figure.update_xaxes(title_text=ATTEMPTS, row=len(found))
    bar: dict[str, Any] = {
        "thickness": 10,
        "lenmode": "pixels",
        "len": heights[0],
        "outlinewidth": 0,
        "tickformat": ".0%",
    }
    bar |= {"y": 1, "yanchor": "top"}
    figure.update_layout(
        height=sum(heights) + HEAD * (len(found) + 1),
        margin={"t": HEAD - 20},
        coloraxis={
            "colorscale": "Blues",
            "cmin": 0,
            "cmax": most,
            "colorbar": {**bar, "x": 0.455, "tickformat": ".0%"},
        },
        coloraxis2={"colorscale": "Viridis", "cmin": 0, "cmax": 1, "colorbar": {**bar, "x": 1.01}},
    )
    return figure


def _small_ones_seen() -> list[tuple[float, str]]:
    """White to blue by the square root, so that an even share of many kinds is seen beside the whole of one."""
    from plotly.colors import sample_colorscale

    places = np.linspace(0, 1, 17)
    colours = map(str, sample_colorscale("Blues", (0.1 + 0.9 * np.sqrt(places)).tolist()))
    return list(zip(places.tolist(), colours, strict=True))


def calibration_chart(arms: Sequence[Arm]) -> "Figure":
    """Pass rates expected against those seen, and both over time.

    Args:
        arms: Each with ``joined``.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    found = [(arm, practice) for arm in arms if (practice := arm.joined()) is not None]
    titles = ["seen against expected pass rate", "expected (dotted) and seen over time", "error of the expectation"]
    figure: Any = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.07)
    diagonal = {"color": "#999999", "dash": "dot", "width": 1}
    figure.add_trace(Scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, showlegend=False, hoverinfo="skip"), 1, 1)
    for arm, practice in found:
        held = calibration(practice.rate, practice.observed)
        figure.add_trace(_dots(arm, held), row=1, col=1)
        known = ~np.isnan(practice.rate)
        attempts, rate, seen = practice.attempts[known], practice.rate[known], practice.observed[known]
        if not len(attempts):
            continue
        edges = np.linspace(0, attempts.max(), min(STRETCHES // 2, len(np.unique(attempts))) + 1)
        middles, nowhere = (edges[1:] + edges[:-1]) / 2, np.zeros(len(attempts), dtype=np.int64)
        for column, values, dash in ((2, rate, "dot"), (2, seen, "solid"), (3, np.abs(rate - seen), "solid")):
            means = over_bins(attempts, nowhere, values, 1, edges)[1][0]
            line = {"color": arm.colour, "dash": dash, "width": 2}
            figure.add_trace(
                Scatter(
                    x=middles, y=means, mode="lines", line=line, name=arm.name, legendgroup=arm.name, showlegend=False,
                    hovertemplate="%{y:.2f} at %{x:,.3~s}<extra>" + arm.name + "</extra>",
                ), row=1, col=column,
            )  # fmt: skip
    figure = dressed(figure, 1)
    figure.update_xaxes(title_text=ATTEMPTS)
    figure.update_xaxes(title_text="expected pass rate", tickformat=".0%", range=[-0.03, 1.03], col=1)
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    figure.update_yaxes(title_text="seen pass rate", col=1)
    figure.update_yaxes(title_text="|expected − seen|", autorange=True, range=None, rangemode="tozero", col=3)
    return figure


def _dots(arm: Arm, held: Calibration) -> Any:  # noqa: ANN401 - a plotly trace
    from plotly.graph_objects import Scatter

    size = 5 + 13 * np.sqrt(held.count / max(held.count.max(initial=1), 1))
    return Scatter(
        x=held.expected, y=held.observed, mode="markers+lines", name=arm.name, legendgroup=arm.name,
        marker={"size": size, "color": arm.colour}, line={"color": arm.colour, "width": 1}, customdata=held.count,
        error_y={"type": "data", "array": np.nan_to_num(held.half), "thickness": 1.2, "width": 3},
        hovertemplate="expected %{x:.2f}, seen %{y:.2f}, %{customdata} tasks<extra>" + arm.name + "</extra>",
    )  # fmt: skip
