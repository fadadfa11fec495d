"""``discover-rl bench``."""

import argparse
from pathlib import Path

from discover_rl.cli.composing import composed
from discover_rl.cli.parsing import Parser, fail


def run(arguments: list[str]) -> None:
    """Measure this device and print the table."""
    from discover_rl.bench import SECTIONS, Options
    from discover_rl.bench import run as measure

    def sections(names: str) -> tuple[str, ...]:
        from discover_rl.config import did_you_mean

        for name in names.split(","):
            if name not in SECTIONS:
                hint = did_you_mean(name, SECTIONS)
                raise argparse.ArgumentTypeError(f"no section {name!r}{hint}; allowed: {', '.join(SECTIONS)}")
        return tuple(name for name in SECTIONS if name in names.split(","))

    parser = Parser(
        prog="discover-rl bench",
        description="Where the time goes on this device: one table of environment steps, goal choices, updates and "
        "whole training, each beside its floor and beside the plain way of doing the same.",
        epilog="example: discover-rl bench --only updates,training --csv bench.csv",
        allow_abbrev=False,
    )
    parser.add_argument("--device", default="auto", help="auto (cuda if there is one), cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="small sizes, some twenty seconds")
    parser.add_argument("--only", type=sections, default=tuple(SECTIONS), metavar="NAMES", help=",".join(SECTIONS))
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows to FILE too; JSON if it ends in .json")
    parser.add_argument("--seconds", type=_positive, help="seconds to measure each figure, about (default 0.3)")
    given = parser.parse_args(arguments)
    seconds = given.seconds or (0.05 if given.quick else 0.3)
    try:
        measure(Options(given.device, given.quick, given.only, seconds, given.csv), composed)
    except KeyboardInterrupt:
        fail("interrupted; the rows above are what was measured", code=130)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, got {text!r}")
    return value
