"""The folder of a run: what is written there before training, and how a run is found again.

config.yaml         the resolved configuration
versions.json       format of the folder, packages, Python, device, git commit
files/KEY/          copies of the files that env.KEY names (a layout, say), so that the folder can be moved
metrics.csv         one row per seed and log time
tensorboard/        the same rows
model.safetensors   the networks, newest
checkpoint.safetensors   everything that training goes on from, newest; only a note once a run with
                    keep_checkpoint=false is finished
curriculum.safetensors   the goals chosen and value maps over time, for the report
curriculum.png      the goals chosen over time
.lock               held by the process that trains here
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import torch
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from discover_rl.agents import AGENT_CONFIGS
from discover_rl.checkpoint import load_note
from discover_rl.config import (
    TrainConfig,
    did_you_mean,
    is_dotted_path,
    load_plugin,
    plugin_names,
    schema_node,
    settings_of,
    settings_schema,
    value_sentence,
)
from discover_rl.report.atomic import write_atomically
from discover_rl.selectors import SELECTORS

CONFIG, VERSIONS, METRICS = "config.yaml", "versions.json", "metrics.csv"
MODEL, CHECKPOINT, CURRICULUM = "model.safetensors", "checkpoint.safetensors", "curriculum.safetensors"

FILES, LOCK = "files", ".lock"
FORMAT_VERSION = 3
"""Of a run folder; older ones are read too. 0, without a number, had no ``files/`` and no ``curriculum.safetensors``;
up to 1, networks saw x and y of MuJoCo mazes in cells."""

GIVEN_AS_OBJECT = "given as a Python object"
PACKAGES = ("discover-rl", "torch", "numpy", "gymnasium", "mujoco", "hydra-core", "stable-baselines3")
# what may differ between a run and its continuation, beside what FREE_KEYS of the environment's settings names
FREE_KEYS = (
    "num_timesteps",
    "device",
    "num_threads",
    "cudagraphs",
    "compile",
    "tf32",
    "resume",
    "run_dir",
    "log_interval",
    "eval_interval",
    "save_interval",
    "keep_checkpoint",
    "stop_success",
    "max_time",
)


class FolderBusyError(ValueError):
    """Another process is at work in a folder."""


@contextmanager
def claimed(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process. The claim ends with the process, however it ends, so none goes stale.

    Between machines it holds where their file system passes on ``flock``, as NFS does.

    Args:
        folder: Made where missing.
        wait: Whether to wait for a process that holds it.

    Raises:
        FolderBusyError: If another process holds it, and this one does not wait.
        OSError: If it cannot be made or written into.
    """
    with _lock_file(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise FolderBusyError(
                f"another process ({holder}) is at work in {folder}; wait for it, or choose another folder"
            ) from error
        except OSError as error:
            warnings.warn(f"{folder} cannot be locked ({error.strerror}); start one process there only", stacklevel=3)
        os.register_at_fork(after_in_child=file.close)  # a worker that outlives its parent must not keep the claim
        file.truncate(0)
        file.write(f"{platform.node()}, process {os.getpid()}\n")
        file.flush()
        yield


def _lock_file(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK).open("a+")
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise OSError(error.errno, f"cannot write into the folder {folder}: {reason}; choose another folder") from error


def config_from_mapping(mapping: dict[str, Any]) -> TrainConfig:
    """Build the typed configuration from plain data, as YAML or Hydra give it.

    Raises:
        ValueError: If a key is unknown or a value is not allowed, in one sentence.
    """
    parts = {}
    for group, find in SCHEMAS.items():
        given = mapping.get(group)
        if given is None and group in OPTIONAL_GROUPS:
            continue
        if given is None:
            raise ValueError(f"{group} is not set; choose one, e.g. {group}=...")
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"{group} must hold keys and values, {group}.name among them; got {given!r}")
        parts[group] = _typed(find(name), given, f"{group}.")
    rest = {key: value for key, value in mapping.items() if key not in SCHEMAS}
    return dataclasses.replace(_typed(TrainConfig, rest, ""), **parts)


def config_from_node(node: DictConfig | ListConfig) -> TrainConfig:
    """Build the typed configuration from what Hydra composed or a file held.

    Raises:
        ValueError: As ``config_from_mapping``, and if the node holds no keys.
    """
    mapping = OmegaConf.to_container(node)
    if not isinstance(mapping, dict):
        raise ValueError("a configuration must hold keys and values")
    return config_from_mapping({str(key): value for key, value in mapping.items()})


def env_schema(name: str) -> type:
    """The configuration of an environment.

    Args:
        name: Of a plug-in, or a dotted path.

    Raises:
        ValueError: If there is none of that name, or it has no configuration.
    """
    schema = getattr(load_plugin("discover_rl.environments", name), "Config", None)
    if not isinstance(schema, type) or not _has_name(schema):
        raise ValueError(
            f"environment {name}: it needs an attribute Config, a dataclass of its settings with a field "
            f"name: str; got {schema!r}"
        )
    return schema


def selector_schema(name: str) -> type:
    """The selector class, which is its own configuration.

    Args:
        name: One of ours, of a plug-in, or a dotted path.

    Raises:
        ValueError: If there is none of that name, or it is no selector.
    """
    if name in SELECTORS:
        return SELECTORS[name]
    installed = plugin_names("discover_rl.selectors")
    if name not in installed and not is_dotted_path(name):
        known = sorted([*SELECTORS, *installed])
        raise ValueError(f"selector.name is {name!r}{did_you_mean(name, known)}; allowed: {', '.join(known)}")
    found = load_plugin("discover_rl.selectors", name)
    parts = ("needs_values", "needs_distance", "init", "select", "update")
    missing = [part for part in parts if not hasattr(found, part)]
    if missing or not _has_name(found):
        lacks = ", ".join(missing) or "a field name: str"
        raise ValueError(
            f"selector {name}: it must be a dataclass with a field name: str and with {', '.join(parts)}; it lacks "
            f"{lacks} (see discover_rl.selectors.Selector)"
        )
    return found


def goal_space_schema(name: str) -> type:
    """The settings of a goal space.

    Args:
        name: Of a plug-in, or a dotted path.

    Raises:
        ValueError: If there is none of that name, or it is no class.
    """
    if name == GIVEN_AS_OBJECT:
        raise ValueError("goal_space was given as a Python object that no configuration can hold; give it again")
    found = load_plugin("discover_rl.goal_spaces", name)
    if not isinstance(found, type):
        raise ValueError(f"goal space {name}: it must be a class, got {type(found).__name__}")
    return settings_schema(found, name)


def _agent_schema(name: str) -> type:
    if name not in AGENT_CONFIGS:
        raise ValueError(
            f"agent.name is {name!r}{did_you_mean(name, AGENT_CONFIGS)}; allowed: {', '.join(sorted(AGENT_CONFIGS))}"
        )
    return AGENT_CONFIGS[name]


def _has_name(schema: object) -> bool:
    return dataclasses.is_dataclass(schema) and "name" in [field.name for field in dataclasses.fields(schema)]


SCHEMAS: dict[str, Callable[[str], type]] = {
    "env": env_schema,
    "selector": selector_schema,
    "agent": _agent_schema,
    "goal_space": goal_space_schema,
}
OPTIONAL_GROUPS = ("goal_space",)


def _typed(schema: type, given: dict[str, Any], prefix: str) -> Any:  # noqa: ANN401
    allowed = [field.name for field in dataclasses.fields(schema)]
    for key in given:
        if key not in allowed:
            raise ValueError(f"unknown key {prefix}{key}{did_you_mean(key, allowed)}; allowed: {', '.join(allowed)}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema_node(schema), given))
    except MissingMandatoryValue as error:
        missing = [key for key in allowed if given.get(key, MISSING) == MISSING and _is_mandatory(schema, key)]
        raise ValueError(
            f"{' and '.join(prefix + key for key in missing)} must be given, e.g. {prefix}{missing[0]}=..."
        ) from error
    except OmegaConfBaseException as error:
        raise ValueError(value_sentence(error, prefix)) from error


def _is_mandatory(schema: type, key: str) -> bool:
    return OmegaConf.is_missing(schema_node(schema), key)


def config_to_mapping(config: TrainConfig) -> dict[str, Any]:
    """Plain data, as written to ``config.yaml``."""
    space = config.goal_space
    mapping = dataclasses.asdict(dataclasses.replace(config, goal_space=None, target=None))
    mapping["target"] = config.target if not callable(config.target) else GIVEN_AS_OBJECT
    if hasattr(space, "achieved"):
        found = settings_of("discover_rl.goal_spaces", space)
        mapping["goal_space"] = found or {"name": GIVEN_AS_OBJECT, "type": type(space).__qualname__}
    elif space is not None:
        mapping["goal_space"] = dataclasses.asdict(space)
    return mapping


def save_config(run_dir: Path, config: TrainConfig, device: torch.device) -> None:
    """Write the configuration and what it ran on, before training."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for key, path in _env_files(config_to_mapping(config)["env"]).items():
        copy = run_dir / FILES / key / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.resolve() != path.resolve():
            write_atomically(copy, path.read_bytes())
    yaml = OmegaConf.to_yaml(OmegaConf.create(config_to_mapping(config)))
    write_atomically(run_dir / CONFIG, yaml.encode())
    write_atomically(run_dir / VERSIONS, json.dumps(versions(device), indent=2).encode())


def _env_files(env: dict[str, Any] | None) -> dict[str, Path]:
    """The files that an environment's configuration names, by key."""
    named = {
        key: Path(value)
        for key, value in (env or {}).items()
        if isinstance(value, str) and Path(value).suffix and "\n" not in value
    }
    return {key: path for key, path in named.items() if path.is_file()}


def load_config(run_dir: Path, own_files: bool = False) -> TrainConfig:
    """Read the configuration of a run folder.

    Args:
        run_dir: The folder.
        own_files: Name the copies in the folder instead of the files that the environment was made from, which may
            have changed or stay behind on another machine.

    Raises:
        ValueError: If the folder is not one of a run, or of a newer format, or its configuration does not fit this
            version, or its maze is another one in this version (``REDRAWN`` of the environment's settings: the first
            format of folders, by layout, in which a maze is as it is now).
    """
    found = _format_of(run_dir)
    path = run_dir / CONFIG
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir}: there is no such folder; give the folder of a run, as train names it at its end")
    if not path.is_file():
        raise ValueError(f"{run_dir} is not the folder of a run: it has no {CONFIG}")
    try:
        node = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a configuration: {' '.join(str(error).split())}") from error
    if not isinstance(node, DictConfig):
        raise ValueError(f"{path} is not a configuration: it must hold keys and values")
    if own_files:
        for copy in sorted((run_dir / FILES).glob("*/*")):
            if OmegaConf.select(node, f"env.{copy.parent.name}") is not None:
                OmegaConf.update(node, f"env.{copy.parent.name}", str(copy.resolve()))
    if "env" not in node:
        raise ValueError(f"{path} is not the configuration of a run: it has no env")
    try:
        config = config_from_node(node)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if found < 2 and hasattr(config.env, "xy_scale"):
        config.env = dataclasses.replace(config.env, xy_scale=config.env.cell_size)
    layout = getattr(config.env, "layout", None)
    if found < getattr(config.env, "REDRAWN", {}).get(layout, 0):
        raise ValueError(
            f"{run_dir}: its maze {layout!r} has been drawn anew since, with another start; train again, or use the "
            "version of discover_rl that wrote the folder"
        )
    return config


def stored_versions(run_dir: Path) -> dict[str, Any]:
    """What a run was made with, as ``versions`` found it; empty if that is not known."""
    try:
        found = json.loads((run_dir / VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _format_of(run_dir: Path) -> int:
    found = stored_versions(run_dir).get("format_version", 0)
    if found not in range(FORMAT_VERSION + 1):
        raise ValueError(
            f"{run_dir} is a run folder of format {found}; this version of discover_rl reads up to {FORMAT_VERSION}; "
            "use the version that wrote it, or a newer one"
        )
    return found


def versions(device: torch.device) -> dict[str, Any]:
    """The format of the folder, package versions, Python, platform, device name and, in a git checkout, the commit."""
    found: dict[str, Any] = {"format_version": FORMAT_VERSION}
    found |= {"python": platform.python_version(), "platform": platform.platform(), "device": str(device)}
    if device.type == "cuda":
        found["device_name"] = torch.cuda.get_device_name(device)
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return found
    if commit.returncode == 0:
        found["git_commit"] = commit.stdout.strip()
    return found


def fingerprint(config: TrainConfig) -> str:
    """Eight hex digits that tell apart configurations that may not continue one another."""
    return hashlib.sha256(json.dumps(_binding(config), sort_keys=True).encode()).hexdigest()[:8]


def differences(there: TrainConfig, here: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """What keeps one configuration from continuing another: dotted keys with both values.

    Files that the environment is made of count by their contents, where they are there, not by their places. Of a group
    with another ``name`` the rest is not told.
    """
    bound = _binding(there), _binding(here)
    a, b = (_flat(mapping) for mapping in bound)
    counted_a, counted_b = ({**flat, **_digests(mapping["env"])} for flat, mapping in zip((a, b), bound, strict=True))
    found = [key for key in dict.fromkeys([*a, *b]) if counted_a.get(key) != counted_b.get(key)]
    renamed = {key.split(".")[0] for key in found if key.count(".") == 1 and key.endswith(".name")}
    told = [key for key in found if key.split(".")[0] not in renamed or key == f"{key.split('.')[0]}.name"]
    return {key: (a.get(key), b.get(key)) for key in told}


def differences_text(differing: dict[str, tuple[Any, Any]]) -> str:
    """What ``differences`` found, in words: ``seed (0 there, 1 here), selector.name (her there, mega here)``."""
    return ", ".join(f"{key} ({there} there, {here} here)" for key, (there, here) in differing.items())


def _binding(config: TrainConfig) -> dict[str, Any]:
    """The configuration without what a continuation may change.

    Free keys of the environment stand at their defaults, so that runs that leave them there keep their fingerprint.
    """
    mapping = {key: value for key, value in config_to_mapping(config).items() if key not in FREE_KEYS}
    defaults = {key: getattr(type(config.env), key, None) for key in getattr(config.env, "FREE_KEYS", ())}
    return {**mapping, "env": {**(mapping["env"] or {}), **defaults}}


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    flat = {}
    for key, value in mapping.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _digests(env: dict[str, Any]) -> dict[str, str]:
    """Hashes of the files that an environment's configuration names, by dotted key."""
    return {f"env.{key}": hashlib.sha256(path.read_bytes()).hexdigest() for key, path in _env_files(env).items()}


def first_folder(config: TrainConfig, label: str = "") -> Path:
    """Where the first run of a configuration is written: ``run_dir``, or a name that follows from everything else.

    Args:
        config: The configuration.
        label: Name of the environment for the folder; ``config.env.name`` if empty. One with an ``id`` is called by it.
    """
    name = getattr(config.env, "id", "") or label or config.env.name
    parts = (name, config.selector.name, f"seed{config.seed}x{config.seeds}", fingerprint(config))
    stem = "-".join(re.sub(r"[^\w.-]", "_", part) for part in parts)
    return Path(config.run_dir) if config.run_dir else Path("runs") / stem


def _folders(config: TrainConfig, label: str) -> Iterator[Path]:
    """The places for runs of a configuration: the first folder, then numbered ones beside it."""
    first = first_folder(config, label)
    yield first
    for number in range(2, 10_000):
        yield first.with_name(f"{first.name}-{number}")


def done_folder(config: TrainConfig, label: str = "") -> Path | None:
    """Where a run of this configuration is that was trained to the end; None if there is none.

    Args:
        config: The configuration.
        label: Name of the environment for the folder; ``config.env.name`` if empty.

    Raises:
        ValueError: If one of the folders holds the configuration of no run.
    """
    for run_dir in _folders(config, label):
        if not (run_dir / CONFIG).is_file():
            return None
        if differences(load_config(run_dir, own_files=True), config):
            continue
        if is_finished(run_dir, config.num_timesteps):
            return run_dir
    return None


def choose_folder(config: TrainConfig, label: str = "") -> tuple[Path, bool]:
    """Where a run is written, and whether it goes on from a checkpoint there.

    With ``resume=auto`` the folder follows from the configuration, so the same command after a kill goes on
    where it stopped; a finished run (or one that ``stop_success`` ended, or whose checkpoint was deleted) is left alone
    and a new numbered folder taken. ``done_folder`` says before whether there is anything left to train.

    Args:
        config: The configuration.
        label: Name of the environment for the folder; ``config.env.name`` if empty.

    Raises:
        ValueError: If the folder that ``resume`` names is not that of a run, or of one with another
            configuration.
    """
    if config.resume not in ("auto", "never"):
        run_dir = Path(config.resume)
        if not run_dir.exists() and len(run_dir.parts) == 1:
            raise ValueError(f"resume is {config.resume!r}; allowed: auto, never, or the folder of a run")
        if config.run_dir and Path(config.run_dir).resolve() != run_dir.resolve():
            raise ValueError(
                f"resume={run_dir} goes on in that folder, and run_dir={config.run_dir} names another; leave run_dir "
                "out, or copy the folder there and resume the copy"
            )
        if differing := differences(load_config(run_dir, own_files=True), config):
            raise ValueError(
                f"resume={run_dir}: the run there was made with another {differences_text(differing)}; "
                "give the same values, or start afresh with resume=never"
            )
        if not (run_dir / CHECKPOINT).is_file():
            raise ValueError(f"resume={run_dir}: there is no {CHECKPOINT} to go on from")
        return run_dir, True
    for run_dir in _folders(config, label):
        if not (run_dir / CONFIG).exists():
            return run_dir, False
        if config.resume == "never":
            continue
        if differences(load_config(run_dir, own_files=True), config):
            continue
        if is_finished(run_dir, config.num_timesteps):
            continue
        if (run_dir / CHECKPOINT).is_file() or not (run_dir / MODEL).is_file():
            return run_dir, (run_dir / CHECKPOINT).is_file()
        # networks without what they could be trained further from: not to be written over
    raise ValueError(f"{first_folder(config, label)}: ten thousand folders of this name exist; remove some")


def is_finished(run_dir: Path, num_timesteps: float) -> bool:
    """Whether a run was trained for that many steps, or ended early because it had solved its task."""
    path = run_dir / CHECKPOINT
    if not path.is_file():
        path = run_dir / MODEL  # the checkpoint is large, and may be deleted
    if not path.is_file():
        return False
    note = load_note(path)
    return bool(note.get("solved")) or note.get("num_timesteps", 0) >= num_timesteps
