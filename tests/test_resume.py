"""Going on from a checkpoint is the same as never having stopped, and no kill or full disk spoils what was saved."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from discover_envs.point_maze import PointMazeConfig
from discover_rl.agents import TD3Config
from discover_rl.checkpoint import load_checkpoint, load_note
from discover_rl.config import HindsightConfig
from discover_rl.report import read_metrics
from discover_rl.run_folder import CHECKPOINT, CONFIG, METRICS, MODEL, choose_folder
from discover_rl.selectors import Discover, Mega, Omega
from discover_rl.train import Trainer, train

CLOCK = ("time/fps", "time/time_elapsed")


def table(run_dir):
    """The text of metrics.csv without the columns that the clock fills."""
    rows = [line.split(",") for line in (run_dir / METRICS).read_text().splitlines()]
    keep = [index for index, name in enumerate(rows[0]) if name not in CLOCK]
    return [[row[index] for index in keep] for row in rows]


@pytest.mark.parametrize(
    ("selector", "save_interval"),
    [(Discover(), 100), (Discover(), 1), (Discover(), 3), (Mega(), 100), (Mega(), 1), (Omega(), 100)],
    ids=lambda value: getattr(value, "name", value),
)
def test_training_on_after_a_resume_equals_training_through(tiny, held, differing, tmp_path, selector, save_interval):
    settings = {"selector": selector, "buffer_size": 3 * 48}  # full before the end
    through = train(tiny(4, **settings), tmp_path / "through")
    halves = tmp_path / "halves"
    train(tiny(2, **settings, save_interval=save_interval), halves)
    second = train(tiny(4, **settings, save_interval=save_interval), halves, resume=True)
    assert differing(held(through), held(second)) == []
    assert table(halves) == table(tmp_path / "through")
    assert second.rounds == 4
    assert second.snapshots.goals.steps == [48 * (i + 1) for i in range(4)]


def test_a_resume_is_exact_where_learning_lags_a_round(tiny, held, differing, tmp_path, walk):
    # targets that change during a round, goals relabelled with them, and a buffer full before the end
    settings = {
        "env": walk(fail=0.2),
        "target": {"low": [0.5], "high": [0.9]},
        "hindsight": HindsightConfig(0.5, 0.3, 0.1),
        "buffer_size": 3 * 72,
        "learning_starts": 2 * 72,
        "learn_beside_rollout": True,
    }
    through = train(tiny(6, **settings), tmp_path / "through")
    for rounds in (2, 4, 6):  # stopped before learning begins, and in the middle
        trainer = train(tiny(rounds, **settings), tmp_path / "parts", resume=rounds > 2)
    assert differing(held(through), held(trainer)) == []
    assert table(tmp_path / "parts") == table(tmp_path / "through")


def test_a_resume_is_exact_where_the_policy_is_an_average(tiny, held, differing, tmp_path):
    agent = TD3Config(hidden_sizes=[16, 16], num_critics=3, actor_critics=2, policy_average=0.05)
    through = train(tiny(4, agent=agent), tmp_path / "through")
    for rounds in (2, 4):
        trainer = train(tiny(rounds, agent=agent), tmp_path / "parts", resume=rounds > 2)
    assert differing(held(through), held(trainer)) == []
    assert not held(through)["policy"].equal(held(through)["actor"])
    loaded, _ = load_checkpoint(tmp_path / "parts" / MODEL, torch.device("cpu"))
    assert loaded["policy"].equal(held(through)["policy"])


def test_resuming_twice_equals_training_through(tiny, held, differing, tmp_path, walk):
    env = walk(fail=0.1, cut=0.1)
    through = train(tiny(6, env=env), tmp_path / "through")
    for rounds in (2, 4, 6):
        trainer = train(tiny(rounds, env=env), tmp_path / "thirds", resume=rounds > 2)
    assert differing(held(through), held(trainer)) == []
    assert table(tmp_path / "thirds") == table(tmp_path / "through")


def test_a_stopped_run_loses_only_the_rounds_since_its_last_save(tiny, held, differing, tmp_path, monkeypatch):
    through = train(tiny(8, save_interval=4), tmp_path / "through")
    config, stopped = tiny(8, save_interval=4), tmp_path / "stopped"
    train_round = Trainer.train_round

    def interrupted(self):
        if self.rounds == 7:
            raise KeyboardInterrupt
        train_round(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "train_round", interrupted)
        train(config, stopped)

    assert len(table(stopped)) == 1 + 2 * 7  # rows of rounds that were never saved
    assert load_note(stopped / CHECKPOINT)["rounds"] == 4
    trainer = train(config, stopped, resume=True)
    assert differing(held(through), held(trainer)) == []
    assert table(stopped) == table(tmp_path / "through")  # no row twice


def test_rows_after_an_older_checkpoint_are_dropped(tiny, tmp_path):
    train(tiny(2), tmp_path)
    shutil.copy(tmp_path / CHECKPOINT, tmp_path / "older")
    train(tiny(5), tmp_path, resume=True)
    shutil.copy(tmp_path / "older", tmp_path / CHECKPOINT)
    train(tiny(4), tmp_path, resume=True)
    steps = read_metrics(tmp_path / METRICS)["time/total_timesteps"].tolist()
    assert steps == [48, 48, 96, 96, 144, 144, 192, 192]


def test_a_resumed_run_stays_in_its_folder(tiny, tmp_path):
    config = tiny(2, run_dir=str(tmp_path / "run"))
    train(config, tmp_path / "run")
    going_on = replace(config, resume=str(tmp_path / "run"))
    assert choose_folder(going_on) == (tmp_path / "run", True)
    assert choose_folder(replace(going_on, run_dir="")) == (tmp_path / "run", True)
    with pytest.raises(ValueError, match=r"resume=.*run goes on in that folder, and run_dir=.*other names another"):
        choose_folder(replace(going_on, run_dir=str(tmp_path / "other")))


def test_a_run_stopped_before_its_first_save_starts_again_in_the_same_folder(tiny, held, differing, tmp_path):
    config = tiny(3, run_dir=str(tmp_path / "run"))
    run_dir, _ = choose_folder(config)
    through = train(config, tmp_path / "through")
    train(config, run_dir)
    for name in (CHECKPOINT, MODEL):  # what is left is what a kill before the first save leaves
        (run_dir / name).unlink()
    assert choose_folder(config) == (run_dir, False)
    again = train(config, run_dir)
    assert differing(held(through), held(again)) == []
    assert table(run_dir) == table(tmp_path / "through")


def test_a_finished_run_with_a_checkpoint_is_not_overwritten(tiny, tmp_path):
    train(tiny(1), tmp_path)
    with pytest.raises(FileExistsError, match=r"metrics.csv exists: resume that run or choose another folder"):
        train(tiny(1), tmp_path)


def test_early_stopping_counts_on_after_a_resume(tiny, tmp_path, monkeypatch):
    # every evaluation is good, so three in a row are reached at the third, stopped between or not
    monkeypatch.setattr("discover_rl.train.evaluate", _always_solved)
    config = tiny(10, eval_interval=1, stop_success=0.9, save_interval=1)
    through = train(config, tmp_path / "through")
    assert (through.rounds, through.solved) == (3, True)
    train(tiny(2, eval_interval=1, stop_success=0.9), tmp_path / "halves")
    assert train(config, tmp_path / "halves", resume=True).rounds == 3


def test_a_run_that_stopped_early_is_finished(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("discover_rl.train.evaluate", _always_solved)
    config = tiny(10, eval_interval=1, stop_success=0.9, run_dir=str(tmp_path / "run"))
    run_dir, resume = choose_folder(config)
    train(config, run_dir, resume)
    assert choose_folder(config) == (tmp_path / "run-2", False)


def test_a_run_that_the_clock_stopped_goes_on_and_equals_one_that_it_did_not_stop(tiny, held, differing, tmp_path):
    through = train(tiny(3, eval_interval=1), tmp_path / "through")
    stopped = tmp_path / "stopped"
    config = tiny(3, eval_interval=1, max_time=1e-6, run_dir=str(stopped))
    first = train(config, stopped)
    assert (first.rounds, first.stopped, first.solved) == (1, True, False)
    assert choose_folder(config) == (stopped, True)
    second = train(replace(config, max_time=0.0), stopped, resume=True)
    assert (second.rounds, second.stopped) == (3, False)
    assert differing(held(through), held(second)) == []


def test_time_that_is_left_stops_nothing(tiny, tmp_path):
    trainer = train(tiny(2, max_time=3600.0), tmp_path)
    assert (trainer.rounds, trainer.stopped) == (2, False)


def test_a_run_that_the_clock_stopped_keeps_no_buffer_if_none_is_wanted(tiny, tmp_path):
    train(tiny(3, max_time=1e-6, keep_checkpoint=False, eval_interval=2), tmp_path)
    assert np.isfinite(read_metrics(tmp_path / METRICS)["eval/success_rate"]).all()  # though none was due
    assert (tmp_path / MODEL).is_file()
    assert load_note(tmp_path / CHECKPOINT)["only_note"]


def _always_solved(agent, env, num_runs):
    from discover_rl.evaluate import evaluate

    seen = evaluate(agent, env, num_runs)
    return seen._replace(success=torch.ones(num_runs))


def test_kill_9_and_the_same_command_goes_on(tiny_arguments, tmp_path):
    """From an empty folder, with the real command."""
    script = Path(sys.executable).with_name("discover-rl")
    command = [script, "train", *tiny_arguments, "save_interval=3", "num_timesteps=24000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"runs/*/{CHECKPOINT}")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (run_dir,) = (tmp_path / "runs").iterdir()
    saved = load_note(run_dir / CHECKPOINT)["num_timesteps"]
    assert saved > 0
    load_checkpoint(run_dir / MODEL, torch.device("cpu"))
    assert (run_dir / CONFIG).is_file()
    written = read_metrics(run_dir / METRICS)["time/total_timesteps"]
    assert saved <= written[-1] <= saved + 3 * 48 + 48  # at most the rounds since the last save are lost

    total = saved + 5 * 48
    command[-1] = f"num_timesteps={total}"
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert f"going on from {run_dir.relative_to(tmp_path)}" in again.stdout
    assert list((tmp_path / "runs").iterdir()) == [run_dir]
    steps = read_metrics(run_dir / METRICS)["time/total_timesteps"].tolist()
    assert steps == list(range(48, total + 1, 48))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # nothing else is left lying about


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_while_saving_leaves_the_old_checkpoint(tiny, held, differing, tmp_path, monkeypatch, call):
    config = tiny(2)
    trainer = train(config, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    kept = held(trainer)
    trainer.train_round()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    sentence = r"cannot write .*safetensors: No space left on device; .* is unchanged"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=sentence) as info:
        patch.setattr(os, call, full)
        trainer.save(tmp_path)

    assert info.value.errno == errno.ENOSPC
    assert "\n" not in str(info.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    again = Trainer(config)
    again.restore(tmp_path / CHECKPOINT)
    assert differing(kept, held(again)) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": 3}, r"tensor 'actor' has shape \(2, .* needs \(3, "),
        ({"num_envs": 5}, r"expected stored rows of shape"),
        ({"buffer_size": 48}, r"expected stored rows of shape"),
        ({"env": PointMazeConfig(layout="generated", dim=3, radius=2, max_episode_steps=8)}, r"has shape"),
    ],
    ids=["seeds", "num_envs", "buffer_size", "env"],
)
def test_a_checkpoint_of_another_configuration_is_refused(tiny, tmp_path, changes, sentence):
    train(tiny(2), tmp_path)
    with pytest.raises(ValueError, match=sentence) as info:
        Trainer(tiny(2, **changes)).restore(tmp_path / CHECKPOINT)
    assert str(tmp_path / CHECKPOINT) in str(info.value)
