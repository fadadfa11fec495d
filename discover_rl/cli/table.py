"""``discover-rl table``."""

import sys
from pathlib import Path

from discover_rl.cli.parsing import Parser


def run(arguments: list[str]) -> None:
    """Print the table of some runs."""
    parser = Parser(
        prog="discover-rl table",
        description="Runs as a table: steps to 10, 50 and 90 % success on the target and success at the end, one line "
        "for each environment and selector, with intervals over seeds.",
        epilog="example: discover-rl table runs --rows rows.csv; discover-rl table rows.csv shows the same again",
        allow_abbrev=False,
    )
    paths = "a run folder, a folder that contains some at any depth, or a CSV file that --rows wrote"
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN_DIR", help=paths)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the lines of the table to FILE too")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write every evaluation of every seed to FILE too")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args(arguments)

    from discover_rl.collect import collect
    from discover_rl.report.rows import write_rows
    from discover_rl.report.summary import summarise, write_summary
    from discover_rl.report.table import markdown_table, text_table

    curves, warnings = collect(given.paths)
    for warning in warnings:
        print(f"discover-rl: warning: {warning}", file=sys.stderr)
    lines = summarise(curves)
    if given.rows:
        write_rows(given.rows, curves)
    if given.csv:
        write_summary(given.csv, lines)
    print(markdown_table(lines) if given.markdown else text_table(lines))
