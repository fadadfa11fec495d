"""Every recipe in configs/ composes to a valid configuration, and those that claim published numbers have them."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from discover_envs.layout import PUBLISHED
from discover_envs.point_maze import PointMazeConfig
from discover_rl.build import make_environment, validate
from discover_rl.cli.composing import recipes_dir, register_schemas
from discover_rl.config import TrainConfig
from discover_rl.run_folder import config_from_mapping

CONFIGS = Path(__file__).parent.parent / "configs"
ENVIRONMENTS = sorted(path.stem for path in (CONFIGS / "env" / "point_maze").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
SLOW_TO_BUILD = {"8d", "10d"}  # seconds


def composed(*overrides: str) -> TrainConfig:
    register_schemas()
    with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
        mapping = OmegaConf.to_container(compose("train", list(overrides)))
    assert isinstance(mapping, dict)
    return config_from_mapping({str(key): value for key, value in mapping.items()})


def test_the_recipes_are_those_of_this_checkout():
    assert recipes_dir() == CONFIGS.resolve()
    assert {"open", "u", "serpentine", "2d", "10d"} <= set(ENVIRONMENTS)
    assert {"paper", "paper_released", "quickstart"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_composes_and_builds(name):
    config = composed(f"env=point_maze/{name}")
    validate(config)
    if name[:-1].isdigit():
        assert (config.env.layout, config.env.dim) == ("generated", int(name[:-1]))
    else:
        assert config.env.layout == name
    if name not in SLOW_TO_BUILD:
        env = make_environment(config.env, 3, torch.device("cpu"), 0)
        assert env.reset().shape == (3, config.env.dim)


def test_the_plain_environment_has_the_defaults_of_its_dataclass():
    config = composed("env=point_maze")
    assert config.env == type(config.env)()


def test_without_a_choice_the_maze_is_the_same_on_the_command_line_and_in_python():
    assert composed().env == PointMazeConfig()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name):
    config = composed(f"experiment={name}")
    validate(config)
    assert config_from_mapping(OmegaConf.to_container(OmegaConf.structured(config))) == config  # type: ignore[arg-type]


def test_what_is_given_on_the_command_line_wins_over_an_experiment():
    config = composed("experiment=quickstart", "env=point_maze/4d", "agent.gamma=0.5", "num_envs=3", "selector=mega")
    assert (config.env.dim, config.agent.gamma, config.num_envs, config.selector.name) == (4, 0.5, 3, "mega")
    assert config.env.max_episode_steps == 60


def test_the_paper_has_its_published_numbers():
    config = composed("experiment=paper")
    agent, selector = config.agent, config.selector
    assert (agent.gamma, agent.tau, agent.learning_rate) == (0.99, 0.005, 3e-4)
    assert (agent.hidden_sizes, agent.num_critics, agent.policy_delay) == ([256, 256], 6, 2)
    assert (agent.target_noise, agent.target_noise_clip, agent.exploration_noise) == (0.2, 0.5, 0.4)
    assert (config.num_timesteps, config.num_envs, config.batch_size) == (5e7, 64, 64)
    assert (config.buffer_size, config.gradient_steps, config.hindsight.future) == (1_600_000, 1_600, 0.7)
    assert config.env.max_episode_steps == 100
    assert selector.name == "discover"
    assert (selector.achievability, selector.novelty, selector.relevance, selector.target_novelty) == (1, 1, 1, 1)
    assert (selector.novelty_in_bracket, selector.standardise, selector.target_share) == (True, False, 0.0)
    assert (selector.controller, selector.alpha_start, selector.alpha_step, selector.target_rate) == (
        "proportional",
        0.0,
        0.01,
        0.5,
    )
    # nothing of ours is left on
    assert not (agent.goal_is_terminal or agent.hindsight_bound or agent.actor_noise)
    assert (config.exploration_spread, config.greedy_share) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "layout", "num_timesteps"),
    [
        ("2d", "rand_2d_10h.npz", 2.5e5),
        ("3d", "rand_3d_7h.npz", 4e5),
        ("4d", "rand_4d_5h.npz", 8e5),
        ("5d", "rand_5d_4h.npz", 6e5),
        ("6d", "generated", 1e6),
        ("8d", "generated", 1.4e6),
        ("10d", "generated", 2e6),
        ("cross", "cross", 6e5),
        ("misleading", "misleading", 6e5),
    ],
)
def test_the_mazes_of_the_tables(name, layout, num_timesteps, monkeypatch):
    monkeypatch.delenv("DISCOVER_LAYOUTS", raising=False)
    config = composed(f"experiment=maze_{name}", "selector=mega")
    assert config.env.layout == (f"layouts/{layout}" if layout.endswith(".npz") else layout)
    assert (config.seeds, config.eval_interval, config.eval_episodes) == (10, 10, 50)
    assert (config.num_timesteps, config.selector.name) == (num_timesteps, "mega")
    if layout == "generated":
        assert (f"{config.env.dim}d", config.env.layout_seed) == (name, 0)
    monkeypatch.setenv("DISCOVER_LAYOUTS", "/elsewhere")
    if layout.endswith(".npz"):
        assert layout in PUBLISHED  # or nobody is told of the variable
        assert composed(f"experiment=maze_{name}").env.layout == f"/elsewhere/{layout}"


def test_the_released_code_differs_from_the_paper_in_its_rule_only():
    paper, released = composed("experiment=paper"), composed("experiment=paper_released")
    assert released.agent == paper.agent
    assert released.env == paper.env
    assert released.num_timesteps == paper.num_timesteps
    rule = released.selector
    assert (rule.novelty_in_bracket, rule.target_novelty, rule.standardise) == (False, 0.0, False)
    assert (rule.controller, rule.alpha_step, rule.band) == ("band", 0.005, 0.2)


@pytest.mark.parametrize(
    ("name", "tau"),
    [("umaze", 0.2), ("medium", 0.2), ("large", 0.2), ("long_horizon", 0.2), ("square_sparse", 0.01), ("small", 0.1)],
)
def test_targets_follow_faster_where_the_ant_has_far_to_go_or_few_updates(name, tau):
    assert composed(f"experiment=ant_{name}").agent.tau == tau


def test_in_ten_dimensions_novelty_may_fall_further():
    assert composed("experiment=maze_10d").selector == composed("selector.beta_min=0.01").selector
