"""The agent for discrete actions: gradients against autograd, targets by hand, runs that never mix, and learning."""

import pytest
import torch
from torch.nn.functional import softplus

from discover_envs.bit_flip import BitFlipConfig
from discover_envs.grid_world import GridWorldConfig
from discover_rl.agents import DQN, TD3, Agent, DQNConfig, Generators, TD3Config
from discover_rl.evaluate import evaluate
from discover_rl.goals import PlainView
from discover_rl.replay import Batch
from discover_rl.selectors import HER, Discover
from discover_rl.train import Trainer

OBS, ACTIONS, GOAL = 3, 4, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(num_runs=2, terminate=False, **changes):
    config = DQNConfig(**{"hidden_sizes": [16, 16], "num_critics": 3, **changes})
    generators = Generators(generator(1), generator(2), generator(3))
    return DQN(config, num_runs, ACTIONS, terminate, generators, PlainView(OBS, GOAL))


@pytest.fixture
def batch():
    lead, source = (2, 8), generator(4)

    def normal(*shape):
        return torch.randn(*lead, *shape, generator=source)

    return Batch(
        normal(OBS),
        normal(ACTIONS).clamp(-1, 1),
        normal(OBS),
        normal(GOAL),
        (normal() > 0).float(),
        (normal() > 0.5).float(),
        torch.ones(lead),
        torch.where(normal() > 0, 5 * normal().abs(), torch.inf),
    )


def test_it_is_an_agent():
    assert isinstance(make(), Agent)
    assert make().batch_multiple == 1
    assert make(terminate=True, goal_is_terminal=False).goal_is_terminal


def test_the_target_is_that_of_double_dqn(batch):
    agent = make(hindsight_bound=False)
    agent.target_critics.mul_(1.5)
    members = torch.tensor([[0, 2], [1, 2]])
    target = agent._bellman_target(batch, members)
    inputs = torch.cat([batch.next_observation, batch.goal], -1)
    for run in range(2):
        for i in range(8):
            x = inputs[run, i][None]
            online = torch.stack([softplus(agent.net.plain(agent.critics[run, m], x))[0] for m in range(3)])
            action = int(online.mean(0).argmax())
            least = min(
                float(softplus(agent.net.plain(agent.target_critics[run, m], x))[0, action])
                for m in members[run].tolist()
            )
            expected = float(batch.reward[run, i]) + 0.98 * (1 - float(batch.terminated[run, i])) * least
            assert float(target[run, i]) == pytest.approx(min(expected, 1.0), abs=1e-5)
    three = agent._bellman_target(batch._replace(steps=torch.full((2, 8), 3.0)), members)
    unclipped = target < 1
    torch.testing.assert_close(three[unclipped], 0.98**2 * target[unclipped])
    bounded = make()._bellman_target(batch, members)
    assert (bounded >= (0.98**batch.steps_to_goal).clamp_max(1) - 1e-6).all()


def test_gradients_by_hand_are_those_of_autograd(batch):
    agent = make()
    members = torch.tensor([[0, 1], [1, 2]])
    before = agent.critics.clone()
    agent.adam.step = lambda *_: None  # type: ignore[method-assign]
    target = agent._bellman_target(batch, members)
    agent._learn(batch, members)
    assert agent.critics.equal(before)
    flat = before.requires_grad_()
    q = softplus(agent.net.plain(flat, torch.cat([batch.observation, batch.goal], -1)[:, None]))
    taken = batch.action.argmax(-1)[:, None, :, None].expand(2, 3, 8, 1)
    loss = (q.gather(-1, taken)[..., 0] - target[:, None]).square().mean(-1).sum()
    (expected,) = torch.autograd.grad(loss, flat)
    torch.testing.assert_close(agent.critics.grad, expected, atol=1e-6, rtol=1e-4)
    assert float(loss.detach()) == pytest.approx(float(agent.metrics()["train/critic_loss"].sum()) * 3, rel=1e-4)


def test_values_are_those_of_the_greedy_action_of_the_mean():
    agent = make()
    observation, goal = torch.randn(2, 5, OBS, generator=generator()), torch.randn(2, 5, GOAL, generator=generator())
    q = softplus(agent.net(agent.critics, torch.cat([observation, goal], -1)[:, None]))
    action = agent.act(observation, goal)
    assert action.argmax(-1).equal(q.mean(1).argmax(-1))
    assert action.unique().tolist() == [-1, 1]
    taken = q.gather(-1, action.argmax(-1)[:, None, :, None].expand(2, 3, 5, 1))[..., 0]
    steps = -((taken + 0.01).log() / torch.tensor(0.98).log())
    estimate = agent.values(observation, goal)
    torch.testing.assert_close(estimate.mean, steps.mean(1))
    torch.testing.assert_close(estimate.std, steps.std(1, correction=0))


def test_exploring_follows_the_critics_that_were_held_last(batch):
    agent, silent = make(exploration=0.0), torch.ones(2, 8)
    held = agent.act(batch.observation, batch.goal)
    before = agent.critics.clone()
    agent.critics.mul_(-2)
    learned = agent.act(batch.observation, batch.goal)
    assert not learned.equal(held)
    assert agent.explore(batch.observation, batch.goal, silent).equal(held)
    agent.hold_policy()
    assert agent.explore(batch.observation, batch.goal, silent).equal(learned)
    agent.load({"critics": before})
    assert agent.explore(batch.observation, batch.goal, silent).equal(held)


def test_exploration_is_as_often_random_as_asked():
    agent = make(exploration=0.4)
    observation, goal = torch.zeros(2, 4000, OBS), torch.zeros(2, 4000, GOAL)
    greedy = agent.act(observation, goal).argmax(-1)
    for scale, share in ((0.0, 0.0), (1.0, 0.4), (2.0, 0.8)):
        action = agent.explore(observation, goal, torch.full((2, 4000), scale))
        other = (action.argmax(-1) != greedy).float().mean()
        assert float(other) == pytest.approx(share * (1 - 1 / ACTIONS), abs=0.03)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_sizes": []}, "hidden_sizes needs positive widths"),
        ({"target_critics": 9}, "agent.target_critics=9 is more than agent.num_critics=3"),
        ({"gamma": 1.0}, "gamma must lie strictly between 0 and 1"),
        ({"tau": 0.0}, "tau must lie in (0, 1]"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"exploration": 1.5}, "exploration must lie in [0, 1]"),
        ({"num_critics": 0}, "num_critics must be at least 1"),
    ],
)
def test_bad_hyperparameters_are_said(changes, sentence):
    with pytest.raises(ValueError) as info:
        make(**changes)
    assert sentence in str(info.value)


# -- in the loop ---------------------------------------------------------------------------------------------


def config_of(tiny, env, **changes):
    agent = DQNConfig(hidden_sizes=[32, 32], num_critics=3, learning_rate=3e-3, gamma=0.9)
    return tiny(4, env=env, agent=agent, **changes)


def test_runs_never_mix_and_resuming_is_exact(tiny, held, differing, tmp_path):
    config = config_of(tiny, BitFlipConfig(num_bits=4, max_episode_steps=4))
    plain, touched = Trainer(config), Trainer(config)
    for trainer in (plain, touched):
        trainer.train_round()
        trainer.train_round()
    plain.save(tmp_path)
    touched.agent.parameters()["critics"][1] *= 3
    for trainer in (plain, touched):
        trainer.train_round()
    one, other = held(plain), held(touched)
    assert differing(one, other, 0) == []
    assert {"critics", "target_critics", "adam/critics/exp_avg"} <= set(differing(one, other, 1))
    resumed = Trainer(config)
    resumed.restore(tmp_path / "checkpoint.safetensors")
    resumed.train_round()
    assert differing(one, held(resumed)) == []


def test_agents_are_held_against_the_actions(tiny):
    with pytest.raises(ValueError, match=r"agent=td3 is for continuous actions, these are discrete; use agent=dqn"):
        Trainer(tiny(env=BitFlipConfig(max_episode_steps=10)))
    with pytest.raises(ValueError, match=r"agent=dqn is for discrete actions, these are continuous; use agent=td3"):
        Trainer(tiny(agent=DQNConfig()))
    assert isinstance(Trainer(tiny()).agent, TD3)
    assert TD3Config().name == "td3"


@pytest.mark.parametrize("selector", [Discover(), HER()], ids=lambda selector: selector.name)
def test_it_learns_to_flip_bits(tiny, selector):
    config = config_of(
        tiny,
        BitFlipConfig(num_bits=6, max_episode_steps=6),
        selector=selector,
        num_envs=16,
        gradient_steps=40,
        batch_size=64,
        buffer_size=20_000,
        learning_starts=200,
        num_candidates=200,
        eval_episodes=50,
    )
    trainer = Trainer(config)
    before = evaluate(trainer.agent, trainer.eval_env, 2).success
    for _ in range(15):
        trainer.train_round()
    after = evaluate(trainer.agent, trainer.eval_env, 2).success
    assert before.max() < 0.5
    assert after.min() > 0.85


def test_it_learns_a_grid_world(tiny):
    config = config_of(
        tiny,
        GridWorldConfig(layout="open", max_episode_steps=25),
        num_envs=16,
        gradient_steps=40,
        batch_size=64,
        buffer_size=20_000,
        learning_starts=400,
        num_candidates=400,
        eval_episodes=20,
    )
    trainer = Trainer(config)
    assert evaluate(trainer.agent, trainer.eval_env, 2).success.max() < 0.5
    for _ in range(15):
        trainer.train_round()
    assert evaluate(trainer.agent, trainer.eval_env, 2).success.min() == 1
