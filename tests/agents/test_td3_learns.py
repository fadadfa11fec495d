"""A line that must be solved: x in [-1, 1], one step moves by 0.2 at most, the goal is a place on the line."""

import pytest
import torch

from discover_rl.agents import TD3, TD3Config
from discover_rl.agents.td3 import Generators
from discover_rl.config import HindsightConfig
from discover_rl.goals import BoxGoals, PlainView
from discover_rl.replay import ReplayBuffer, RowLayout, sample_batch, steps_to_end

RUNS, TIME, ENVS, STRIDE = 2, 20, 16, 0.2
GOALS, CPU = BoxGoals([0], 0.1), torch.device("cpu")


def random_walks(rounds=20):
    """A buffer of random walks from random places; the commanded goal is out of reach."""
    generator = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(RUNS, ENVS, TIME, rounds * TIME * ENVS, RowLayout(1, 1, 1), CPU)
    to_end = steps_to_end(torch.zeros(RUNS, TIME, ENVS, dtype=torch.bool)).float()[..., None]
    for _ in range(rounds):
        x = torch.rand(RUNS, ENVS, 1, generator=generator) * 2 - 1
        steps = []
        for _ in range(TIME):
            action = torch.rand(RUNS, ENVS, 1, generator=generator) * 2 - 1
            following = (x + STRIDE * action).clamp(-1, 1)
            steps.append(torch.cat([x, action, following, torch.full_like(x, 5.0), torch.zeros_like(x)], dim=-1))
            x = following
        buffer.add(torch.cat([torch.stack(steps, dim=1), to_end], dim=-1))
    return buffer


@pytest.mark.parametrize("settings", [{}, {"hindsight_bound": False}, {"goal_is_terminal": False}], ids=str)
def test_td3_learns_the_way_along_a_line_from_random_walks(settings):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    buffer, generator = random_walks(), torch.Generator().manual_seed(1)
    config = TD3Config(
        hidden_sizes=[64, 64], num_critics=3, actor_critics=2, learning_rate=3e-3, gamma=0.9, tau=0.02, **settings
    )
    seeds = Generators(*(torch.Generator().manual_seed(seed) for seed in range(3)))
    agent = TD3(config, RUNS, 1, False, seeds, PlainView(1, 1))
    targets, mix = torch.full((RUNS, ENVS, 1), 5.0), HindsightConfig(future=0.8, random=0.2)
    for _ in range(30 if agent.goal_is_terminal else 50):
        drawn = sample_batch(buffer, 10 * 64, GOALS, targets, mix, agent.goal_is_terminal, generator)
        agent.update(drawn.unflatten(10))
    torch.set_num_threads(threads)

    places = torch.tensor([-0.9, -0.5, -0.1, 0.3, 0.7]).view(1, 5, 1).expand(RUNS, 5, 1)
    for goal, sign in ((0.9, 1), (-0.9, -1)):
        x, desired = sign * places, torch.full_like(places, goal)  # ever nearer to the goal
        value = agent.values(x, desired).mean
        assert (value.diff(dim=1) > 0.5).all(), value  # a place nearer by 0.4 is two steps fewer
        if agent.goal_is_terminal:  # the other mode's values are right in their order long before their scale
            # the last place is one stride from success, and the first 9, of which 8 follow after its own
            assert value[:, -1].tolist() == pytest.approx([0] * RUNS, abs=0.5)
            assert value[:, 0].tolist() == pytest.approx([-8] * RUNS, abs=3)
        assert (sign * agent.act(x, desired) > 0.5).all()

    x, goal = torch.full((RUNS, 1, 1), -0.95), torch.full((RUNS, 1, 1), 0.6)
    for _ in range(12):  # 1.45 units in strides of at most 0.2 are 8 steps to within 0.1
        x = (x + STRIDE * agent.act(x, goal)).clamp(-1, 1)
    assert GOALS.success(x, goal).all(), x
