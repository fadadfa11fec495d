"""The folder of a run: what is written there before training, and how a run is found again.

config.yaml         the resolved configuration
versions.json       format of the folder, packages, Python, device, git commit
files/KEY/          copies of the files that env.KEY names (a layout, say), so that the folder can be moved
metrics.csv         one row per seed and log time
tensorboard/        the same rows
model.safetensors   the networks, newest
checkpoint.safetensors   everything that training goes on from, newest
curriculum.safetensors   the goals chosen and value maps over time, for the report
curriculum.png      the goals chosen over time
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discover_rl.agents import AGENT_CONFIGS
from discover_rl.checkpoint import load_note
from discover_rl.config import TrainConfig, did_you_mean, load_plugin, schema_node
from discover_rl.report.atomic import write_atomically
from discover_rl.selectors import SELECTORS

CONFIG, VERSIONS, METRICS = "config.yaml", "versions.json", "metrics.csv"
MODEL, CHECKPOINT, CURRICULUM = "model.safetensors", "checkpoint.safetensors", "curriculum.safetensors"

FILES = "files"
FORMAT_VERSION = 1
"""Of a run folder. 0, without a number, had no ``files/`` and no ``curriculum.safetensors``; it is read too."""

PACKAGES = ("discover-rl", "torch", "numpy", "gymnasium", "mujoco", "hydra-core", "stable-baselines3")
# what may differ between a run and its continuation
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
    "stop_success",
)


def config_from_mapping(mapping: dict[str, Any]) -> TrainConfig:
    """Build the typed configuration from plain data, as YAML or Hydra give it.

    Raises:
        ValueError: If a key is unknown or a value is not allowed, in one sentence.
    """
    parts = dict(mapping)
    for group, find in (("env", _env_config), ("selector", SELECTORS.get), ("agent", AGENT_CONFIGS.get)):
        given = parts.get(group)
        if given is None:
            raise ValueError(f"{group} is not set; choose one, e.g. {group}=...")
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"{group} must hold keys and values, {group}.name among them; got {given!r}")
        schema = find(name)
        if schema is None:
            known = SELECTORS if group == "selector" else AGENT_CONFIGS
            raise ValueError(
                f"{group}.name is {name!r}{did_you_mean(name, known)}; allowed: {', '.join(sorted(known))}"
            )
        parts[group] = _typed(schema, given, f"{group}.")
    rest = {key: value for key, value in parts.items() if key not in ("env", "selector", "agent")}
    plain = _typed(TrainConfig, rest, "")
    return dataclasses.replace(plain, env=parts["env"], selector=parts["selector"], agent=parts["agent"])


def config_from_node(node: DictConfig | ListConfig) -> TrainConfig:
    """Build the typed configuration from what Hydra composed or a file held.

    Raises:
        ValueError: As ``config_from_mapping``, and if the node holds no keys.
    """
    mapping = OmegaConf.to_container(node)
    if not isinstance(mapping, dict):
        raise ValueError("a configuration must hold keys and values")
    return config_from_mapping({str(key): value for key, value in mapping.items()})


def _env_config(name: str) -> type:
    return load_plugin("discover_rl.environments", name).Config


def _typed(schema: type, given: dict[str, Any], prefix: str) -> Any:  # noqa: ANN401
    allowed = [field.name for field in dataclasses.fields(schema)]
    for key in given:
        if key not in allowed:
            raise ValueError(f"unknown key {prefix}{key}{did_you_mean(key, allowed)}; allowed: {', '.join(allowed)}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema_node(schema), given))
    except OmegaConfBaseException as error:
        key = error.full_key or ""
        raise ValueError(f"{prefix}{key}: {str(error).splitlines()[0]}") from error


def config_to_mapping(config: TrainConfig) -> dict[str, Any]:
    """Plain data, as written to ``config.yaml``."""
    return dataclasses.asdict(config)


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
    named = {key: Path(value) for key, value in (env or {}).items() if isinstance(value, str) and Path(value).suffix}
    return {key: path for key, path in named.items() if path.is_file()}


def load_config(run_dir: Path, own_files: bool = False) -> TrainConfig:
    """Read the configuration of a run folder.

    Args:
        run_dir: The folder.
        own_files: Name the copies in the folder instead of the files that the environment was made from, which may
            have changed or stay behind on another machine.

    Raises:
        ValueError: If the folder is not one of a run, or of a newer format, or its configuration does not fit this
            version.
    """
    _check_format(run_dir)
    path = run_dir / CONFIG
    if not path.is_file():
        raise ValueError(f"{run_dir} is not the folder of a run: it has no {CONFIG}")
    try:
        node = OmegaConf.load(path)
    except (YAMLError, OSError) as error:
        raise ValueError(f"{path} is not a configuration: {' '.join(str(error).split())}") from error
    if not isinstance(node, DictConfig):
        raise ValueError(f"{path} is not a configuration: it must hold keys and values")
    if own_files:
        for copy in sorted((run_dir / FILES).glob("*/*")):
            if OmegaConf.select(node, f"env.{copy.parent.name}") is not None:
                OmegaConf.update(node, f"env.{copy.parent.name}", str(copy.resolve()))
    return config_from_node(node)


def stored_versions(run_dir: Path) -> dict[str, Any]:
    """What a run was made with, as ``versions`` found it; empty if that is not known."""
    try:
        found = json.loads((run_dir / VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_format(run_dir: Path) -> None:
    found = stored_versions(run_dir).get("format_version", 0)
    if found not in range(FORMAT_VERSION + 1):
        raise ValueError(
            f"{run_dir} is a run folder of format {found}; this version of discover_rl reads up to {FORMAT_VERSION}; "
            "use the version that wrote it, or a newer one"
        )


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
    mapping = {key: value for key, value in config_to_mapping(config).items() if key not in FREE_KEYS}
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()[:8]


def differing_keys(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Keys on which two configurations may not differ if one is to continue the other, but do."""
    a, b = config_to_mapping(one), config_to_mapping(other)
    return [key for key in a if key not in FREE_KEYS and a[key] != b[key]]


def first_folder(config: TrainConfig, label: str = "") -> Path:
    """Where the first run of a configuration is written: ``run_dir``, or a name that follows from everything else.

    Args:
        config: The configuration.
        label: Name of the environment for the folder; ``config.env.name`` if empty.
    """
    name = (label or config.env.name).replace("/", "_")
    stem = f"{name}-{config.selector.name}-seed{config.seed}x{config.seeds}-{fingerprint(config)}"
    return Path(config.run_dir) if config.run_dir else Path("runs") / stem


def is_done(config: TrainConfig, label: str = "") -> bool:
    """Whether the first run of this configuration is there, trained to the end."""
    run_dir = first_folder(config, label)
    if not (run_dir / CONFIG).is_file() or differing_keys(load_config(run_dir), config):
        return False
    return is_finished(run_dir, config.num_timesteps)


def choose_folder(config: TrainConfig, label: str = "") -> tuple[Path, bool]:
    """Where a run is written, and whether it goes on from a checkpoint there.

    With ``resume=auto`` the folder follows from the configuration, so the same command after a kill goes on
    where it stopped; a finished run (or one that ``stop_success`` ended) is left alone and a new numbered folder
    taken.

    Args:
        config: The configuration.
        label: Name of the environment for the folder; ``config.env.name`` if empty.

    Raises:
        ValueError: If the folder that ``resume`` names is not that of a run, or of one with another
            configuration.
    """
    if config.resume not in ("auto", "never"):
        run_dir = Path(config.resume)
        if differing := differing_keys(load_config(run_dir), config):
            raise ValueError(
                f"resume={run_dir}: the run there was made with another {', '.join(differing)}; "
                "give the same values, or start afresh with resume=never"
            )
        if not (run_dir / CHECKPOINT).is_file():
            raise ValueError(f"resume={run_dir}: there is no {CHECKPOINT} to go on from")
        return run_dir, True
    first = first_folder(config, label)
    for number in range(1, 10_000):
        run_dir = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not (run_dir / CONFIG).exists():
            return run_dir, False
        if config.resume == "never":
            continue
        if differing_keys(load_config(run_dir), config):
            continue
        if not is_finished(run_dir, config.num_timesteps):
            return run_dir, (run_dir / CHECKPOINT).is_file()
    raise ValueError(f"{first}: ten thousand folders of this name exist; remove some")


def is_finished(run_dir: Path, num_timesteps: float) -> bool:
    """Whether a run was trained for that many steps, or ended early because it had solved its task."""
    path = run_dir / CHECKPOINT
    if not path.is_file():
        return False
    note = load_note(path)
    return bool(note.get("solved")) or note.get("num_timesteps", 0) >= num_timesteps
