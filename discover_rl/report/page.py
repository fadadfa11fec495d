"""One HTML file that holds everything it shows: charts, tables and the library that draws them."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discover_rl.report.aggregate import Comparison
from discover_rl.report.summary import Summary
from discover_rl.report.table import latex_table, markdown_table, methods_table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #222; background: #fff; max-width: 1250px;
       margin: 2em auto; padding: 0 1.2em; }
h1 { font-size: 1.7em; margin-bottom: .1em; } h2 { font-size: 1.3em; margin: 2.2em 0 .3em; }
h3 { font-size: 1.05em; margin: 1.4em 0 .2em; }
p, li { max-width: 76ch; } .note { color: #555; font-size: .9em; }
table { border-collapse: collapse; font-size: .85em; margin: .8em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; text-align: right; white-space: nowrap; } th { border-bottom: 1.5px solid #222; }
td:first-child, th:first-child, td:nth-child(2) { text-align: left; } tr + tr td { border-top: 1px solid #e4e4e4; }
.wide { overflow-x: auto; } summary { cursor: pointer; } pre { font-size: .8em; background: #f6f6f6; padding: 1em; }
"""
CONFIG = {"displaylogo": False, "responsive": False, "toImageButtonOptions": {"format": "svg"}}


@dataclass
class Section:
    """A heading with what stands under it.

    Attributes:
        title: The heading.
        parts: HTML, in order.
    """

    title: str
    parts: list[str] = field(default_factory=list)


def chart(figure: "Figure", name: str) -> str:
    """A chart as HTML, without the library.

    Args:
        figure: The chart.
        name: Its id in the page, unique there.
    """
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG, auto_play=False)
    return f'<div class="wide">{drawn}</div>'


def paragraph(text: str, note: bool = False) -> str:
    """Text, escaped."""
    kind = ' class="note"' if note else ""
    return f"<p{kind}>{html.escape(text)}</p>"


def folded(title: str, content: str, opened: bool = False) -> str:
    """Content that a click on its title shows."""
    return f"<details{' open' if opened else ''}><summary>{html.escape(title)}</summary>{content}</details>"


def tables(lines: Sequence[Summary], comparison: Comparison) -> str:
    """The table of a comparison, and its LaTeX to copy."""
    parts = [from_markdown(markdown_table(lines)), from_markdown(methods_table(comparison))]
    return "".join([*parts, folded("LaTeX", f"<pre>{html.escape(latex_table(lines))}</pre>")])


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: Of the page.
        subtitle: One line under it.
        sections: In order.
    """
    from plotly.offline import get_plotlyjs

    body = "".join(f"<h2>{html.escape(section.title)}</h2>" + "".join(section.parts) for section in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>'
        f"<body><h1>{html.escape(title)}</h1>{paragraph(subtitle, note=True)}{body}</body></html>\n"
    )


def from_markdown(text: str) -> str:
    """Tables and paragraphs of the Markdown that we write ourselves, as HTML."""
    parts = []
    for block in filter(None, text.split("\n\n")):
        if not block.startswith("|"):
            parts.append(paragraph(block, note=True))
            continue
        head, _, *rows = (
            [html.escape(cell.strip()) for cell in row.strip("|").split("|")] for row in block.split("\n")
        )
        cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        parts.append(f'<div class="wide"><table><tr>{heads}</tr>{cells}</table></div>')
    return "".join(parts)
