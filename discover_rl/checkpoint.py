"""Checkpoints: one safetensors file with every tensor, and a JSON note in its header. Nothing in it executes.

A file is written under a temporary name and renamed, so that what stands under the final name is always whole.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from discover_rl.report.atomic import write_atomically

FORMAT_VERSION = 1
FOREIGN = "is not a checkpoint of discover_rl"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to try."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note (JSON) to one file.

    Raises:
        OSError: If it cannot be written; what stood there before is unchanged.
    """
    header = {"discover_rl": json.dumps({"format_version": FORMAT_VERSION, **note})}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(whole, metadata=header))


def load_checkpoint(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the note that ``save_checkpoint`` wrote.

    Raises:
        CheckpointError: If the file is missing, damaged, from elsewhere or of another format.
    """
    with _opened(path, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _note(path, file)  # noqa: SIM118


def load_note(path: Path) -> dict[str, Any]:
    """Read the note alone, without the tensors.

    Raises:
        CheckpointError: As ``load_checkpoint``.
    """
    with _opened(path, torch.device("cpu")) as file:
        return _note(path, file)


@contextmanager
def _opened(path: Path, device: torch.device) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: there is no such file; give the folder of a run")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"checkpoint {path}: the file is damaged or {FOREIGN} ({error}); go on from another one, or start "
            "afresh with resume=never"
        ) from error


def _note(path: Path, file: Any) -> dict[str, Any]:  # noqa: ANN401 - safetensors' reader has no public type
    header = (file.metadata() or {}).get("discover_rl")
    if header is None:
        raise CheckpointError(f"checkpoint {path}: the file {FOREIGN}; it lacks our note in its header")
    note = json.loads(header)
    if not isinstance(note, dict):
        raise CheckpointError(f"checkpoint {path}: the file is damaged or {FOREIGN}; its note holds no keys")
    if note.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path}: format version {note.get('format_version')}, this version of discover_rl "
            f"reads {FORMAT_VERSION}; use the version that wrote it"
        )
    return note


def generator_tensors(generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """The states of generators, named for a checkpoint."""
    return {f"generator/{name}": generator.get_state() for name, generator in generators.items()}


def restore_generators(generators: Mapping[str, torch.Generator], tensors: Mapping[str, Tensor]) -> None:
    """Put generators where ``generator_tensors`` found them.

    Raises:
        CheckpointError: If one is missing, or was saved on another kind of device.
    """
    for name, generator in generators.items():
        state = tensors.get(f"generator/{name}")
        if state is None:
            raise CheckpointError(f"checkpoint: the state of generator {name!r} is missing; it is incomplete")
        if state.numel() != generator.get_state().numel():
            raise CheckpointError(
                "checkpoint: random states of another kind of device; go on with device= as it was saved"
            )
        generator.set_state(state.cpu())
