"""A fair comparison in one folder: a plan of cells, a run folder for each, and the tables of those that are done.

plan.yaml          what is compared: the axes, the settings that all cells share, the cells
runs/CELL/         one run folder for each environment and method
rows.csv           every evaluation of every seed
summary.csv, table.md, table.tex     a line for each environment and method
methods.csv, profiles.csv            methods over all environments

The plan may grow by environments and methods; the settings that all share may not change. A cell that is there is
skipped, one that was cut off goes on from its checkpoint. Any number of processes work in one folder: each takes the
first cell that no other one holds.
"""

import dataclasses
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discover_rl.collect import SUCCESS, collect
from discover_rl.config import TrainConfig
from discover_rl.report.aggregate import Comparison, compare_methods, write_comparison
from discover_rl.report.atomic import write_atomically
from discover_rl.report.rows import write_rows
from discover_rl.report.summary import Summary, summarise, write_summary
from discover_rl.report.table import latex_table, markdown_table, methods_table
from discover_rl.run_folder import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    FolderBusyError,
    claimed,
    differences,
    differences_text,
    is_finished,
    load_config,
)
from discover_rl.train import train

PLAN, RUNS = "plan.yaml", "runs"
FORMAT_VERSION = 1
AXES = ("env", "experiment")
OWN_KEYS = ("env", "experiment", "selector", "run_dir", "resume", "stop_success", "max_time")
"""What a comparison sets itself. Runs never end early, so that all have the same budget."""
MACHINE_KEYS = ("device", "num_threads", "keep_checkpoint")
"""In what the processes of a comparison may differ."""

Compose = Callable[[Sequence[str]], TrainConfig]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        axis: What the tasks are: ``env`` or ``experiment``, a group of the configuration.
        tasks: Options of that group.
        selectors: Options of the group ``selector``.
        settings: Overrides that all cells share.

    Raises:
        ValueError: If an axis is empty or has an entry twice, or the settings hold what the plan sets itself.
    """

    axis: str
    tasks: tuple[str, ...]
    selectors: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise ValueError(f"compare: the axis is {self.axis!r}; allowed: {', '.join(AXES)}")
        for name, entries in ((f"{self.axis}s", self.tasks), ("selectors", self.selectors)):
            if not entries or len(set(entries)) != len(entries):
                raise ValueError(
                    f"compare: {name} must name at least one, none twice; got [{','.join(entries)}]; write e.g. "
                    f"{name}=[{'discover,her' if name == 'selectors' else 'point_maze/u,point_maze/cross'}]"
                )
        for setting in self.settings:
            if (key := _key(setting)) in OWN_KEYS:
                raise ValueError(
                    f"compare: {setting!r}: {key} is set by the comparison itself, so that all runs have the same "
                    f"budget and a folder of their own; not allowed here: {', '.join(OWN_KEYS)}"
                )

    def cells(self) -> list["Cell"]:
        """Every task with every selector, task by task."""
        return [
            Cell(f"{task}-{selector}".replace("/", "_"), self._overrides(task, selector))
            for task in self.tasks
            for selector in self.selectors
        ]

    def _overrides(self, task: str, selector: str) -> tuple[str, ...]:
        # the budget is the same for all, so a finished run never goes on
        own = ("keep_checkpoint=false", *self.settings, "stop_success=0", "max_time=0")
        return (f"{self.axis}={task}", f"selector={selector}", *own)

    def grown(self, other: "Plan") -> "Plan":
        """This plan with the tasks and selectors of another one, after its own, on the machine of the other one.

        Raises:
            ValueError: If their settings differ.
        """
        if self.axis != other.axis:
            raise ValueError(f"the tasks there are {self.axis}s, not {other.axis}s; choose another folder=")
        if _shared(self.settings) != _shared(other.settings):
            raise ValueError(
                f"it was made with the settings [{' '.join(self.settings)}], this command has "
                f"[{' '.join(other.settings)}]; give the same ones, or choose another folder="
            )
        tasks = tuple(dict.fromkeys([*self.tasks, *other.tasks]))
        return Plan(self.axis, tasks, tuple(dict.fromkeys([*self.selectors, *other.selectors])), other.settings)

    def settings_for(self, settings: Sequence[str]) -> tuple[str, ...]:
        """The settings of a command that does not name all that is compared: without any of its own those of here.

        Args:
            settings: Overrides that the command has; those of ``MACHINE_KEYS`` alone are none of its own.
        """
        return tuple(settings) if _shared(settings) else self.on_machine(settings).settings

    def on_machine(self, settings: Sequence[str]) -> "Plan":
        """This plan on another machine.

        Args:
            settings: Overrides of ``MACHINE_KEYS``.

        Raises:
            ValueError: If there are other keys among them.
        """
        for setting in settings:
            if _key(setting) not in MACHINE_KEYS:
                raise ValueError(
                    f"{setting!r} cannot be changed in a comparison that is there; beside folder= alone, only "
                    f"{', '.join(MACHINE_KEYS)} may be given"
                )
        given = {_key(setting) for setting in settings}
        kept = [setting for setting in self.settings if _key(setting) not in given]
        return dataclasses.replace(self, settings=(*kept, *settings))


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: its name, which is that of its folder, and the overrides it is composed of."""

    name: str
    overrides: tuple[str, ...]


@dataclass
class Outcome:
    """What came of running a plan.

    Attributes:
        trained: Cells that were trained now.
        skipped: Cells that were there already, or that another process has trained meanwhile.
        elsewhere: Cells that another process is training.
        failed: Cells that ended in an error, with it.
    """

    trained: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def load_plan(folder: Path) -> Plan | None:
    """The plan of a folder; None if it has none yet.

    Raises:
        ValueError: If what stands there is no plan of this format.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, OSError) as error:
        raise ValueError(f"{path} is not a plan: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path} is not a plan of format version {FORMAT_VERSION}; choose another folder=")
    try:
        return Plan(found["axis"], *(tuple(map(str, found[key])) for key in ("tasks", "selectors", "settings")))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a plan: {error} is missing or of the wrong kind") from error


def save_plan(folder: Path, plan: Plan) -> None:
    """Write the plan.

    Raises:
        OSError: If it cannot be written.
    """
    mapping: Mapping[str, Any] = {
        "format_version": FORMAT_VERSION,
        "axis": plan.axis,
        "tasks": list(plan.tasks),
        "selectors": list(plan.selectors),
        "settings": list(plan.settings),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PLAN, OmegaConf.to_yaml(OmegaConf.create(dict(mapping))).encode())


def run_plan(
    folder: Path, plan: Plan, compose: Compose, say: Callable[[str], None], after: Callable[[], None] = lambda: None
) -> Outcome:
    """Train what is missing.

    A cell that fails is told and left; the others are trained all the same.

    Args:
        folder: The folder of the comparison.
        plan: What to train.
        compose: From overrides to a configuration.
        say: Tells a person what happens.
        after: Called after each cell that was trained.

    Raises:
        ValueError: If a cell does not compose, or the budgets of an environment differ; nothing is trained then.
    """
    cells = plan.cells()
    configs = {cell.name: _composed(cell, folder, compose) for cell in cells}
    _check_budgets(plan, configs)
    outcome = Outcome()
    waiting = list(cells)
    while waiting:
        for cell in waiting:
            try:
                with claimed(folder / RUNS / cell.name):
                    number = f"[{cells.index(cell) + 1}/{len(cells)}] "
                    trained = _train(cell.name, configs[cell.name], folder, outcome, partial(_said, say, number))
            except FolderBusyError:
                continue
            waiting.remove(cell)
            if trained:
                after()
            break  # from the first again: its process may have died
        else:
            break
    outcome.elsewhere = [cell.name for cell in waiting]
    return outcome


def _train(name: str, config: TrainConfig, folder: Path, outcome: Outcome, say: Callable[[str], None]) -> bool:
    """Train a cell that is held, unless it is done; whether it was trained now."""
    run_dir = folder / RUNS / name
    if is_done(run_dir, config):
        outcome.skipped.append(name)
        return False
    goes_on = (run_dir / CHECKPOINT).is_file()
    say(name + (", going on from its checkpoint" if goes_on else ""))
    try:
        train(config, run_dir, resume=goes_on)
    except Exception as error:  # out of memory, a diverged network: the other cells do not suffer
        outcome.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        say(f"{name} failed: {outcome.failed[name]}")
    else:
        outcome.trained.append(name)
    _free_memory()
    return name in outcome.trained


def _said(say: Callable[[str], None], number: str, text: str) -> None:
    say(number + text)


def is_done(run_dir: Path, config: TrainConfig) -> bool:
    """Whether a cell was trained to the end.

    Raises:
        ValueError: If what stands there was made with other settings.
    """
    if not (run_dir / CONFIG).is_file():
        return False
    if differing := differences(load_config(run_dir, own_files=True), config):
        raise ValueError(
            f"{run_dir} was made with another {differences_text(differing)}, by another version or another recipe; "
            "remove it, or choose another folder="
        )
    finished = is_finished(run_dir, config.num_timesteps)
    if finished and not (run_dir / METRICS).is_file():
        raise ValueError(f"{run_dir} was trained to its end and has lost its {METRICS}; remove it to train it again")
    return finished


def write_tables(folder: Path, plan: Plan) -> tuple[list[Summary], Comparison, list[str]]:
    """Write every table of a comparison, of what is there. Nothing is composed, so no recipe has to be here.

    Args:
        folder: The folder of the comparison.
        plan: What belongs to it.

    Returns:
        The lines, the methods over all tasks, and warnings: what is not finished, what could not be read.

    Raises:
        ValueError: If no run has an evaluation.
        OSError: If a file cannot be written.
    """
    there = cells_there(folder, plan)
    if not there:
        raise ValueError(f"no run in {folder / RUNS} has an evaluation yet")
    curves, warnings = collect(there)
    sources = {curve.source for curve in curves}
    missing = [cell.name for cell in plan.cells() if str(folder / RUNS / cell.name) not in sources]
    lines, comparison = summarise(curves), compare_methods(curves)
    write_rows(folder / "rows.csv", curves)
    write_summary(folder / "summary.csv", lines)
    write_comparison(folder, comparison)
    incomplete = f"Not complete: {', '.join(missing)} still to come." if missing else ""
    parts = [part for part in (markdown_table(lines), methods_table(comparison), incomplete) if part]
    write_atomically(folder / "table.md", ("\n\n".join(parts) + "\n").encode())
    latex = [f"% {incomplete}"] if missing else []
    write_atomically(folder / "table.tex", ("\n".join([*latex, latex_table(lines)]) + "\n").encode())
    return lines, comparison, [*warnings, *([incomplete] if missing else [])]


def cells_there(folder: Path, plan: Plan) -> list[Path]:
    """Run folders of the cells that have begun."""
    run_dirs = [folder / RUNS / cell.name for cell in plan.cells()]
    return [run_dir for run_dir in run_dirs if (run_dir / CONFIG).is_file() and _is_evaluated(run_dir)]


def _is_evaluated(run_dir: Path) -> bool:
    """Whether ``metrics.csv`` names the column at all; a run cut off before its first evaluation is still to come."""
    try:
        with (run_dir / METRICS).open(encoding="utf-8") as file:
            return SUCCESS in file.readline().strip().split(",")
    except OSError:
        return False


def _key(setting: str) -> str:
    return setting.split("=", 1)[0].lstrip("+")


def _shared(settings: Sequence[str]) -> list[str]:
    return sorted(setting for setting in settings if _key(setting) not in MACHINE_KEYS)


def _composed(cell: Cell, folder: Path, compose: Compose) -> TrainConfig:
    try:
        config = compose(cell.overrides)
    except ValueError as error:
        raise ValueError(f"{cell.name}: {error}") from error
    is_done(folder / RUNS / cell.name, config)  # what does not fit is told before anything is trained
    return config


def _check_budgets(plan: Plan, configs: Mapping[str, TrainConfig]) -> None:
    """A recipe of a selector could bring a budget of its own."""
    names = [cell.name for cell in plan.cells()]
    for first in range(0, len(names), len(plan.selectors)):
        members = [configs[name] for name in names[first : first + len(plan.selectors)]]
        for key in ("num_timesteps", "seeds", "seed", "eval_interval", "eval_episodes", "gradient_steps"):
            if len({getattr(member, key) for member in members}) > 1:
                raise ValueError(f"compare: {names[first]} and the other methods there differ in {key}; set {key}=")


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
