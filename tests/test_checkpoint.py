"""Checkpoints: what is saved comes back bit for bit, and anything else is refused in one sentence."""

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from discover_rl.agents import ZeroConfig
from discover_rl.checkpoint import (
    CheckpointError,
    generator_tensors,
    load_checkpoint,
    load_note,
    restore_generators,
    save_checkpoint,
)
from discover_rl.run_folder import CHECKPOINT
from discover_rl.train import Trainer, train

CPU = torch.device("cpu")
TENSORS = {
    "float32": torch.tensor([[1.5, -0.0], [float("inf"), float("nan")]]),
    "float64": torch.tensor([1 / 3], dtype=torch.float64),
    "bool": torch.tensor([True, False, True]),
    "uint8": torch.arange(5, dtype=torch.uint8),
    "int64": torch.tensor([-(2**62), 3]),
    "nought": torch.tensor(7.25),
    "flag": torch.tensor(True),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "slashed/name": torch.ones(1),
}


def refused(path, sentence, read=load_checkpoint):
    arguments = (path, CPU) if read is load_checkpoint else (path,)
    with pytest.raises(CheckpointError, match=sentence) as info:
        read(*arguments)
    message = str(info.value)
    assert message.startswith(f"checkpoint {path}: ")
    assert "\n" not in message
    return message


def test_tensors_and_note_come_back_as_they_were(tmp_path):
    path = tmp_path / "deeper" / "x.safetensors"
    save_checkpoint(path, TENSORS, {"rounds": 3, "seeds": [1, 2], "text": "ä\n"})
    tensors, note = load_checkpoint(path, CPU)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype, name
        assert tensors[name].shape == tensor.shape, name
        assert tensors[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes(), name
    assert note == {"format_version": 1, "rounds": 3, "seeds": [1, 2], "text": "ä\n"}
    assert load_note(path) == note
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("read", [load_checkpoint, load_note])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share, read):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, TENSORS | {"large": torch.zeros(1000)}, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, r"the file is damaged or is not a checkpoint of discover_rl \(.*\); go on from another one, or", read)


@pytest.mark.parametrize(
    "content", [b"garbage" * 100, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x08\0\0\0\0\0\0\0not json"], ids=range(4)
)
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, r"is not a checkpoint of discover_rl")


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_executed(tmp_path, write):
    path, fired = tmp_path / CHECKPOINT, tmp_path / "fired"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Bomb(fired)))
    else:
        torch.save(Bomb(fired), path)
    refused(path, r"is not a checkpoint of discover_rl")
    assert not fired.exists()


@pytest.mark.parametrize("metadata", [None, {"other": "1"}])
def test_a_foreign_safetensors_file_is_refused(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    save_file({"actor": torch.zeros(2)}, path, metadata)
    for read in (load_checkpoint, load_note):
        refused(path, r"is not a checkpoint of discover_rl; it lacks our note in its header", read)


@pytest.mark.parametrize("note", ["no json", "[1]", "3"])
def test_a_damaged_note_is_refused(tmp_path, note):
    path = tmp_path / "x.safetensors"
    save_file({"actor": torch.zeros(2)}, path, {"discover_rl": note})
    refused(path, r"the file is damaged or is not a checkpoint of discover_rl")


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_version_is_refused(tmp_path, version):
    path = tmp_path / "x.safetensors"
    save_file({"actor": torch.zeros(2)}, path, {"discover_rl": json.dumps({"format_version": version})})
    sentence = f"format version {version}, this version of discover_rl reads 1; use the version that wrote it"
    refused(path, re.escape(sentence))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.safetensors", r"there is no such file; give the folder of a run")
    refused(tmp_path, r"there is no such file")


def test_generators_go_on_where_they_were():
    generators = {"a": torch.Generator().manual_seed(1), "b": torch.Generator().manual_seed(2)}
    states = {name: state.clone() for name, state in generator_tensors(generators).items()}
    expected = {name: torch.rand(5, generator=generator) for name, generator in generators.items()}
    restore_generators(generators, states)
    assert all(torch.rand(5, generator=g).equal(expected[name]) for name, g in generators.items())
    with pytest.raises(CheckpointError, match=r"the state of generator 'c' is missing; it is incomplete"):
        restore_generators({"c": torch.Generator()}, states)
    with pytest.raises(CheckpointError, match=r"random states of another kind of device"):
        restore_generators(generators, {name: state[:16] for name, state in states.items()})


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("critics", r"tensor 'critics' is missing"),
        ("adam/actor/exp_avg", r"tensor 'adam/actor/exp_avg' is missing"),
        ("buffer/rows", r"'buffer/rows' is missing; it is incomplete"),
        ("selector/alpha", r"tensor 'selector/alpha' is missing"),
        ("generator/env", r"generator 'env' is missing; it is incomplete"),
    ],
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(tiny, tmp_path, missing, sentence):
    trainer = train(tiny(1), tmp_path)
    tensors, note = load_checkpoint(tmp_path / CHECKPOINT, CPU)
    del tensors[missing], note["format_version"]
    save_checkpoint(tmp_path / CHECKPOINT, tensors, note)
    with pytest.raises(CheckpointError, match=sentence) as info:
        Trainer(trainer.config).restore(tmp_path / CHECKPOINT)
    assert "\n" not in str(info.value)


def test_selector_state_of_another_number_of_runs_is_refused(tiny, tmp_path):
    config = tiny(1, agent=ZeroConfig())
    train(config, tmp_path)
    tensors, note = load_checkpoint(tmp_path / CHECKPOINT, CPU)
    del note["format_version"]
    save_checkpoint(tmp_path / CHECKPOINT, tensors | {"selector/alpha": torch.zeros(5)}, note)
    with pytest.raises(CheckpointError, match=r"selector/alpha"):
        Trainer(config).restore(tmp_path / CHECKPOINT)


def test_the_model_file_alone_is_no_checkpoint_to_train_on_from(tiny, tmp_path):
    trainer = train(tiny(1), tmp_path)
    with pytest.raises(CheckpointError, match=r"is missing"):
        Trainer(trainer.config).restore(tmp_path / "model.safetensors")
