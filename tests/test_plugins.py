"""Plug-ins of one's own from the command line: goal spaces, selectors, environments in a file beside the run."""

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
import torch
from torch import nn

from discover_rl.cli import main
from discover_rl.config import TrainConfig
from discover_rl.evaluate import evaluate_run
from discover_rl.goals import BoxGoals, EmbeddingGoals
from discover_rl.run_folder import choose_folder, config_to_mapping, differences, load_config
from discover_rl.train import Trainer, train

PLUGINS = '''
from dataclasses import dataclass
import gymnasium
import numpy as np
import torch
from discover_rl.goals import Step
from discover_rl.selectors import HER


class Right:
    """How far to the right."""

    dim = 1

    def __init__(self, radius: float = 0.25):
        self.radius = radius

    def achieved(self, observation):
        return observation[..., :1]

    def success(self, achieved, desired):
        return (achieved - desired).abs()[..., 0] <= self.radius


@dataclass(frozen=True)
class Mine(HER):
    name: str = "mine"
    shyness: float = 0.0


@dataclass
class LineConfig:
    name: str = "line"
    step: float = 0.2


class Line:
    Config = LineConfig

    def __init__(self, config, num_envs, device, seed):
        self.step_size, self.num_envs, self.device = config.step, num_envs, device
        self.observation_dim = self.action_dim = 1
        self.max_episode_steps, self.ends_early, self.terminate_on_success = 8, False, False
        self.goal_space = Right(0.1)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.place = torch.zeros(num_envs, 1)

    def reset(self, mask=None):
        start = torch.rand(self.num_envs, 1, generator=self.generator) * 0.1
        self.place = start if mask is None else torch.where(mask[:, None], start, self.place)
        return self.place

    def targets(self):
        return torch.ones(self.num_envs, 1)

    def step(self, action):
        self.place = self.place + self.step_size * action
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        return Step(self.place, never, never)


class Walk(gymnasium.Env):
    """A plain Gymnasium environment."""

    observation_space = gymnasium.spaces.Box(-5, 5, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.1, 0.1, 2)
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.5 * action, -5, 5)
        return self.place.astype(np.float32), 0.0, False, False, {}


class Nothing:
    pass
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module of plug-ins, which has another name in every test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    name = f"plugins_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(PLUGINS)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def fails(here, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as info:
            main(arguments)
        assert info.value.code == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        return sentence

    return run


def test_a_goal_space_of_ones_own_trains_and_is_found_again(here, tiny_arguments, capsys):
    arguments = [*tiny_arguments, f"goal_space={here}:Right", "goal_space.radius=0.3", "target=[2.0]"]
    main(["train", *arguments])
    (run_dir,) = Path("runs").iterdir()
    config = load_config(run_dir)
    assert (config.goal_space.name, config.goal_space.radius, config.target) == (f"{here}:Right", 0.3, [2.0])
    trainer = Trainer(config)
    assert [vars(env.goal_space) for env in (trainer.env, trainer.eval_env)] == [{"radius": 0.3}] * 2
    assert trainer.round.goals.shape == (1, 6, 1)
    main(["eval", str(run_dir), "device=cpu"])
    capsys.readouterr()
    main(["train", *arguments, "num_timesteps=240"])
    assert f"going on from {run_dir}" in capsys.readouterr().out


def test_a_selector_of_ones_own_trains(here, tiny_arguments):
    main(["train", *tiny_arguments, f"selector={here}:Mine", "selector.shyness=0.5"])
    (run_dir,) = Path("runs").iterdir()
    assert run_dir.name.startswith(f"point_maze_open-{here}_Mine-seed0x1-")
    selector = load_config(run_dir).selector
    assert (type(selector).__name__, selector.name, selector.shyness) == ("Mine", f"{here}:Mine", 0.5)


def test_an_environment_of_ones_own_trains(here, tiny_arguments):
    rest = [argument for argument in tiny_arguments if not argument.startswith("env")]
    main(["train", *rest, f"env={here}:Line", "env.step=0.3"])
    (run_dir,) = Path("runs").iterdir()
    config = load_config(run_dir)
    assert (config.env.name, config.env.step) == (f"{here}:Line", 0.3)


def test_several_in_one_sweep(here, tiny_arguments):
    main(["train", "-m", *tiny_arguments, "num_timesteps=48", f"selector={here}:Mine,her"])
    assert sorted(load_config(path).selector.name for path in Path("runs").iterdir()) == ["her", f"{here}:Mine"]


@pytest.mark.parametrize("written", ["point_maze/open,MODULE:Walk", "choice(MODULE:Walk, point_maze/open)"])
def test_a_plain_gymnasium_environment_and_one_of_ours_in_one_sweep(here, tiny_arguments, written):
    envs = "env=" + written.replace("MODULE", here)
    goals = [f"goal_space={here}:Right", "target=[2.0]"]
    main(["train", "-m", *tiny_arguments, "num_timesteps=48", envs, *goals])
    configs = [load_config(path).env for path in Path("runs").iterdir()]
    assert {getattr(config, "id", config.name) for config in configs} == {"point_maze", f"{here}:Walk"}


def test_what_does_not_fit_one_environment_of_a_sweep_is_said_with_its_name(here, fails, tiny_arguments):
    rest = [argument for argument in tiny_arguments if not argument.startswith("env")]
    sweep = ["train", "-m", *rest, f"env={here}:Walk,point_maze/open", "env.max_episode_steps=8"]
    goals = [f"goal_space={here}:Right", "target=[2.0]"]
    assert f"job env={here}:Walk: unknown key env.step_size; allowed under env" in fails(
        *sweep, *goals, "env.step_size=0.3"
    )
    assert list(Path().glob("runs/*")) == []


def test_a_job_that_fails_is_named_as_it_was_typed(here, capsys, tiny_arguments):
    rest = [argument for argument in tiny_arguments if not argument.startswith("env")]
    with pytest.raises(SystemExit):
        main(["train", "-m", *rest, f"env={here}:Walk,point_maze/open", "env.max_episode_steps=8", "num_timesteps=48"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"env={here}:Walk" in said and f"{here}:Walk is no goal environment" in said


def test_several_are_compared(here, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    monkeypatch.setattr("discover_rl.cli.compare._write_report", lambda *_: [])
    rest = [argument for argument in tiny_arguments if not argument.startswith("env")]
    main(["compare", f"envs=[{here}:Line]", f"selectors=[her,{here}:Mine]", "goal_space=" + f"{here}:Right",
          "goal_space.radius=0.2", "target=[1.0]", *rest, "folder=there"])  # fmt: skip
    configs = [load_config(path.parent) for path in Path("there").rglob("config.yaml")]
    assert sorted(config.selector.name for config in configs) == ["her", f"{here}:Mine"]
    assert {(config.env.name, config.goal_space.name) for config in configs} == {(f"{here}:Line", f"{here}:Right")}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["goal_space=MODULE:Rigth"], "MODULE:Rigth: MODULE has no 'Rigth'; did you mean 'Right'?"),
        (["goal_space=MODULE:Right", "goal_space.radus=1"], "unknown key goal_space.radus; did you mean 'radius'?"),
        (["goal_space=MODULE:Right"], "environment 'point_maze' has targets of 2 coordinates, but the goal space has"),
        (["goal_space=MODULE:Nothing", "target=[1.0]"], "Nothing has no method achieved; a goal space needs dim"),
        (["goal_space=box", "goal_space.radius=1"], "goal_space.indices must be given, e.g. goal_space.indices=..."),
        (["goal_space=bx"], "goal_space is 'bx'; did you mean 'box'?; allowed: box, discrete, embedding, full, linear"),
        (["selector=MODULE:Nothing"], "selector MODULE:Nothing: it must be a dataclass with a field name: str and"),
        (["env=MODULE:Nothing"], "environment MODULE:Nothing: it needs an attribute Config, a dataclass of its setti"),
        (["target=[1.0]"], "target: the goal space has 2 coordinates; give 2 finite numbers, got [[1.0]]"),
        (["target=[0.0,0.0]"], "environment 'point_maze': 6 of 6 starts have already solved their target"),
    ],
    ids=range(10),
)
def test_mistakes_are_said(here, fails, tiny_arguments, arguments, sentence):
    arguments = [argument.replace("MODULE", here) for argument in arguments]
    assert sentence.replace("MODULE", here) in fails("train", *tiny_arguments, *arguments)
    assert not Path("runs").exists()


def test_why_an_installed_plugin_cannot_be_loaded_is_the_last_sentence(here, capsys, tiny_arguments, monkeypatch):
    broken = EntryPoint("mine", "nowhere:Mine", "discover_rl.selectors")
    monkeypatch.setattr(
        "discover_rl.config.plugins.entry_points",
        lambda group: [*entry_points(group=group), *[broken] * (group == broken.group)],
    )
    with pytest.raises(SystemExit):
        main(["train", *tiny_arguments, "selector=mine"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("discover-rl: selector=mine: the plug-in 'mine' (nowhere:Mine)")
    assert said.endswith("could not be loaded: No module named 'nowhere'")


def test_a_goal_space_given_as_an_object_is_kept_by_its_settings(tiny, tmp_path):
    config = tiny(1, goal_space=BoxGoals([0], 0.3), target=[2.0])
    train(config, tmp_path / "run")
    loaded = load_config(tmp_path / "run")
    assert (loaded.goal_space.name, loaded.goal_space.indices, loaded.goal_space.radius) == ("box", [0], 0.3)
    assert differences(config, loaded) == {}
    assert evaluate_run(tmp_path / "run", 2, "cpu")[1].success.shape == (2,)


def test_a_network_given_as_an_object_trains_but_cannot_be_loaded(tiny, tmp_path):
    torch.manual_seed(0)
    space = EmbeddingGoals(0.1, network=nn.Linear(2, 3), observation_dim=2)
    config = tiny(1, goal_space=space, target=[2.0, 2.0, 2.0])
    train(config, tmp_path / "run")
    assert config_to_mapping(config)["goal_space"]["type"] == "EmbeddingGoals"
    with pytest.raises(ValueError, match="goal_space was given as a Python object that no configuration can hold"):
        load_config(tmp_path / "run")


def test_a_run_without_the_new_keys_is_still_read(tiny):
    config = tiny()
    assert config_to_mapping(config)["goal_space"] is None
    assert TrainConfig().goal_space is TrainConfig().target is None
    assert choose_folder(config)[0].name.startswith("point_maze-discover-seed0x2-")
