"""Every id that ``import discover_envs`` registers."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.env_checker import check_env as check_env_for_stable_baselines3

import discover_envs  # noqa: F401 - registers
from discover_envs.ids import FAMILIES
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
    for maze, fields in family.mazes.items():
        recipe = recipes.pop(maze.lower()) if maze else {}
        values, wanted = ({**vars(default), **given} for given in (fields, recipe))
        assert values == wanted, maze
    assert recipes == {}


@pytest.mark.parametrize("id_", IDS)
def test_both_checkers_find_nothing(id_):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(id_)
        check_env(env.unwrapped)
        check_env_for_stable_baselines3(env.unwrapped, skip_render_check=False)


@pytest.mark.parametrize("id_", IDS)
def test_specs(id_):
    """One time limit, the configuration's; the spec makes the same environment again; two are equal step by step."""
    env = make(id_, render_mode="rgb_array", success_radius=0.25)
    config = env.unwrapped.episodes.env.config
    limit = config.max_episode_steps
    assert [type(env), type(env.unwrapped)] == [TimeLimit, GoalEnv] and not isinstance(env.env, TimeLimit)
    assert env.spec.max_episode_steps == limit == gym.spec(id_).max_episode_steps
    assert EnvSpec.from_json(env.spec.to_json()) == env.spec
    again = make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.episodes.env.config == config
    check_environments_match(env, again, num_steps=4, skip_render=True)
    assert again.render().shape == (480, 480, 3)
    envs = gym.make_vec(id_, num_envs=2)
    assert isinstance(envs, GoalVectorEnv) and envs.max_episode_steps == limit
    observation, _ = envs.reset(seed=3)
    for index in range(2):
        alone, _ = env.reset(seed=3 + index)
        assert all((observation[key][index] == alone[key]).all() for key in alone)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_tables_name_every_number_and_its_unit(family):
    text = load_plugin("discover_rl.environments", family.plugin).__doc__
    for what in ("Observation", "Action"):
        (head,) = re.findall(rf"^ *\| Num \| {what} \|.*\|$", text, re.MULTILINE)
        assert [cell.strip() for cell in head.strip(" |").split("|")] == ["Num", what, "Min", "Max", "Name", "Unit"]


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
