"""What a run keeps for its report: small, whole, the same after a resume, and without influence on the training."""

import pytest
import torch

from discover_rl.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from discover_rl.report.value_maps import STATES
from discover_rl.run_folder import CHECKPOINT, CURRICULUM
from discover_rl.snapshots import load_snapshots, map_values
from discover_rl.train import Trainer, train


def test_the_file_of_a_run_holds_goals_and_maps_of_every_run(tiny, tmp_path):
    trainer = train(tiny(4), tmp_path)
    snapshots = load_snapshots(tmp_path)
    assert snapshots is not None
    assert snapshots.goals.steps == [48, 96, 144, 192]
    assert snapshots.maps.steps == [96, 192]
    goals, values = snapshots.maps.goals[-1], snapshots.maps.values[-1]
    assert goals.shape == (2, STATES, 2) and values.shape == (2, STATES, 3)
    assert torch.equal(goals.isnan().any(-1), values.isnan().any(-1))
    assert (values[..., 1].nan_to_num(0) >= 0).all()  # deviations
    assert not torch.equal(goals[0].nan_to_num(0), goals[1].nan_to_num(0))
    for name, tensor in trainer.snapshots.tensors().items():
        assert torch.equal(tensor.nan_to_num(0), snapshots.tensors()[name].nan_to_num(0))


def test_the_values_are_those_that_the_selector_sees(tiny, tmp_path):
    trainer = train(tiny(2), tmp_path)
    start, target = trainer.round.observation[:, 0], trainer.round.targets[:, 0]
    goals, values = map_values(trainer.agent, trainer.buffer, trainer.space, start, target)
    there = ~goals[0].isnan().any(-1)
    count = int(there.sum())
    assert 10 < count < STATES
    states = goals[:, :5]  # in a point maze a goal is the whole state
    expected = trainer.agent.values(start[:, None].expand(-1, 5, -1), states)
    torch.testing.assert_close(values[:, :5, 0], expected.mean)
    torch.testing.assert_close(values[:, :5, 1], expected.std)
    torch.testing.assert_close(values[:, :5, 2], trainer.agent.values(states, target[:, None].expand(-1, 5, -1)).mean)
    stored = trainer.buffer.layout.split(trainer.buffer.filled())[2][0]
    assert (goals[0, :count, None] == stored).all(-1).any(1).all()


def test_a_map_draws_no_random_number_and_changes_nothing(tiny, held, differing, tmp_path):
    trainer = train(tiny(2), tmp_path)
    before = held(trainer)
    map_values(
        trainer.agent, trainer.buffer, trainer.space, trainer.round.observation[:, 0], trainer.round.targets[:, 0]
    )
    assert differing(before, held(trainer)) == []


def test_a_checkpoint_of_before_there_were_maps_goes_on(tiny, tmp_path):
    train(tiny(2), tmp_path)
    tensors, note = load_checkpoint(tmp_path / CHECKPOINT, torch.device("cpu"))
    old = {name: tensor for name, tensor in tensors.items() if not name.startswith("maps/")}
    note.pop("format_version")
    save_checkpoint(tmp_path / CHECKPOINT, old, note)
    trainer = train(tiny(4), tmp_path, resume=True)
    assert trainer.snapshots.maps.steps == [192]
    assert len(trainer.snapshots.goals.steps) == 4


def test_no_file_and_a_damaged_file(tiny, tmp_path):
    assert load_snapshots(tmp_path) is None
    Trainer(tiny(2)).run(tmp_path, False)
    path = tmp_path / CURRICULUM
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"curriculum\.safetensors"):
        load_snapshots(tmp_path)
