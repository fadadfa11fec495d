"""The lines of a table of runs as text for a terminal, as Markdown or as LaTeX."""

import math
import textwrap
from collections.abc import Sequence
from itertools import groupby

from discover_rl.report.aggregate import SCORES, Comparison, Interval
from discover_rl.report.summary import LAST, Reached, Summary

WIDTH = 120
LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "∞": r"$\infty$", **{character: f"\\{character}" for character in "%_&#${}"}}
)


def text_table(lines: Sequence[Summary]) -> str:
    """The table for a terminal: a heading per environment, under it a line per selector, at the end what it means."""
    marks = _marks(lines)
    heads = ["", "budget", *(f"{r.threshold:.0%}" for r in lines[0].reached), "reached", "at the end", "time"]
    cells = [
        [
            f" {_name(line, marks)}",
            _budget(line),
            *(_steps(reached, line) for reached in line.reached),
            f"{'/'.join(str(reached.seeds) for reached in line.reached)} of {line.seeds}",
            _end(line),
            _time(line.seconds),
        ]
        for line in lines
    ]
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    shown = [_row(heads, widths)]
    for environment, members in groupby(zip(lines, cells, strict=True), lambda pair: pair[0].group.environment):
        shown += [environment, *(_row(row, widths) for _, row in members)]
    shown.append("")
    for sentence in [_how_to_read(lines), *_remarks(lines), *_legend(marks)]:
        shown += textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in shown)


def markdown_table(lines: Sequence[Summary]) -> str:
    """The same as Markdown, with the medians."""
    marks = _marks(lines)
    thresholds = [f"steps to {reached.threshold:.0%}" for reached in lines[0].reached]
    heads = ["environment", "selector", "seeds", "budget", *thresholds, "at the end", "final IQM", "area", "time"]
    rows = [heads, ["---", "---", *["--:"] * (len(heads) - 2)]]
    for line in lines:
        steps = [f"{_millions(r.median)}; {_steps(r, line)}; {r.seeds}/{line.seeds}" for r in line.reached]
        head = [line.group.environment, _name(line, marks), str(line.seeds), _budget(line)]
        rows.append([*head, *steps, _end(line), share(*line.final), share(*line.area), _time(line.seconds)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    order = (
        "Steps to a success: median; interquartile mean with its interval; seeds that got there. Final IQM: the "
        "interquartile mean of success at the end; area: that of the area under the curve over the budget, in [0, 1]."
    )
    return "\n\n".join([table, f"{order} {_how_to_read(lines)}", *_remarks(lines), *_legend(marks)])


def latex_table(lines: Sequence[Summary]) -> str:
    """The same as a LaTeX ``table`` with ``booktabs``; what it means stands in its caption."""
    marks = _marks(lines)
    thresholds = [f"{reached.threshold:.0%}" for reached in lines[0].reached]
    heads = ["method", "budget", *(f"to {threshold}" for threshold in thresholds), "final", "area", "time"]
    body = []
    for environment, members in groupby(lines, lambda line: line.group.environment):
        body += [r"\midrule", rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{{_latex(environment)}}}}} \\"]
        for line in members:
            steps = [f"{_steps(reached, line)}, {reached.seeds}/{line.seeds}" for reached in line.reached]
            cells = [_name(line, marks), _budget(line), *steps, share(*line.final), share(*line.area)]
            body.append(" & ".join(_latex(cell) for cell in [*cells, _time(line.seconds)]) + r" \\")
    caption = " ".join([_how_to_read(lines), *_remarks(lines), *_legend(marks)])
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            " & ".join(map(_latex, heads)) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_latex(caption)}}}",
            r"\end{table}",
        ]
    )


def methods_table(comparison: Comparison) -> str:
    """Methods over all environments together, as Markdown; empty for a single one, or if they share no environment."""
    if len({method.name for method in comparison.methods}) < 2:
        return ""
    first = comparison.methods[0].name
    heads = ["method", *(f"{score}: {kind}" for score in SCORES for kind in ("IQM", f"P({first} better)"))]
    rows: dict[str, list[str]] = {}
    for method in comparison.methods:
        better = method.improvement
        rows.setdefault(method.name, [method.name]).extend(
            [_estimate(method.iqm), "" if better is None else _estimate(better)]
        )
    table = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows.values()]
    places = comparison.environments
    over = places[0] if len(places) == 1 else f"{len(places)} environments ({', '.join(places)})"
    note = (
        f"Over {over}: interquartile mean over all seeds, and the probability that a seed of {first} scores "
        "higher than one of it, averaged over environments (ties count half); 95 % stratified bootstrap intervals "
        "over seeds."
    )
    if comparison.unfinished:
        note += f" What is not finished does not count; there is such on {', '.join(comparison.unfinished)}."
    if comparison.left_out:
        note += f" Left out, since a method is missing there: {', '.join(comparison.left_out)}."
    return "\n\n".join(["\n".join(f"| {' | '.join(row)} |" for row in table), note])


def share(value: float, low: float, high: float) -> str:
    """A number in [0, 1] with its interval, which is left out where there is none."""
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _estimate(interval: Interval) -> str:
    return share(interval.value, interval.low, interval.high)


def _latex(text: str) -> str:
    return text.translate(LATEX)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = map(str.rjust, cells, widths)
    return f"{cells[0].ljust(len(first))} {'  '.join(rest)}"


def _how_to_read(lines: Sequence[Summary]) -> str:
    low = min(line.between[0] for line in lines)
    high = max(line.between[1] for line in lines)
    every = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    return (
        "Interquartile mean over seeds of the steps of one seed, in millions, until the first evaluation with that "
        f"success on the target, with its 95 % bootstrap interval; ∞: not within the budget. Evaluated every {every} "
        f"steps. At the end: mean success over the last {LAST} evaluations and all seeds (that of the worst seed)."
    )


def _remarks(lines: Sequence[Summary]) -> list[str]:
    """What a reader must know to compare the lines."""
    remarks = []
    devices = sorted({device for line in lines for device in line.devices})
    remarks.append("Time: all seeds of a line together" + (f", on {', '.join(devices)}." if devices else "."))
    unequal = []
    finished = [line for line in lines if not line.planned]
    for environment, members in groupby(finished, lambda line: line.group.environment):
        budgets = [budget for line in members for budget in line.budget]
        if min(budgets) < max(budgets):
            unequal.append(f"{environment} ({_range((min(budgets), max(budgets)))} M)")
    if unequal:
        remarks.append(f"Seeds of one environment had different budgets: {', '.join(unequal)}; do not compare their ∞.")
    elif len({line.budget for line in finished}) > 1:
        remarks.append("Budgets differ from environment to environment. Within one they are the same for all.")
    elif finished:
        remarks.append("The budget is the same for all.")
    if len(finished) < len(lines):
        names = [f"{line.group.selector} on {line.group.environment}" for line in lines if line.planned]
        remarks.append(
            f"Not finished: {', '.join(names)}. Their budget is what they have had so far; compare neither their ∞ nor "
            "their end with anything."
        )
    return remarks


def _legend(marks: dict[str, str]) -> list[str]:
    return [f"[{mark}] {note}" for note, mark in marks.items()]


def _marks(lines: Sequence[Summary]) -> dict[str, str]:
    """A number for each note."""
    notes = dict.fromkeys(line.note for line in lines if line.note)
    return {note: str(number) for number, note in enumerate(notes, start=1)}


def _name(line: Summary, marks: dict[str, str]) -> str:
    return line.group.selector + (f" [{marks[line.note]}]" if line.note else "")


def _end(line: Summary) -> str:
    return f"{line.final_mean:.2f} ({line.final_min:.2f})"


def _interval(reached: Reached) -> str:
    if not reached.seeds:
        return "∞"
    if math.isnan(reached.low):
        return _millions(reached.iqm)
    return f"{_millions(reached.iqm)} ({_millions(reached.low)}-{_millions(reached.high)})"


def _steps(reached: Reached, line: Summary) -> str:
    return "not yet" if line.planned and not reached.seeds else _interval(reached)


def _budget(line: Summary) -> str:
    return f"{_range(line.budget)} of {_millions(line.planned)}" if line.planned else _range(line.budget)


def _range(steps: tuple[float, float]) -> str:
    low, high = map(_millions, steps)
    return low if low == high else f"{low}-{high}"


def _millions(steps: float) -> str:
    if math.isinf(steps):
        return "∞"
    value = steps / 1e6
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.0995 else f"{value:.2g}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
