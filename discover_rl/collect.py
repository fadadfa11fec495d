"""From run folders to learning curves: which runs belong to one line of a table, and how the lines differ.

Configurations are read as plain data, not as the dataclasses of this version, so that older runs, and those of
environments that are not installed here, can be shown too.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discover_rl.report.metrics import STEP, read_metrics, select_seed
from discover_rl.report.rows import Curve, Group, read_rows
from discover_rl.run_folder import CONFIG, FREE_KEYS, METRICS, VERSIONS

SUCCESS, SECONDS = "eval/success_rate", "time/time_elapsed"
SEED_KEYS = ("seed", "seeds")
SHOWN_KEYS = 4  # of those that differ
USUAL = "the settings that most have"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: Where.
        settings: Its configuration, flat: ``agent.gamma`` -> 0.97.
        curves: One per seed.
    """

    folder: Path
    settings: Settings
    curves: list[Curve]


def collect(paths: Sequence[Path]) -> tuple[list[Curve], list[str]]:
    """The learning curves below some paths.

    Args:
        paths: Run folders, folders with run folders at any depth, and CSV files of rows.

    Returns:
        The curves, one per seed, and warnings about runs that were left out or are not finished.

    Raises:
        ValueError: If a path holds nothing of that kind, or nothing that can be shown is left.
        FileNotFoundError: If a path is not there.
    """
    curves: list[Curve] = []
    folders: dict[Path, Path] = {}
    for path in paths:
        if path.is_file():
            first = 1 + max((curve.run for curve in curves), default=-1)
            curves += [replace(curve, run=first + curve.run) for curve in read_rows(path)]
        else:
            folders |= {folder.resolve(): folder for folder in _run_folders(path)}
    runs, warnings = [], []
    for folder in folders.values():
        try:
            runs.append(_read_run(folder))
        except ValueError as error:
            warnings.append(f"left out: {error}")
        else:
            warnings += _unfinished(runs[-1])
    first = 1 + max((curve.run for curve in curves), default=-1)
    notes = _notes(runs)
    for number, run in enumerate(runs, start=first):
        curves += [replace(curve, run=number, note=notes[curve.group]) for curve in run.curves]
    if not curves:
        raise ValueError("; ".join(["there is nothing to show", *warnings]))
    return curves, warnings + _same_names(runs)


def environment_name(env: Mapping[str, Any]) -> str:
    """What an environment is called in a table.

    Args:
        env: Its part of the configuration.

    Returns:
        Its ``layout`` (for a file the name without folder and suffix, with ``dim`` and ``radius`` where it is
        ``generated``), or its ``id`` or its ``name`` if it has no layout.
    """
    layout = env.get("layout")
    if not isinstance(layout, str) or not layout:
        return str(env.get("id") or env.get("name", "?"))
    if layout == "generated" and {"dim", "radius"} <= set(env):
        return f"generated-{env['dim']}d-r{env['radius']}"
    if "\n" in layout:
        return "rows"
    return PurePosixPath(layout.replace("\\", "/")).stem


def _run_folders(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give run folders, folders with some, or a CSV file of rows")
    found = [config.parent for config in sorted(path.rglob(CONFIG)) if (config.parent / METRICS).is_file()]
    if not found:
        raise ValueError(f"{path} holds no run: no folder in it has {CONFIG} and {METRICS}")
    return found


def _read_run(folder: Path) -> Run:
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is not a configuration: {' '.join(str(error).split())}") from error
    parts = [config.get(part) if isinstance(config, dict) else None for part in ("env", "selector")]
    env, selector = parts
    if not isinstance(config, dict) or not isinstance(env, dict) or not isinstance(selector, dict):
        raise ValueError(f"{folder / CONFIG} is not the configuration of a run: it lacks env or selector")
    settings = _flat({str(key): value for key, value in config.items()})
    group = Group(environment_name(env), str(selector.get("name", "?")), _fingerprint(settings))
    try:
        metrics = read_metrics(folder / METRICS)
    except ValueError as error:
        named = str(folder / METRICS) in str(error)
        raise ValueError(str(error) if named else f"{folder / METRICS}: {error}") from error
    if SUCCESS not in metrics:
        raise ValueError(f"{folder / METRICS} has no evaluation yet")
    device, curves = _device(folder), []
    budget, stop, limit = (float(settings.get(key, 0)) for key in ("num_timesteps", "stop_success", "max_time"))
    seeds = np.unique(metrics["seed"]).tolist()
    solved = 0 < stop <= min(_last_known(select_seed(metrics, seed)[SUCCESS]) for seed in seeds)
    for seed in seeds:
        mine = select_seed(metrics, seed)
        known = ~np.isnan(mine[SUCCESS])
        if known.any():
            steps, success = mine[STEP][known].astype(np.float64), mine[SUCCESS][known]
            seconds = _all_seconds(mine[SECONDS])[known] if SECONDS in mine else np.zeros(len(steps))
            stopped = SECONDS in mine and 0 < limit <= mine[SECONDS][known][-1]
            planned = 0.0 if solved or stopped else budget
            found = Curve(group, seed, steps, success, seconds, device=device, source=str(folder), planned=planned)
            curves.append(found)
    if not curves:
        raise ValueError(f"{folder / METRICS} has no evaluation yet")
    return Run(folder, settings, curves)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Settings:
    flat: Settings = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            flat |= _flat({str(inner): item for inner, item in value.items()}, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _compared(settings: Settings) -> Settings:
    """The settings that must agree within a line: without seeds, budget and device, and files without folder."""
    kept = {key: value for key, value in settings.items() if key not in (*FREE_KEYS, *SEED_KEYS)}
    return {key: _without_folder(value) if key.startswith("env.") else value for key, value in kept.items()}


def _without_folder(value: object) -> object:
    """A file lies elsewhere on another machine."""
    return PurePosixPath(value.replace("\\", "/")).name if isinstance(value, str) else value


def _fingerprint(settings: Settings) -> str:
    text = json.dumps(_compared(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _all_seconds(elapsed: Float[np.ndarray, "row"]) -> Float[np.ndarray, "row"]:
    """Wall time since the start of a run whose clock began anew each time it went on from a checkpoint."""
    before = elapsed[:-1]
    return elapsed + np.concatenate([[0.0], np.cumsum(np.where(np.diff(elapsed) < 0, before, 0.0))])


def _device(folder: Path) -> str:
    try:
        found = json.loads((folder / VERSIONS).read_text(encoding="utf-8"))
        return str(found.get("device_name", found.get("device", "")))
    except (OSError, ValueError, AttributeError):
        return ""


def _last_known(success: Float[np.ndarray, "row"]) -> float:
    known = success[~np.isnan(success)]
    return float(known[-1]) if len(known) else 0.0


def _unfinished(run: Run) -> list[str]:
    if all(curve.finished for curve in run.curves):
        return []
    reached, budget = min(curve.steps[-1] for curve in run.curves), run.curves[0].planned
    return [f"{run.folder} is not finished: {reached:,.0f} of {budget:,.0f} steps"]


def _notes(runs: Sequence[Run]) -> dict[Group, str]:
    """For each group its settings that most groups of its environment do not share.

    Those of the selector count among groups of one selector only.
    """
    settings = {run.curves[0].group: _compared(run.settings) for run in runs}
    notes = {}
    for group, mine in settings.items():
        peers = [theirs for other, theirs in settings.items() if other.environment == group.environment]
        rivals = [theirs for other, theirs in settings.items() if other[:2] == group[:2]]
        keys = sorted({key for theirs in peers for key in theirs})
        unusual = [key for key in keys if _unusual(key, mine, rivals if _of_selector(key) else peers)]
        shown = [f"{key}={mine[key]}" if key in mine else f"without {key}" for key in unusual]
        more = len(shown) - SHOWN_KEYS
        note = ", ".join(shown[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
        notes[group] = note or (USUAL if len(rivals) > 1 else "")
    return notes


def _unusual(key: str, mine: Settings, among: Sequence[Settings]) -> bool:
    """Whether no more than half of them, ``mine`` included, have this value of a setting."""
    missing = object()
    return 2 * sum(theirs.get(key, missing) == mine.get(key, missing) for theirs in among) <= len(among)


def _of_selector(key: str) -> bool:
    return key.startswith("selector.")


def _same_names(runs: Sequence[Run]) -> list[str]:
    """Warnings about files of one name in several folders, which may be different mazes."""
    places: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key.startswith("env.") and isinstance(value, str) and _without_folder(value) != value:
                places.setdefault(f"{key}={_without_folder(value)}", set()).add(value)
    return [
        f"{name} stands for {' and '.join(sorted(files))}, taken for the same"
        for name, files in places.items()
        if len(files) > 1
    ]
