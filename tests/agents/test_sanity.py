import pytest
import torch

from discover_rl.agents import AGENT_CONFIGS, RandomAgent, RandomConfig, ZeroAgent, ZeroConfig
from discover_rl.replay import Batch

RUNS, BATCH, OBS, ACT, GOAL = 2, 500, 3, 4, 2
OBSERVATION, DESIRED = torch.randn(RUNS, BATCH, OBS), torch.randn(RUNS, BATCH, GOAL)
SCALE = torch.ones(RUNS, BATCH)


def agent(kind, seed=0):
    return kind(RUNS, ACT, torch.Generator().manual_seed(seed))


def test_zero_stands_still_and_has_no_opinion():
    zero = agent(ZeroAgent)
    assert zero.act(OBSERVATION, DESIRED).shape == (RUNS, BATCH, ACT)
    assert not zero.act(OBSERVATION, DESIRED).any()
    assert not zero.explore(OBSERVATION, DESIRED, SCALE).any()
    assert not torch.stack(zero.values(OBSERVATION, DESIRED)).any()


def test_random_is_uniform_in_the_action_range_and_follows_its_seed():
    random = agent(RandomAgent)
    actions = torch.cat([random.act(OBSERVATION, DESIRED), random.explore(OBSERVATION, DESIRED, SCALE)])
    assert actions.abs().max() <= 1
    # 8000 uniform numbers in ±1: mean 0, deviation 1/sqrt(3) = 0.577
    assert actions.mean().item() == pytest.approx(0, abs=0.04)
    assert actions.std().item() == pytest.approx(0.577, abs=0.02)
    again = agent(RandomAgent)
    assert torch.equal(actions[:RUNS], again.act(OBSERVATION, DESIRED))
    assert not torch.equal(actions[:RUNS], again.act(OBSERVATION, DESIRED))


@pytest.mark.parametrize("kind", [ZeroAgent, RandomAgent])
def test_they_learn_nothing_and_keep_nothing(kind):
    made, untaught = agent(kind), agent(kind)
    number, vector = torch.ones(RUNS, 3, 5), torch.ones(RUNS, 3, 5, 2)
    made.update(Batch(vector, vector, vector, vector, number, number, number, number))
    made.load({})
    made.hold_policy()
    assert made.parameters() == made.state() == made.metrics() == {}
    assert torch.equal(made.act(OBSERVATION, DESIRED), untaught.act(OBSERVATION, DESIRED))


def test_configs_are_known_by_their_names():
    assert AGENT_CONFIGS["zero"] is ZeroConfig
    assert AGENT_CONFIGS["random"] is RandomConfig
    assert all(config().name == name for name, config in AGENT_CONFIGS.items())
