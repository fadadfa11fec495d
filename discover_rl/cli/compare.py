"""``discover-rl compare``: speaks Hydra's grammar of overrides."""

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from discover_rl.cli.composing import (
    check_overrides,
    composed,
    read_override,
    register_dotted_paths,
    register_schemas,
)
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
folder=DIR. With more tasks or methods the folder grows; folder=DIR selectors=[NAME] is enough for another method. No
run ends early, so that the budget is the same for all.
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
    folder, axes, settings = _parse([argument for argument in arguments if argument != "--tables"])
    if only_tables:
        if axes or settings:
            raise ValueError("compare: --tables shows a folder as it is; give nothing but folder=DIR beside it")
        _show(folder)
        return
    register_schemas()
    with claimed(folder, wait=True):
        plan = _plan(folder, axes, settings)
        several = len(plan.selectors)
        for number, cell in enumerate(plan.cells()):
            if number < several or number % several == 0:  # each task and each selector once
                register_dotted_paths(cell.overrides)
                check_overrides(list(cell.overrides))
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


def _parse(arguments: list[str]) -> tuple[Path, dict[str, list[str]], list[str]]:
    """The folder, the names given for ``AXES`` and selectors, and the settings."""
    from discover_rl.config import did_you_mean

    own = (*AXES, "selectors", "folder")
    names: dict[str, list[str]] = {}
    settings = []
    for argument in arguments:
        key, equals, written = argument.partition("=")
        if not equals:
            raise ValueError(f"compare: {argument!r} is not an option{did_you_mean(key, own)}; write KEY=VALUE")
        override = read_override(argument)
        if override.is_sweep_override():
            advice = f"write {key}=[{written}]" if key in (*AXES, "selectors") else "all runs share one value"
            raise ValueError(f"compare: {argument}: {advice}")
        if key not in own:
            settings.append(argument)
            continue
        value = override.value()
        names[key] = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    return Path(names.pop("folder", [FOLDER])[0]), names, settings


def _plan(folder: Path, names: dict[str, list[str]], settings: list[str]) -> "Plan":
    """What the folder holds after this command; what the command leaves out is as it is there.

    Raises:
        ValueError: If nothing is there and too little is given, or what is there differs.
    """
    from discover_rl.compare import Plan, load_plan

    stored = load_plan(folder)
    axes = [axis for axis in AXES if axis in names]
    if stored is None and not names:
        raise ValueError(_no_plan(folder))
    if len(axes) > 1 or (stored is None and len(names) < 2):
        raise ValueError("compare: give envs=[...] or experiments=[...], one of the two, and selectors=[...]")
    if stored is None:
        return Plan(AXES[axes[0]], tuple(names[axes[0]]), tuple(names["selectors"]), tuple(settings))
    axis, tasks = (AXES[axes[0]], tuple(names[axes[0]])) if axes else (stored.axis, stored.tasks)
    selectors = tuple(names.get("selectors", stored.selectors))
    given = Plan(axis, tasks, selectors, tuple(settings) if len(names) == 2 else stored.settings_for(settings))
    try:
        return stored.grown(given) if names else stored.on_machine(settings)
    except ValueError as error:
        raise ValueError(f"{folder} holds another comparison: {error}") from error


def _write_report(folder: Path, plan: "Plan") -> list[str]:
    from discover_rl.compare import cells_there
    from discover_rl.present import write_report

    try:
        warnings = write_report(cells_there(folder, plan), folder / "report.html")
    except ValueError as error:  # plotly is an extra; the tables are there all the same
        return [f"no report: {error}"]
    return [warning for warning in warnings if "is not finished" not in warning]  # told already
