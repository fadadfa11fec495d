"""The rollout of a round: whole or around a simulation, and what it counts as success."""

import pytest
import torch

from discover_rl.agents import ZeroConfig
from discover_rl.replay import RowLayout
from discover_rl.rollout import Rollout
from discover_rl.rounds import Round
from discover_rl.selectors import HER
from discover_rl.train import Trainer


@pytest.mark.parametrize("after_goal", ["random", "next", "explore"])
def test_a_rollout_around_a_simulation_is_the_rollout_step_by_step(tiny, walk, simulated, after_goal):
    """In episodes that end early and go on to other targets, with impatience and random actions at first."""
    changes = {"env": walk(fail=0.2, cut=0.2), "target": {"low": [0.5], "high": [0.9]}, "num_envs": 20}

    found = []
    for captures in (True, False):
        trainer = Trainer(tiny(**changes, after_goal=after_goal, patience=0.5, learning_starts=160))
        for _ in range(2):  # one of random actions, which fills the buffer, one of the policy's
            trainer.train_round()
        env, state, draws = simulated(trainer.env), trainer.round, trainer.generators["explore"]
        roll_out = Rollout(trainer.config, env, trainer.agent, state, trainer.buffer.size, draws, captures)
        trainer.agent.hold_policy()
        trainer.choose_goals()
        roll_out()
        assert (roll_out.simulated is not None) == captures
        found.append([state.block, state.done, state.targets, state.goals, state.reached, state.target_success])
    assert all(one.equal(other) for one, other in zip(*found, strict=True))
    assert found[0][1].any()


def test_success_in_a_round_counts_the_first_episode_only(tiny, walk, scripted):
    # goal 0.5 and target 1.0; each environment with what it should count for
    script = [
        [[0.0, 0.5, 1.0]],  # reaches the goal, then the target: both
        [[0.0, 0.0, "fail"], [0.0, 0.5, 1.0]],  # only its second episode does
        [[0.0, 0.5, "cut"], [0.0, 1.0, 0.0]],  # the goal in the first, the target in the second
        [[0.0, 0.2, 0.3]],
    ]
    config = tiny(env=walk(max_episode_steps=3), num_envs=4, seeds=1, agent=ZeroConfig(), selector=HER())
    trainer, env = Trainer(config), scripted(script, 3)
    state = Round(1, 4, 3, RowLayout(1, 1, 1), trainer.device)
    state.targets.fill_(1.0)
    state.goals.fill_(0.5)
    state.use_target[:, 0] = True
    state.counted.copy_(~state.use_target)
    state.observation.copy_(env.reset()[None])
    Rollout(config, env, trainer.agent, state, trainer.buffer.size, torch.Generator(), captures=False)()
    assert state.reached.tolist() == [[True, False, True, False]]
    assert state.selected_success.tolist() == pytest.approx([1 / 3])  # of the last three
    assert state.commanded_success.tolist() == [1.0]  # of the first
    assert state.target_success.tolist() == [0.25]
    assert state.done[0].T.tolist() == [
        [False, False, False],
        [True, False, False],
        [True, False, False],
        [False, False, False],
    ]
    assert state.block[0, :, :, -2].T.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert state.block[0, :, :, -1].T.tolist() == [[2, 1, 0], [0, 1, 0], [0, 1, 0], [2, 1, 0]]
    assert state.block[0, :, 2, 0].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert state.block[0, :, 2, 2].tolist() == pytest.approx([0.5, 1.0, 0.0])
