"""Each violation of the environment contract gets a sentence of its own, also from the command line."""

import sys

import pytest
import torch

from discover_rl.cli import main
from discover_rl.goals import BoxGoals, Step
from discover_rl.goals.check_environment import environment_problems

CPU = torch.device("cpu")


class Line:
    observation_dim = action_dim = 1
    max_episode_steps, ends_early, terminate_on_success = 10, False, False
    goal_space = BoxGoals([0], 0.1)
    device = CPU

    def __init__(self, num_envs, seed):
        self.num_envs = num_envs
        self.generator = torch.Generator().manual_seed(seed)
        self.place = torch.zeros(num_envs, 1)

    def reset(self, mask=None):
        start = torch.rand(self.num_envs, 1, generator=self.generator) * 0.1
        self.place = start if mask is None else torch.where(mask[:, None], start, self.place)
        return self.place

    def targets(self):
        return torch.ones(self.num_envs, 1)

    def step(self, action):
        if action.shape != (self.num_envs, 1):
            raise ValueError("shape")
        self.place = self.place + action
        return Step(
            self.place, torch.zeros(self.num_envs, dtype=torch.bool), torch.zeros(self.num_envs, dtype=torch.bool)
        )


def changed(**parts):
    return type("Changed", (Line,), parts)


def reset_in_place(self, mask=None):
    self.place.copy_(torch.rand(self.num_envs, 1, generator=self.generator))
    return self.place


def reset_all(self, mask=None):
    self.place = torch.rand(self.num_envs, 1, generator=self.generator)
    return self.place


def step_in_place(self, action):
    if action.shape != (self.num_envs, 1):
        raise ValueError("shape")
    self.place += action
    never = torch.zeros(self.num_envs, dtype=torch.bool)
    return Step(self.place, never, never)


def step_of_any_width(self, action):
    self.place = self.place + action[:, :1]
    never = torch.zeros(self.num_envs, dtype=torch.bool)
    return Step(self.place, never, never)


def stand(self, action):
    return Line.step(self, action * 0)


def end(self, action):
    return Line.step(self, action)._replace(terminated=torch.ones(self.num_envs, dtype=torch.bool))


def drift(self, mask=None):
    self.count = getattr(self, "count", 0) + 1
    return Line.reset(self, mask) + 0.01 * self.count


def unseeded(self, mask=None):
    self.generator.seed()
    return Line.reset(self, mask)


def test_a_good_one_has_no_problem():
    assert list(environment_problems(Line)) == []


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (changed(max_episode_steps=0), "max_episode_steps must be at least 1, got 0"),
        (changed(ends_early=0), "ends_early must be of type bool, got 0"),
        (changed(targets=None), "the method targets is missing; see discover_rl.goals.Environment"),
        (changed(reset=lambda self: 1 / 0), "reset() failed: ZeroDivisionError: division by zero"),
        (
            changed(reset=lambda self: torch.zeros(6, 2)),
            "reset() must be torch.float32 of shape (6, 1), got torch.float32",
        ),
        (changed(reset=lambda self, m=None: torch.zeros(6, 1)), "every episode has the same start and the same target"),
        (changed(reset=reset_in_place), "reset() writes into the tensor that an earlier reset returned"),
        (changed(reset=reset_all), "reset(mask) changes environments outside the mask"),
        (
            changed(reset=lambda self, m=None: Line.reset(self, None if m is None else ~m & False)),
            "does not reset the env",
        ),
        (changed(reset=unseeded), "the same seed gives other episodes"),
        (changed(reset=drift), "reset() remembers something besides generator"),
        (changed(targets=lambda self: [1.0]), "targets() must be float32 of shape (6, goal), got list"),
        (
            changed(step=lambda self, action: (self.place, 0.0)),
            "step(action) must return a discover_rl.goals.Step, got tup",
        ),
        (changed(step=step_in_place), "step() writes into the observation that it returned before"),
        (changed(step=step_of_any_width), "step() takes an action of width 2 though action_dim is 1"),
        (changed(step=stand), "actions change nothing: after 20 random steps every observation is the start"),
        (changed(step=end), "an episode was terminated or truncated although ends_early is False"),
    ],
    ids=range(17),
)
def test_each_violation_is_said(env, sentence):
    assert sentence in "\n".join(environment_problems(env))


def test_the_command_says_what_is_there_and_how_to_train_it(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main(["check-env", "point_maze/u", "goal_space=xy", "goal_space.radius=0.2"])
    out = capsys.readouterr().out
    for line in ("observation   2 numbers", "goal space    XYGoals, 2 coordinates", "its target    x=5.00, y=5.00"):
        assert line in out
    assert "train it with: discover-rl train env=point_maze/u goal_space=xy goal_space.radius=0.2" in out


BROKEN = """
from dataclasses import dataclass
import torch

@dataclass
class Config:
    name: str = "x"

class Broken:
    Config = Config
    observation_dim = action_dim = max_episode_steps = 1
    ends_early = terminate_on_success = False
    targets = step = lambda self: 0

    def __init__(self, config, num_envs, device, seed):
        self.num_envs = num_envs
        self.generator, self.device, self.goal_space = torch.Generator(), device, None

    def reset(self, mask=None):
        return 1 / 0
"""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["CartPole-v1"], "CartPole-v1 is no goal environment: its observation is Box"),
        (["point_maze/u", "target=[0.0,0.0]"], "64 of 64 starts have already solved their target"),
        (["broken_env_a:Broken"], "reset() failed: ZeroDivisionError: division by zero"),
    ],
)
def test_the_command_tells_problems_and_fails(arguments, problem, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken_env_a.py").write_text(BROKEN)
    with pytest.raises(SystemExit) as info:
        main(["check-env", *arguments])
    captured = capsys.readouterr()
    assert info.value.code == 1
    assert f"  wrong: {problem}" in captured.out.replace("environment 'point_maze': ", "")
    assert captured.err == f"discover-rl: {arguments[0]} has 1 problem\n"


def test_without_an_environment_it_says_what_to_give(capsys):
    with pytest.raises(SystemExit):
        main(["check-env"])
    assert "give an environment: discover-rl check-env MODULE:ENV" in capsys.readouterr().err
