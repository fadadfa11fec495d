"""What the updates of TD3 read, and every random number that they use."""

from dataclasses import replace

import pytest
import torch

from discover_rl.agents import TD3Config
from discover_rl.agents.td3_update import Minibatches, prepare
from discover_rl.goals import PlainView, Seen
from discover_rl.replay import Batch

RUNS, COUNT, BATCH = 3, 4, 50
CONFIG = TD3Config(hidden_sizes=[8], num_critics=5, target_critics=2, actor_critics=3, gamma=0.9)


def batches_of(obs=3, goal=2, act=2, count=COUNT):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(RUNS, count, BATCH, *shape, generator=generator)

    coin = torch.rand(2, RUNS, count, BATCH, generator=generator) < 0.3
    steps = torch.where(coin[1], torch.arange(BATCH, dtype=torch.float32), torch.inf)
    return Batch(
        normal(obs),
        normal(act),
        normal(obs),
        normal(goal),
        coin[0].float(),
        coin[0].float(),
        torch.ones_like(steps),
        steps,
    )


def prepared(batches=None, settings=None, bounded=True, seed=1, view=None):
    config = replace(CONFIG, **(settings or {}))
    batches = batches or batches_of()
    view = view or PlainView(batches.observation.shape[-1], batches.goal.shape[-1])
    return prepare(batches, view, config, bounded, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("obs", "goal", "act", "columns"), [(2, 2, 2, 8), (2, 2, 4, 8), (3, 1, 1, 8), (29, 2, 8, 40)])
def test_inputs_are_observation_goal_action_and_zeros_up_to_a_multiple_of_four(obs, goal, act, columns):
    batches = batches_of(obs, goal, act)
    minibatches = prepared(batches)
    for inputs in (minibatches.inputs, minibatches.next_inputs):
        assert inputs.shape == (RUNS, COUNT, BATCH, columns)
        assert inputs[..., obs : obs + goal].equal(batches.goal)
        assert not inputs[..., obs + goal + act :].any()
    assert minibatches.inputs[..., :obs].equal(batches.observation)
    assert minibatches.inputs[..., obs + goal : obs + goal + act].equal(batches.action)
    assert minibatches.next_inputs[..., :obs].equal(batches.next_observation)
    assert not minibatches.next_inputs[..., obs + goal :].any()  # the target policy writes its action there


class TwoSided(PlainView):
    """Where the first number is negative all is seen with its sign turned round."""

    def see(self, observation, goal):
        side = (observation[..., 0] < 0).long()
        sign = 1 - 2 * side[..., None]
        return Seen((observation * sign, goal * sign), side)

    def seen_action(self, action, side):
        return action * (1 - 2 * side[..., None])


def test_states_and_actions_are_learnt_from_as_the_view_has_them():
    batches = batches_of(3, 2, 2)
    minibatches = prepared(batches, view=TwoSided(3, 2))
    sign, next_sign = (x[..., :1].sign() for x in (batches.observation, batches.next_observation))
    assert minibatches.inputs[..., :7].equal(
        sign * torch.cat([batches.observation, batches.goal, batches.action], dim=-1)
    )
    assert minibatches.next_inputs[..., :5].equal(
        next_sign * torch.cat([batches.next_observation, batches.goal], dim=-1)
    )
    assert (sign != next_sign).any()


def test_inputs_are_copies():
    batches = batches_of(2, 2, 4)
    before = [field.clone() for field in batches]
    minibatches = prepared(batches)
    minibatches.inputs.fill_(7.0)
    minibatches.next_inputs.fill_(7.0)
    assert all(map(torch.equal, batches, before))


def test_nothing_is_discounted_in_where_an_episode_is_terminated():
    batches = batches_of()
    minibatches = prepared(batches)
    ended = batches.terminated == 1
    assert ended.any()
    assert (minibatches.discount[ended] == 0).all()
    assert (minibatches.discount[~ended] == 0.9).all()
    assert minibatches.reward.equal(batches.reward)


def test_a_transition_of_n_steps_is_discounted_n_times_and_its_reward_n_minus_one_times():
    batches = batches_of()
    steps = torch.arange(1.0, BATCH + 1).expand_as(batches.reward)
    minibatches = prepared(batches._replace(steps=steps, reward=torch.ones_like(steps)))
    going_on = batches.terminated == 0
    torch.testing.assert_close(minibatches.discount[going_on], (0.9**steps)[going_on])
    assert not minibatches.discount[~going_on].any()
    torch.testing.assert_close(minibatches.reward, 0.9 ** (steps - 1))


def test_known_steps_to_the_goal_bound_the_target_from_below():
    batches = batches_of()
    lower = prepared(batches).lower
    known = batches.steps_to_goal.isfinite()
    torch.testing.assert_close(lower[known], 0.9 ** batches.steps_to_goal[known])
    assert lower[batches.steps_to_goal == 0].eq(1).all()
    assert not lower[~known].any()
    assert prepared(batches, bounded=False).lower.eq(-torch.inf).all()
    slack = prepared(batches, {"hindsight_slack": 1.5}).lower
    torch.testing.assert_close(slack[known], 0.9 ** (1.5 * batches.steps_to_goal[known]))
    both = prepared(batches, {"hindsight_slack": 1.5, "hindsight_confidence": 0.6}).lower
    torch.testing.assert_close(both, 0.6 * slack)
    assert not both[~known].any()


@pytest.mark.parametrize("name", ["target_noise", "actor_noise"])
def test_noise_has_its_deviation_and_is_clipped(name):
    batches = batches_of(count=40)
    drawn = getattr(prepared(batches, {"target_noise_clip": 10.0, name: 0.3}), name)
    assert drawn.shape == (RUNS, 40, BATCH, 2)
    assert drawn.std().item() == pytest.approx(0.3, rel=0.05)
    assert drawn.mean().item() == pytest.approx(0.0, abs=0.02)
    clipped = getattr(prepared(batches, {"target_noise_clip": 0.5, name: 5.0}), name)
    assert (clipped.min().item(), clipped.max().item()) == (-0.5, 0.5)
    assert 0.05 < (clipped.abs() < 0.5).float().mean() < 0.15  # P(|N(0, 5)| < 0.5) = 0.08
    assert not getattr(prepared(batches, {name: 0.0}), name).any()


def test_every_run_batch_and_purpose_has_its_own_noise():
    minibatches = prepared()
    drawn = torch.cat([minibatches.target_noise, minibatches.actor_noise], dim=1).flatten(0, 1).flatten(1)
    assert len({tuple(row) for row in drawn.tolist()}) == 2 * RUNS * COUNT
    # unclipped numbers appear once each, also within a batch
    inside = drawn[drawn.abs() < 0.5]
    assert len(inside.unique()) > 0.99 * len(inside)


@pytest.mark.parametrize(("name", "chosen"), [("target_members", 2), ("actor_members", 3)])
def test_critics_are_drawn_uniformly_without_repetition(name, chosen):
    members = getattr(prepared(batches_of(count=400)), name)
    assert members.shape == (RUNS, 400, chosen)
    assert members.sort(-1).values.diff(dim=-1).min() > 0
    share = members.flatten().bincount(minlength=5) / members.numel()
    assert len(share) == 5
    assert share.tolist() == pytest.approx([0.2] * 5, abs=0.03)


def test_every_run_batch_and_purpose_draws_its_own_critics():
    members = prepared(batches_of(count=100), {"actor_critics": 2})

    def same(one, other):
        return (one.sort(-1).values == other.sort(-1).values).all(-1).float().mean()

    # two of five: ten pairs, so two draws are the same one time in ten
    for drawn in (members.target_members, members.actor_members):
        assert same(drawn[:, :-1], drawn[:, 1:]) < 0.2
        assert same(drawn[:-1], drawn[1:]) < 0.2
    assert same(members.target_members, members.actor_members) < 0.2


def test_all_critics_can_be_drawn():
    minibatches = prepared(settings={"target_critics": 5, "actor_critics": 5})
    for drawn in (minibatches.target_members, minibatches.actor_members):
        assert drawn.sort(-1).values.equal(torch.arange(5).expand(RUNS, COUNT, 5))


def test_the_generator_decides_every_draw():
    first, again, other = (prepared(seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    changed = [name for name, a, b in zip(Minibatches._fields, first, other, strict=True) if not a.equal(b)]
    assert changed == ["target_noise", "target_members", "actor_noise", "actor_members"]
