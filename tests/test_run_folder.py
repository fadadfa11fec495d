"""Configurations as plain data, and how the folder of a run is chosen."""

import dataclasses
import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from discover_envs.mujoco_maze.ant import AntMazeConfig
from discover_envs.point_maze import PointMazeConfig
from discover_rl.agents import AGENT_CONFIGS, TD3Config, ZeroConfig
from discover_rl.cli import main
from discover_rl.config import HindsightConfig, TrainConfig
from discover_rl.run_folder import (
    CHECKPOINT,
    CONFIG,
    VERSIONS,
    FolderBusyError,
    choose_folder,
    claimed,
    config_from_mapping,
    config_to_mapping,
    differences,
    done_folder,
    fingerprint,
    load_config,
    save_config,
)
from discover_rl.selectors import SELECTORS, Discover, Mega
from discover_rl.train import Trainer, train

CPU = torch.device("cpu")
FREE = ["num_timesteps", "device", "num_threads", "cudagraphs", "compile", "tf32", "resume", "run_dir", "stop_success"]
FREE += ["log_interval", "eval_interval", "save_interval", "keep_checkpoint", "max_time"]


def changed(value):
    """Another value of the same type."""
    return not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else value + 1


# -- configurations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_comes_back_from_yaml(tiny, tmp_path, selector):
    config = tiny(selector=SELECTORS[selector](), hindsight=HindsightConfig(0.5, 0.2, 0.1), learning_starts=7)
    save_config(tmp_path, config, CPU)
    loaded = load_config(tmp_path)
    assert loaded == config
    assert type(loaded.selector) is SELECTORS[selector]
    assert type(loaded.hindsight) is HindsightConfig


@pytest.mark.parametrize("agent", AGENT_CONFIGS)
def test_every_agent_comes_back_from_yaml(tiny, tmp_path, agent):
    values = {"hidden_sizes": [3, 5], "learning_rate": 1e-7} if agent == "td3" else {}
    config = tiny(agent=AGENT_CONFIGS[agent](**values))
    save_config(tmp_path, config, CPU)
    assert load_config(tmp_path) == config
    assert type(load_config(tmp_path).agent) is AGENT_CONFIGS[agent]


def test_every_environment_comes_back_from_yaml(tiny, tmp_path, walk):
    rows = PointMazeConfig(
        layout="\n".join(["#" * 99, *["#" + "." * 97 + "#"] * 97, "#" * 99])
    )  # no file has this name
    generated = PointMazeConfig(layout="generated", dim=4, radius=2)
    for name, env in {"maze": generated, "rows": rows, "walk": walk(fail=0.25)}.items():
        save_config(tmp_path / name, tiny(env=env), CPU)
        assert load_config(tmp_path / name).env == env


def plain(**changes):
    config = TrainConfig(env=PointMazeConfig(), selector=Discover(), agent=TD3Config(), num_timesteps=1e6)
    return config_to_mapping(config) | changes


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        (plain(num_env=1), r"^unknown key num_env; did you mean 'num_envs'\?; allowed: .*num_envs"),
        (plain(selector={"name": "discover", "novely": 1}), r"^unknown key selector\.novely; did you mean 'novelty'\?"),
        (plain(agent={"name": "td3", "gama": 1}), r"^unknown key agent\.gama; did you mean 'gamma'\?; allowed: "),
        (plain(env={"name": "point_maze", "layuot": "u"}), r"^unknown key env\.layuot; did you mean 'layout'\?"),
        (plain(hindsight={"futur": 0.5}), r"hindsight.*futur"),
        (plain(selector={"name": "discovr"}), r"^selector\.name is 'discovr'; did you mean 'discover'\?; allowed: ach"),
        (
            plain(agent={"name": "td4"}),
            r"^agent\.name is 'td4'; did you mean 'td3'\?; allowed: dqn, random, td3, zero$",
        ),
        (plain(env={"name": "point_mace"}), r"no plug-in named 'point_mace' .*did you mean 'point_maze'\?; installed"),
        (plain(selector=None), r"^selector is not set; choose one, e\.g\. selector="),
        (plain(env=None), r"^env is not set"),
        (plain(env={"layout": "u"}), r"env\.name"),
        (plain(agent="td3"), r"^agent"),
        (plain(seeds="many"), r"^seeds is 'many'; it must be a whole number"),
        (plain(selector={"name": "mega", "low": 2.0}), r"0 <= low < high <= 1 must hold, got 2\.0"),
        (plain(env={"name": "point_maze", "layout": "uu"}), r"unknown layout 'uu'; did you mean 'u'\?"),
        (plain(agent={"name": "td3", "gamma": 1.0}), r"agent\.gamma must lie strictly between 0 and 1, got 1\.0"),
        (plain(hindsight={"future": 0.9, "random": 0.2}), r"must be shares in \[0, 1\] with a sum of at most 1"),
        (plain(seeds=0), r"seeds must be at least 1, got 0"),
        (plain(seed=-1), r"seed must not be negative, got -1"),
        (plain(num_candidates=3), r"num_candidates=3 is less than num_envs=32"),
        (plain(greedy_share=1.5), r"greedy_share must lie in \[0, 1\], got 1\.5"),
        (plain(after_goal="rest"), r"after_goal is 'rest'; allowed: random, policy, target, next, explore"),
        (plain(device="gpu"), r"device is 'gpu'; allowed: auto, cpu, cuda, cuda:N"),
        (plain(num_timesteps=float("inf")), r"num_timesteps must be .*, got inf"),
        (plain(num_timesteps=float("nan")), r"num_timesteps must be .*, got nan"),
    ],
    ids=range(25),
)
def test_unknown_keys_and_bad_values_are_said_in_one_sentence(mapping, sentence):
    with pytest.raises(ValueError, match=sentence) as info:
        config_from_mapping(mapping)
    assert "\n" not in str(info.value)


def test_a_folder_without_a_configuration_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"is not the folder of a run: it has no config\.yaml"):
        load_config(tmp_path)
    for content, said in (
        (b"[1, 2]", " is not a configuration: "),
        (b"", " is not the configuration of a run: it has no env"),
        (b"a: [1", " is not a configuration: "),
        (b"just text", " is not the configuration of a run: it has no env"),
        (b"\xff\xfe", " is not a configuration: "),
        (b"env: maze", ": env must hold keys and values"),
        (b"env: {name: point_maze}", ": selector is not set"),
    ):
        (tmp_path / CONFIG).write_bytes(content)
        with pytest.raises(ValueError) as info:
            load_config(tmp_path)
        assert str(info.value).startswith(f"{tmp_path / CONFIG}{said}")
        assert "\n" not in str(info.value)


def test_versions_say_what_it_ran_on(tiny, tmp_path):
    save_config(tmp_path, tiny(), CPU)
    versions = json.loads((tmp_path / VERSIONS).read_text())
    assert versions["torch"] == torch.__version__
    assert versions["device"] == "cpu"
    assert {"python", "platform", "discover-rl", "numpy", "gymnasium", "mujoco", "hydra-core"} <= versions.keys()
    assert len(versions.get("git_commit", "0" * 40)) == 40


def test_configuration_and_versions_are_written_before_training(tiny, tmp_path, monkeypatch):
    def first_round(self):
        assert load_config(tmp_path) == self.config
        assert (tmp_path / VERSIONS).is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train_round", first_round)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path)


# -- folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_run_gets_a_folder_that_says_what_it_is(tiny, here):
    run_dir, resume = choose_folder(tiny(seed=3), "point_maze/open")
    assert not resume
    assert str(run_dir) == f"runs/point_maze_open-discover-seed3x2-{fingerprint(tiny(seed=3))}"
    assert choose_folder(tiny())[0].name.startswith("point_maze-discover-seed0x2-")
    assert list(here.iterdir()) == []  # choosing writes nothing


def test_the_same_configuration_goes_on_until_it_is_finished(tiny, here):
    config = tiny(2)
    run_dir, resume = choose_folder(config)
    save_config(run_dir, config, CPU)
    assert (choose_folder(config), resume) == ((run_dir, False), False)  # nothing to go on from yet
    train(tiny(1), run_dir)
    assert choose_folder(config) == (run_dir, True)
    train(config, run_dir, resume=True)
    second = run_dir.with_name(f"{run_dir.name}-2")
    assert choose_folder(config) == (second, False)
    assert choose_folder(tiny(3)) == (run_dir, True)  # more steps: there is more to do
    train(config, second)
    assert choose_folder(config) == (run_dir.with_name(f"{run_dir.name}-3"), False)


def test_what_was_trained_is_not_written_over_when_its_checkpoint_is_gone(tiny, here):
    run_dir, _ = choose_folder(tiny(1))
    train(tiny(1), run_dir)
    (run_dir / CHECKPOINT).unlink()
    assert (done_folder(tiny(1)), done_folder(tiny(2))) == (run_dir, None)
    for rounds in (1, 2):
        assert choose_folder(tiny(rounds)) == (run_dir.with_name(f"{run_dir.name}-2"), False)


def test_a_finished_run_is_found_behind_others(tiny, here):
    """Or the same command would train it again each time it is typed."""
    for number, seed in enumerate((0, 1)):
        config = tiny(1, run_dir="mine", seed=seed)
        assert done_folder(config) is None
        train(config, choose_folder(config)[0])
        assert done_folder(config) == Path("mine-2" if number else "mine")


def test_resume_never_takes_a_new_folder_and_leaves_the_old(tiny, here):
    run_dir, _ = choose_folder(tiny())
    train(tiny(1), run_dir)
    before = (run_dir / CHECKPOINT).read_bytes()
    new, resume = choose_folder(tiny(resume="never"))
    assert (new.name, resume) == (f"{run_dir.name}-2", False)
    train(tiny(1, resume="never"), new)
    assert (run_dir / CHECKPOINT).read_bytes() == before


def test_resume_names_a_folder(tiny, here):
    train(tiny(1), here / "mine")
    assert choose_folder(tiny(2, resume="mine")) == (here.__class__("mine"), True)
    with pytest.raises(
        ValueError,
        match=r"^resume=mine: the run there was made with another agent.name \(td3 there, zero here\), seed \(0 ",
    ):
        choose_folder(tiny(2, resume="mine", seed=1, agent=ZeroConfig()))
    with pytest.raises(ValueError, match=r"^resume is 'nowhere'; allowed: auto, never, or the folder of a run"):
        choose_folder(tiny(2, resume="nowhere"))
    (here / "mine" / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"^resume=mine: there is no checkpoint\.safetensors to go on from"):
        choose_folder(tiny(2, resume="mine"))


def test_a_folder_can_be_given(tiny, here):
    config = tiny(2, run_dir="deep/er")
    run_dir, resume = choose_folder(config)
    assert (str(run_dir), resume) == ("deep/er", False)
    train(tiny(1, run_dir="deep/er"), run_dir)
    assert choose_folder(config) == (run_dir, True)
    other, resume = choose_folder(tiny(2, run_dir="deep/er", selector=Mega()))
    assert (str(other), resume) == ("deep/er-2", False)  # never over a run of another kind


def test_only_free_keys_may_differ_between_a_run_and_its_continuation(tiny):
    base = tiny()
    for field in dataclasses.fields(TrainConfig):
        value = getattr(base, field.name)
        if not isinstance(value, (int, float, str)) or field.name in ("after_goal", "device"):
            continue
        if field.name == "stop_success":
            other = dataclasses.replace(base, stop_success=0.5)
        elif field.name in ("patience", "exploration_spread", "greedy_share"):
            other = dataclasses.replace(base, **{field.name: 0.25})
        else:
            other = dataclasses.replace(base, **{field.name: changed(value)})
        free = field.name in FREE
        assert [*differences(base, other)] == ([] if free else [field.name])
        assert (fingerprint(base) == fingerprint(other)) == free
    assert differences(base, dataclasses.replace(base, selector=Discover(novelty=2.0))) == {
        "selector.novelty": (1.0, 2.0)
    }


def test_an_environment_says_which_of_its_keys_are_free(tiny, here):
    def ant(**changes):
        return tiny(2, env=AntMazeConfig(layout="umaze", max_episode_steps=8, num_threads=1), **changes)

    def given(config, **changes):
        return dataclasses.replace(config, env=dataclasses.replace(config.env, **changes))

    run_dir, _ = choose_folder(ant())
    train(ant(num_timesteps=ant().num_timesteps / 2), run_dir)
    roomier = given(ant(), njmax=128, nconmax=48, num_threads=2, backend="native")
    assert choose_folder(roomier) == (run_dir, True)
    assert train(roomier, run_dir, resume=True).rounds == 2
    with pytest.raises(ValueError, match=r"made with another env\.frame_skip \(5 there, 4 here\); give the same"):
        choose_folder(given(ant(resume=str(run_dir)), frame_skip=4))


def test_the_written_file_is_plain_yaml(tiny, tmp_path):
    save_config(tmp_path, tiny(), CPU)
    text = (tmp_path / CONFIG).read_text()
    assert "!!python" not in text
    assert OmegaConf.select(OmegaConf.create(text), "agent.hidden_sizes") == [16, 16]


def test_a_folder_is_held_by_one_and_free_when_that_ends(tmp_path):
    with claimed(tmp_path / "run"):
        with pytest.raises(FolderBusyError) as info, claimed(tmp_path / "run"):
            pass
        assert f"process {os.getpid()}) is at work in {tmp_path / 'run'}; wait for it" in str(info.value)
    with claimed(tmp_path / "run"):
        pass


def test_a_worker_that_outlives_its_parent_does_not_keep_the_claim(tmp_path):
    reading, writing = os.pipe()
    trains = os.fork()
    if not trains:
        with claimed(tmp_path):
            worker = os.fork()
            os.write(writing, f"{os.getpid()}\n".encode() if not worker else b"")
            time.sleep(60 if not worker else 0.5)
            os._exit(0)  # neither unlocks anything
    worker = int(os.read(reading, 20))
    try:
        os.waitpid(trains, 0)
        os.kill(worker, 0)  # it is alive
        with claimed(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_where_nothing_can_be_locked_it_says_so_and_goes_on(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    sentence = "cannot be locked .No locks available.; start one process there only"
    with pytest.warns(UserWarning, match=sentence), claimed(tmp_path):
        pass


def test_two_commands_do_not_train_in_one_folder(tiny_arguments, tmp_path, capsys):
    run_dir = tmp_path / "run"
    with claimed(run_dir), pytest.raises(SystemExit):
        main(["train", *tiny_arguments, "selector=her", f"run_dir={run_dir}"])
    assert f"is at work in {run_dir}" in capsys.readouterr().err
    assert not (run_dir / CONFIG).exists()


def test_a_run_goes_on_with_the_maze_it_was_begun_with(tiny, tmp_path):
    """The same file name with another maze is another task; the same maze in another file is not."""
    maze = "#####\n#..G#\n#.S##\n#...#\n#####\n"
    for name in ("maze.txt", "moved.txt"):
        (tmp_path / name).write_text(maze)
    before = tiny(4, env=PointMazeConfig(layout=str(tmp_path / "maze.txt")), run_dir=str(tmp_path / "run"))
    save_config(tmp_path / "run", before, CPU)
    assert choose_folder(before)[0] == tmp_path / "run"
    moved = dataclasses.replace(before, env=PointMazeConfig(layout=str(tmp_path / "moved.txt")))
    assert choose_folder(moved)[0] == tmp_path / "run"
    (tmp_path / "maze.txt").write_text(maze.replace("##\n#...", ".#\n#..."))
    assert choose_folder(before)[0] == tmp_path / "run-2"
