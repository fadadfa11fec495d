"""Every id that ``import discover_envs`` registers."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.env_checker import check_env as check_env_for_stable_baselines3

import discover_envs  # noqa: F401 - registers
from discover_envs.ids import FAMILIES
from discover_envs.mujoco_maze.camera import gl_context
from discover_rl.config import load_plugin
from discover_rl.gym import GoalEnv, GoalVectorEnv

make: Any = gym.make  # or every attribute of ours would be unknown to the type checker
IDS = [id_ for family in FAMILIES for id_ in family.ids()]
RECIPES = Path(__file__).parents[2] / "configs" / "env"


def test_what_is_registered_is_what_the_table_says():
    assert sorted(IDS) == sorted(id_ for id_ in gym.registry if id_.startswith("Discover/"))
    assert {"Discover/PointMaze_4D-v0", "Discover/PointMaze_DeadEnd-v0", "Discover/PointMaze-v0"} <= set(IDS)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_recipe_has_an_id_with_the_same_settings(family):
    recipes = {}
    for path in (RECIPES / family.plugin).glob("*.yaml"):
        fields = yaml.safe_load(path.read_text())
        recipes[re.sub(r"[^a-z0-9]", "", path.stem)] = {k: v for k, v in fields.items() if k != "defaults"}
    default = load_plugin("discover_rl.environments", family.plugin).Config()
    assert default.max_episode_steps == family.max_episode_steps
    for maze, fields in family.mazes.items():
        recipe = recipes.pop(maze.lower()) if maze else {}
        values, wanted = ({**vars(default), **given} for given in (fields, recipe))
        assert values == wanted, maze
    assert recipes == {}


@pytest.fixture(scope="module")
def without_opengl():
    """Keyword arguments with which every id can be drawn on this machine."""
    try:
        gl_context()
    except RuntimeError:
        return {"view": "top_down"}
    return {}


@pytest.fixture(params=IDS, scope="module")
def id_(request):
    """Of module scope, so that the tests of one id run together: large mazes are kept for a while."""
    return request.param


def test_both_checkers_find_nothing(id_, without_opengl):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if "PointMaze_" not in id_:  # a simulated body has no bounds, as in Gymnasium's own MuJoCo environments
            warnings.filterwarnings("ignore", ".*A Box observation space (min|max)imum value is -?infinity")
        env = make(id_, width=64, height=64, **without_opengl)
        check_env(env.unwrapped)
        check_env_for_stable_baselines3(env.unwrapped, skip_render_check=False)


def test_specs(id_):
    """One time limit, the configuration's; the spec makes the same environment again; two are equal step by step."""
    env = make(id_, render_mode="rgb_array", view="top_down", success_radius=0.25)
    config, limit = env.unwrapped.episodes.env.config, gym.spec(id_).max_episode_steps
    assert [type(env), type(env.unwrapped)] == [TimeLimit, GoalEnv] and not isinstance(env.env, TimeLimit)
    assert env.spec.max_episode_steps == limit
    assert EnvSpec.from_json(env.spec.to_json()) == env.spec
    again = make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.episodes.env.config == config
    check_environments_match(env, again, num_steps=4, skip_render=True)
    assert again.render().shape == (480, 480, 3)
    envs: Any = gym.make_vec(id_, num_envs=2)
    assert type(envs) is GoalVectorEnv and envs.max_episode_steps == limit
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 2, *env.action_space.shape)).astype(np.float32)
    together = [envs.reset(seed=3)[0], *(envs.step(action)[0] for action in actions)]
    for index in range(2):
        alone = [env.reset(seed=3 + index)[0], *(env.step(action[index])[0] for action in actions)]
        for one, other in zip(together, alone, strict=True):
            assert all((one[key][index] == other[key]).all() for key in other)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tables_name_every_number_and_its_unit(family):
    factory = load_plugin("discover_rl.environments", family.plugin)
    env, text = factory(factory.Config(), 1, torch.device("cpu"), 0), factory.__doc__
    widths = {"Observation": env.observation_dim, "Action": env.action_dim}
    for what, width in widths.items():
        (head,) = re.findall(rf"^ *\| Num \| {what} \|.*\|$", text, re.MULTILINE)
        assert [cell.strip() for cell in head.strip(" |").split("|")] == ["Num", what, "Min", "Max", "Name", "Unit"]
        lines = text.split(head)[1].split("\n\n")[0].splitlines()
        rows = [line.strip(" |").split(" | ") for line in lines if line.strip(" |-")]
        if family.name == "PointMaze":
            assert [row[0] for row in rows] == ["i = 0 … n-1"]
            continue
        assert [int(row[0]) for row in rows] == list(range(width))
        names = [row[4].strip("`") for row in rows]
        actuators = [env.model.actuator(index) for index in range(env.model.nu)]
        joints = numbers_by_joint(env.model)
        sites = ["tip"] * (width - len(joints))  # what the arm adds
        assert names == ([actuator.name for actuator in actuators] if what == "Action" else joints + sites)


def numbers_by_joint(model):
    """The name of the joint of each number of qpos and then of qvel."""
    joints = [model.joint(index) for index in range(model.njnt)]
    free = [joint.type[0] == 0 for joint in joints]
    widths = [[7 if is_free else 1 for is_free in free], [6 if is_free else 1 for is_free in free]]
    return [joint.name for each in widths for joint, width in zip(joints, each, strict=True) for _ in range(width)]


def test_your_own_maze(tmp_path):
    (tmp_path / "mine.txt").write_text("#####\n#..G#\n#.S.#\n#...#\n#####\n")
    env = make("Discover/PointMaze-v0", layout=str(tmp_path / "mine.txt"))
    assert env.reset(seed=0)[0]["desired_goal"].tolist() == [1.0, 1.0]
    assert make("Discover/PointMaze-v0", layout="spiral").unwrapped.episodes.env.layout.name == "spiral"


def test_the_import_is_light_and_the_prefix_imports():
    code = """
import sys
import discover_envs
assert not {"torch", "mujoco", "matplotlib", "discover_rl"} & set(sys.modules), "registering imports something heavy"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = """
import gymnasium
env = gymnasium.make("discover_envs:Discover/PointMaze_2D-v0")
print(env.reset(seed=5)[0]["observation"].tolist())
"""
    made = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    here = make("Discover/PointMaze_2D-v0").reset(seed=5)[0]["observation"]
    assert made.stdout.strip() == str(here.tolist())  # the same start in every process
