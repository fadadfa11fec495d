"""``discover-rl report``."""

import sys
from pathlib import Path

from discover_rl.cli.parsing import Parser

NAME = "report.html"


def run(arguments: list[str]) -> None:
    """Write the report of some runs."""
    parser = Parser(
        prog="discover-rl report",
        description="Runs as one HTML file that needs no network: learning curves with intervals, tables, alpha and "
        "goals over time, and the curriculum of each method to play: goals chosen and value maps. Of runs of "
        "discover-rl ttc: success at the targets, what was practised when, pass rates expected and seen.",
        epilog="example: discover-rl report runs --output maze.html",
        allow_abbrev=False,
    )
    paths = "a run folder, a folder that contains some at any depth, or a CSV file of rows"
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN_DIR", help=paths)
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: {NAME} in the first folder")
    parser.add_argument("--seed", type=int, help="whose curriculum is shown (default: the median seed of each method)")
    parser.add_argument("--title", default="", help="of the page")
    given = parser.parse_args(arguments)

    from discover_rl.present import write_report
    from discover_rl.present_text import text_runs, write_text_report

    first = given.paths[0]
    output = given.output or (first if first.is_dir() else first.parent) / NAME
    on_texts, warnings = text_runs(given.paths)
    if on_texts:
        warnings += write_text_report(on_texts, output, given.title)
    else:
        warnings = write_report(given.paths, output, given.seed, given.title)
    for warning in warnings:
        print(f"discover-rl: warning: {warning}", file=sys.stderr)
    print(f"report: {output} ({output.stat().st_size / 1e6:.1f} MB)")
