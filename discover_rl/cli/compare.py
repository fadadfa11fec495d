"""``discover-rl compare``: speaks Hydra's grammar of overrides."""

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from discover_rl.cli.composing import check_overrides, composed, register_dotted_paths, register_schemas
from discover_rl.cli.parsing import fail

if TYPE_CHECKING:
    from discover_rl.compare import Plan

HELP = """discover-rl compare: methods on tasks, the same seeds and the same budget for all, one folder, one table.

usage: discover-rl compare envs=[NAME,...] selectors=[NAME,...] [KEY=VALUE ...] [folder=DIR]
       discover-rl compare experiments=[NAME,...] selectors=[NAME,...] [KEY=VALUE ...] [folder=DIR]
       discover-rl compare folder=DIR [device=NAME] [--tables]

  envs, experiments   the tasks: environments, or recipes that bring their environment and budget
  selectors           the methods
  KEY=VALUE           settings of all runs, as for train (seeds=10, num_timesteps=1e6, agent.gamma=0.99)
  folder              where everything is written (default: comparison)
  --tables            train nothing, write tables and report of what is there, finished or not

Runs that are there are skipped, runs that were cut off go on: after a kill type the same command again, or only
folder=DIR. With more tasks or methods the folder grows. No run ends early, so that the budget is the same for all.
The same command in several processes, on several machines that share the folder: they share the runs out among them
(device= and num_threads= may differ). Finished runs keep networks and metrics, but nothing to train further from,
unless keep_checkpoint=true.

example: discover-rl compare envs=[point_maze/u,point_maze/cross] selectors=[discover,mega,her] seeds=10 device=cuda
"""
AXES = {"envs": "env", "experiments": "experiment"}
FOLDER = "comparison"


def run(arguments: list[str]) -> None:
    """Train what is missing, then write and print the tables."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    from discover_rl.compare import cells_there, load_plan, run_plan, save_plan, write_tables
    from discover_rl.run_folder import claimed

    only_tables = "--tables" in arguments
    folder, given, machine = _parse([argument for argument in arguments if argument != "--tables"])
    if only_tables:
        if given is not None or machine:
            raise ValueError("compare: --tables shows a folder as it is; give nothing but folder=DIR beside it")
        _show(folder)
        return
    register_schemas()
    with claimed(folder, wait=True):
        stored = load_plan(folder)
        try:
            plan = given if stored is None else stored.on_machine(machine) if given is None else stored.grown(given)
        except ValueError as error:
            raise ValueError(f"{folder} holds another comparison: {error}") from error
        if plan is None:
            raise ValueError(_no_plan(folder))
        several = len(plan.selectors)
        for number, cell in enumerate(plan.cells()):
            if number < several or number % several == 0:  # each task and each selector once
                check_overrides(register_dotted_paths(cell.overrides))
        save_plan(folder, plan)

    def tables() -> None:
        with claimed(folder, wait=True):
            write_tables(folder, load_plan(folder) or plan)

    outcome = run_plan(folder, plan, cache(composed), lambda text: print(text, flush=True), tables)
    if cells_there(folder, plan):
        _show(folder)
    trained = f"\n{len(outcome.trained)} runs trained, {len(outcome.skipped)} there already"
    elsewhere = f"; another process is training {', '.join(outcome.elsewhere)}" if outcome.elsewhere else ""
    print(f"{trained}{elsewhere}")
    if outcome.failed:
        told = "; ".join(f"{name}: {error}" for name, error in outcome.failed.items())
        fail(f"{len(outcome.failed)} of {len(plan.cells())} runs failed: {told}; the same command tries them again")


def _no_plan(folder: Path) -> str:
    return f"{folder} holds no comparison yet; give envs=[...] or experiments=[...] and selectors=[...]"


def _show(folder: Path) -> None:
    """Write tables and report of what is there, and print them."""
    from discover_rl.compare import load_plan, write_tables
    from discover_rl.report.table import methods_table, text_table
    from discover_rl.run_folder import claimed

    plan = load_plan(folder)
    if plan is None:
        raise ValueError(_no_plan(folder))
    with claimed(folder, wait=True):
        lines, comparison, warnings = write_tables(folder, plan)
        for warning in [*warnings, *_write_report(folder, plan)]:
            print(f"discover-rl: warning: {warning}", file=sys.stderr)
    print("\n" + text_table(lines))
    if summary := methods_table(comparison):
        print("\n" + summary)
    print(f"\nin {folder}: report.html, table.md, table.tex, summary.csv, methods.csv, profiles.csv, rows.csv")


def _parse(arguments: list[str]) -> tuple[Path, "Plan | None", list[str]]:
    """The folder, what the command says of the plan, and where it names no plan what it says of the machine."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from discover_rl.compare import Plan
    from discover_rl.config import did_you_mean

    own = (*AXES, "selectors", "folder")
    values: dict[str, list[str]] = {}
    settings = []
    for argument in arguments:
        key = argument.split("=", 1)[0]
        if key not in own:
            if "=" not in argument:
                raise ValueError(f"compare: {argument!r} is not an option{did_you_mean(key, own)}; write KEY=VALUE")
            settings.append(argument)
            continue
        try:
            value = OverridesParser.create().parse_override(argument).value()
        except HydraException as error:
            raise ValueError(f"compare: {argument!r} cannot be read; write e.g. selectors=[discover,her]") from error
        values[key] = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    folder = Path(values.pop("folder", [FOLDER])[0])
    if not values:
        return folder, None, settings
    axes = [axis for axis in AXES if axis in values]
    if len(axes) != 1 or "selectors" not in values:
        raise ValueError("compare: give envs=[...] or experiments=[...], one of the two, and selectors=[...]")
    return folder, Plan(AXES[axes[0]], tuple(values[axes[0]]), tuple(values["selectors"]), tuple(settings)), []


def _write_report(folder: Path, plan: "Plan") -> list[str]:
    from discover_rl.compare import cells_there
    from discover_rl.present import write_report

    try:
        warnings = write_report(cells_there(folder, plan), folder / "report.html")
    except ValueError as error:  # plotly is an extra; the tables are there all the same
        return [f"no report: {error}"]
    return [warning for warning in warnings if "is not finished" not in warning]  # told already
