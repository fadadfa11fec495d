"""A run folder is enough: to repeat the run, to evaluate it on another machine, and years later."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from discover_envs.mujoco_maze.ant import AntMazeConfig
from discover_envs.point_maze import PointMazeConfig
from discover_rl.cli import main
from discover_rl.evaluate import evaluate_run
from discover_rl.present import write_report
from discover_rl.run_folder import (
    CHECKPOINT,
    CONFIG,
    FORMAT_VERSION,
    METRICS,
    MODEL,
    VERSIONS,
    load_config,
    save_config,
)
from discover_rl.train import Trainer, train

OLD = Path(__file__).parent / "data" / "run_of_version_0"
CLOCK = ("time/fps", "time/time_elapsed")
MAZE = "#####\n#..G#\n#.S##\n#...#\n#####\n"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(Trainer, "_save_pictures", lambda *_: None)
    monkeypatch.setattr("discover_rl.cli.train._print_where", lambda *_: 0.0)


@pytest.fixture
def maze(tmp_path):
    """A maze drawn in a file."""
    path = tmp_path / "mine.txt"
    path.write_text(MAZE)
    return path


def table(run_dir):
    rows = [line.split(",") for line in (run_dir / METRICS).read_text().splitlines()]
    keep = [index for index, name in enumerate(rows[0]) if name not in CLOCK]
    return [[row[index] for index in keep] for row in rows]


def same_run(one, other):
    assert table(one) == table(other)
    assert (one / MODEL).read_bytes() == (other / MODEL).read_bytes()


def test_a_run_repeated_from_its_folder_is_the_same_bit_for_bit(tiny, tmp_path, capsys):
    train(tiny(4), tmp_path / "run")
    main(["train", "--from", str(tmp_path / "run")])
    same_run(tmp_path / "run", tmp_path / "run-repeat")
    assert "was made with" not in capsys.readouterr().err
    main(["train", "--from", str(tmp_path / "run"), "num_timesteps=96", "agent.gamma=0.9", f"run_dir={tmp_path / 'x'}"])
    changed = load_config(tmp_path / "x")
    assert (changed.num_timesteps, changed.agent.gamma, changed.batch_size) == (96, 0.9, 16)


def test_a_repetition_that_was_cut_off_goes_on_and_the_original_is_left_alone(tiny, tmp_path, monkeypatch):
    train(tiny(4, save_interval=1), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    train_round = Trainer.train_round

    def interrupted(self):
        if self.rounds == 2:
            raise KeyboardInterrupt
        train_round(self)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Trainer, "train_round", interrupted)
        main(["train", "--from", str(tmp_path / "run")])
    assert len(table(tmp_path / "run-repeat")) == 1 + 2 * 2
    main(["train", "--from", str(tmp_path / "run")])
    same_run(tmp_path / "run", tmp_path / "run-repeat")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
    assert not (tmp_path / "run-repeat-2").exists()


def test_a_folder_moved_to_another_machine_is_whole(tiny, tmp_path, maze):
    train(tiny(4, env=PointMazeConfig(layout=str(maze), max_episode_steps=8)), tmp_path / "here")
    expected = evaluate_run(tmp_path / "here")[1]
    (tmp_path / "there").mkdir()
    moved = (tmp_path / "here").rename(tmp_path / "there" / "run")
    maze.unlink()
    found = evaluate_run(moved)[1]
    np.testing.assert_array_equal(found.achieved.numpy(), expected.achieved.numpy())
    assert write_report([moved], tmp_path / "report.html") == []
    assert "data:image/png;base64" in (tmp_path / "report.html").read_text()
    main(["train", "--from", str(moved)])
    same_run(moved, moved.with_name("run-repeat"))
    shutil.rmtree(moved)
    evaluate_run(tmp_path / "there" / "run-repeat")


def test_the_maze_is_the_one_that_was_trained_on_whatever_became_of_its_file(tiny, tmp_path, maze):
    train(tiny(2, env=PointMazeConfig(layout=str(maze), max_episode_steps=8)), tmp_path / "run")
    maze.write_text(MAZE.replace("##\n#...", "..\n#..."))
    layout = Path(load_config(tmp_path / "run", own_files=True).env.layout)
    assert layout.read_text() == MAZE
    assert load_config(tmp_path / "run").env.layout == str(maze)


def test_a_folder_of_the_first_format_still_loads(tmp_path):
    """Written by the version before folders had a format number; nothing of it may be needed that was not there."""
    run_dir = tmp_path / "old"
    shutil.copytree(OLD, run_dir)
    assert "format_version" not in json.loads((run_dir / VERSIONS).read_text())
    seeds, evaluation = evaluate_run(run_dir)
    assert seeds == [0, 1] and evaluation.success.shape == (2,)
    main(["table", str(run_dir)])
    assert write_report([run_dir], tmp_path / "report.html") == []
    main(["train", "--from", str(run_dir), f"run_dir={tmp_path / 'again'}"])
    assert len(table(tmp_path / "again")) == len(table(run_dir))
    assert set(table(run_dir)[0]) <= set(table(tmp_path / "again")[0])


def test_a_run_of_the_first_format_goes_on(tmp_path):
    run_dir = tmp_path / "old"
    shutil.copytree(OLD, run_dir)
    config = load_config(run_dir)
    config.num_timesteps = 256.0
    assert (run_dir / CHECKPOINT).is_file()
    assert train(config, run_dir, resume=True).num_timesteps == 256
    assert json.loads((run_dir / VERSIONS).read_text())["format_version"] == FORMAT_VERSION


@pytest.mark.parametrize(("version", "scale"), [(1, 2.5), (FORMAT_VERSION, 0.0)])
def test_before_format_2_networks_saw_mujoco_mazes_in_cells(tiny, tmp_path, version, scale):
    env = AntMazeConfig(layout="umaze", cell_size=2.5)
    save_config(tmp_path, dataclasses.replace(tiny(1), env=env), torch.device("cpu"))
    stored = OmegaConf.load(tmp_path / CONFIG)
    del stored.env["xy_scale"]
    OmegaConf.save(stored, tmp_path / CONFIG)
    found = json.loads((tmp_path / VERSIONS).read_text())
    (tmp_path / VERSIONS).write_text(json.dumps({**found, "format_version": version}))
    assert load_config(tmp_path).env == dataclasses.replace(env, xy_scale=scale)


@pytest.mark.parametrize("layout", ["plain", "umaze"])
def test_a_maze_that_was_drawn_anew_is_not_taken_for_the_one_of_an_older_run(tiny, tmp_path, layout):
    env = AntMazeConfig(layout=layout)
    save_config(tmp_path, dataclasses.replace(tiny(1), env=env), torch.device("cpu"))
    assert load_config(tmp_path).env == env
    found = json.loads((tmp_path / VERSIONS).read_text())
    (tmp_path / VERSIONS).write_text(json.dumps({**found, "format_version": 2}))
    if layout == "umaze":
        assert load_config(tmp_path).env == env
    else:
        with pytest.raises(ValueError, match=r"its maze 'plain' has been drawn anew since"):
            load_config(tmp_path)


def test_a_folder_of_a_later_format_is_refused(tiny, tmp_path):
    train(tiny(2), tmp_path)
    found = json.loads((tmp_path / VERSIONS).read_text())
    (tmp_path / VERSIONS).write_text(json.dumps({**found, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(ValueError, match=r"is a run folder of format 4; this version of discover_rl reads up to 3"):
        load_config(tmp_path)


def test_other_versions_are_told(tiny, tmp_path, capsys):
    train(tiny(2), tmp_path / "run")
    found = json.loads((tmp_path / "run" / VERSIONS).read_text())
    (tmp_path / "run" / VERSIONS).write_text(json.dumps({**found, "torch": "1.0"}))
    main(["train", "--from", str(tmp_path / "run")])
    assert f"{tmp_path / 'run'} was made with torch 1.0 (now {found['torch']})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from"], "--from needs the folder of a run"),
        (["--from", "nowhere"], "nowhere: there is no such folder; give the folder of a run"),
        (["--from=old"], "--from needs the folder of a run"),
        (["--from", str(OLD), "agent.gama=1"], "unknown key agent.gama; did you mean 'gamma'"),
        (["--from", str(OLD), "selector=her"], "keys can be changed, groups cannot"),
        (["--from", str(OLD), "seeds=x"], "seeds is 'x'; it must be a whole number"),
        (["--from", str(OLD), "seeds"], "'seeds' is not an option; write KEY=VALUE"),
    ],
    ids=str,
)
def test_a_mistake_is_said_in_one_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        main(["train", *arguments])
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not OLD.with_name(f"{OLD.name}-repeat").exists()
    assert (OLD / CONFIG).is_file()
