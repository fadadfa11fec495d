import math

import pytest
import torch

from discover_rl.config import HindsightConfig
from discover_rl.goals import BoxGoals
from discover_rl.replay import Batch, ReplayBuffer, RowLayout, relabel, sample_batch, steps_to_end

CPU = torch.device("cpu")
RUNS, ROUNDS, TIME, ENVS = 2, 3, 6, 3
# last transitions of the episodes of each environment: one whole episode; an early end; ends right away and later
ENDS = ({5}, {2, 5}, {0, 3, 5})
COMMANDED, TARGET = -1.0, -2.0
GOALS = BoxGoals(range(4), 0.5)  # codes are whole numbers: success is equality
LAYOUT = RowLayout(observation_dim=4, action_dim=1, goal_dim=4)
ALL_FUTURE = HindsightConfig(future=1.0, random=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def done_mask():
    return torch.tensor([[t in ENDS[env] for env in range(ENVS)] for t in range(TIME)]).expand(RUNS, TIME, ENVS)


def coded_buffer(rounds=ROUNDS, failures=()):
    """Rows that say who they are.

    observation (run, round, t, env), next observation (run, round, t + 1, env), commanded goal (-1, round, t, env);
    terminated where (t, env) is in ``failures``.
    """
    made = ReplayBuffer(RUNS, ENVS, TIME, ROUNDS * TIME * ENVS, LAYOUT, CPU)
    for number in range(rounds):
        axes = (torch.arange(RUNS), torch.tensor([number]), torch.arange(TIME), torch.arange(ENVS))
        state = torch.cartesian_prod(*axes).float().view(RUNS, TIME, ENVS, 4)
        following, commanded = state.clone(), state.clone()
        following[..., 2] += 1
        commanded[..., 0] = COMMANDED
        terminated = torch.tensor([[float((t, e) in failures) for e in range(ENVS)] for t in range(TIME)])
        fields = [
            state,
            state[..., :1],
            following,
            commanded,
            terminated.expand(RUNS, TIME, ENVS)[..., None],
            steps_to_end(done_mask())[..., None],
        ]
        made.add(torch.cat(fields, dim=-1))
    return made


def coded_targets():
    """Targets (-2, run, 0, env)."""
    run, env = torch.meshgrid(torch.arange(RUNS), torch.arange(ENVS), indexing="ij")
    return torch.stack([torch.full_like(run, int(TARGET)), run, torch.zeros_like(run), env], -1).float()


def sample(made, config, batch_size=4000, goal_is_terminal=True, seed=0, n_steps=1):
    return sample_batch(made, batch_size, GOALS, coded_targets(), config, goal_is_terminal, generator(seed), n_steps)


def last_of_episode(t, env):
    """The last transition of the episode that transition t belongs to."""
    return min(end for end in ENDS[env] if end >= t)


def codes(tensor):
    return [tuple(int(x) for x in row) for run in tensor.tolist() for row in run]


# -- steps to the end ------------------------------------------------------------------------------------


def test_steps_to_end_by_hand():
    done = torch.tensor(
        # env: 0 no end marked, 1 marked at the end, 2 early, 3 right away, 4 every step
        [
            [False, False, False, True, True],
            [False, False, True, False, True],
            [False, False, False, False, True],
            [False, True, False, False, True],
        ]
    )
    expected = [[3, 3, 1, 0, 0], [2, 2, 0, 2, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert steps_to_end(done).tolist() == expected
    assert steps_to_end(done.expand(2, 4, 5)).tolist() == [expected] * 2
    assert steps_to_end(done[:1]).tolist() == [[0] * 5]


# -- which goal ------------------------------------------------------------------------------------------


def test_relabel_compares_one_number_with_the_running_sum_of_shares():
    commanded, future, target, random = (torch.full((1, 6, 1), float(i)) for i in range(4))
    uniform = torch.tensor([[0.0, 0.49, 0.5, 0.69, 0.71, 0.81]])
    config = HindsightConfig(future=0.5, target=0.2, random=0.1)
    assert relabel(commanded, future, target, random, uniform, config).flatten().tolist() == [1, 1, 2, 2, 3, 0]


@pytest.mark.parametrize("rounds", [1, ROUNDS, ROUNDS + 2])
def test_future_goals_come_later_in_the_same_episode_and_their_steps_are_counted(rounds):
    batch = sample(coded_buffer(rounds), ALL_FUTURE)
    seen = set()
    steps = batch.steps_to_goal.flatten().tolist()
    for state, goal, k in zip(codes(batch.observation), codes(batch.goal), steps, strict=True):
        run, number, t, env = state
        goal_run, goal_number, achieved_at, goal_env = goal
        assert (goal_run, goal_number, goal_env) == (run, number, env)
        assert t + 1 <= achieved_at <= last_of_episode(t, env) + 1
        assert k == achieved_at - (t + 1)
        seen.add((state, achieved_at))
    # and every such pair occurs: every transition of the ring up to its last, with every future goal
    kept = range(max(0, rounds - ROUNDS), rounds)
    assert seen == {
        ((run, number, t, env), achieved_at)
        for run in range(RUNS)
        for number in kept
        for t in range(TIME)
        for env in range(ENVS)
        for achieved_at in range(t + 1, last_of_episode(t, env) + 2)
    }


def test_the_runs_of_a_batch_stay_in_their_places():
    batch = sample(coded_buffer(), HindsightConfig(0.4, 0.2, 0.2))
    for run in range(RUNS):
        assert (batch.observation[run, :, 0] == run).all()
        assert (batch.next_observation[run, :, 0] == run).all()
        assert (batch.action[run] == run).all()
        achieved = batch.goal[run, batch.goal[run, :, 0] >= 0]
        assert (achieved[:, 0] == run).all()


def test_the_row_is_handed_through_unchanged():
    batch = sample(coded_buffer(), ALL_FUTURE)
    following = batch.observation.clone()
    following[..., 2] += 1
    assert torch.equal(batch.next_observation, following)
    assert batch.steps.eq(1).all()


def test_every_transition_draws_its_own_offset_uniformly_over_the_rest_of_its_episode():
    batch = sample(coded_buffer(), ALL_FUTURE, batch_size=20_000)
    times, envs = batch.observation[..., 2], batch.observation[..., 3]
    for t in range(TIME):
        offsets = batch.steps_to_goal[(times == t) & (envs == 0)].long()
        choices = TIME - t
        observed = torch.bincount(offsets, minlength=choices)
        assert observed.shape == (choices,)
        expected = len(offsets) / choices
        # chi-square with choices - 1 degrees of freedom; 30 is exceeded by chance once in 50,000 times for 5
        assert ((observed - expected).square() / expected).sum() < 30


def test_shares_are_as_configured():
    batch = sample(coded_buffer(), HindsightConfig(future=0.45, target=0.2, random=0.15), batch_size=20_000)
    first, known = batch.goal[..., 0], batch.steps_to_goal.isfinite()
    shares = [known, first == TARGET, (first >= 0) & ~known, first == COMMANDED]
    assert torch.stack(shares).sum(0).eq(1).all()
    # the deviation of a share over 40,000 draws is at most 0.0025
    assert [s.float().mean().item() for s in shares] == pytest.approx([0.45, 0.2, 0.15, 0.2], abs=0.0125)
    # each kind falls on all transitions alike
    for share in shares:
        assert batch.observation[..., 2][share].mean().item() == pytest.approx((TIME - 1) / 2, abs=0.15)


def test_the_commanded_goal_is_the_one_that_was_stored():
    batch = sample(coded_buffer(), HindsightConfig(future=0.0, random=0.0))
    expected = batch.observation.clone()
    expected[..., 0] = COMMANDED
    assert torch.equal(batch.goal, expected)
    assert batch.steps_to_goal.isinf().all()


def test_the_target_is_that_of_the_same_run_and_environment():
    batch = sample(coded_buffer(), HindsightConfig(future=0.0, target=1.0, random=0.0))
    run, _, _, env = batch.observation.unbind(-1)
    assert torch.equal(batch.goal, torch.stack([torch.full_like(run, TARGET), run, torch.zeros_like(run), env], -1))
    assert batch.steps_to_goal.isinf().all()


def test_random_goals_were_achieved_in_the_same_run_and_have_nothing_to_do_with_the_transition():
    batch = sample(coded_buffer(), HindsightConfig(future=0.0, random=1.0), batch_size=20_000)
    assert torch.equal(batch.goal[..., 0], batch.observation[..., 0])
    same_round = (batch.goal[..., 1] == batch.observation[..., 1]).float().mean()
    same_env = (batch.goal[..., 3] == batch.observation[..., 3]).float().mean()
    assert [same_round.item(), same_env.item()] == pytest.approx([1 / ROUNDS, 1 / ENVS], abs=0.02)
    assert torch.bincount(batch.goal[..., 2].flatten().long()).tolist()[1:] == pytest.approx([40_000 / 6] * 6, rel=0.1)
    assert batch.steps_to_goal.isinf().all()


# -- reward and termination ------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [ALL_FUTURE, HindsightConfig(0.4, 0.2, 0.2)])
def test_coded_rewards_are_given_exactly_where_the_goal_is_what_was_achieved(config):
    batch = sample(coded_buffer(), config)
    achieved, goals = codes(batch.next_observation), codes(batch.goal)
    assert batch.reward.flatten().tolist() == [float(a == g) for a, g in zip(achieved, goals, strict=True)]
    future = batch.steps_to_goal.isfinite()
    assert torch.equal(batch.reward[future], (batch.steps_to_goal[future] == 0).float())


@pytest.mark.parametrize("config", [HindsightConfig(0.0), ALL_FUTURE, HindsightConfig(0.3, 0.3, 0.2)])
@pytest.mark.parametrize("goal_is_terminal", [True, False])
def test_reward_and_terminated_are_recomputed_for_every_transition(config, goal_is_terminal):
    # a plane of positions so small that any two are within the radius often
    layout, space = RowLayout(3, 1, 2), BoxGoals([0, 2], 0.4)
    made = ReplayBuffer(1, 4, 5, 40, layout, CPU)
    for seed in range(2):
        rows = torch.rand(1, 5, 4, layout.width, generator=generator(seed))
        rows[..., -2] = (rows[..., -2] < 0.2).float()
        rows[..., -1] = steps_to_end(torch.zeros(1, 5, 4, dtype=torch.bool)).float()
        made.add(rows)
    targets = torch.rand(1, 4, 2, generator=generator(9))
    batch = sample_batch(made, 500, space, targets, config, goal_is_terminal, generator(1))
    stored = {tuple(row[4:7]): row[9] for row in made.filled()[0].tolist()}  # next observation -> terminated
    rewards = []
    for following, goal, reward, terminated in zip(
        batch.next_observation[0].tolist(),
        batch.goal[0].tolist(),
        batch.reward[0].tolist(),
        batch.terminated[0].tolist(),
        strict=True,
    ):
        assert reward == float(math.dist((following[0], following[2]), goal) <= 0.4)
        ended = stored[tuple(following)]
        assert terminated == (max(ended, reward) if goal_is_terminal else ended)
        rewards.append(reward)
    assert 0.1 < sum(rewards) / 500 < 0.9
    assert 0 < batch.terminated.sum() < 500


def test_stored_terminations_are_kept_and_the_time_limit_is_none():
    failures = {(2, 1), (0, 2)}
    batch = sample(coded_buffer(failures=failures), HindsightConfig(future=0.5), goal_is_terminal=False)
    for (_, _, t, env), ended in zip(codes(batch.observation), batch.terminated.flatten().tolist(), strict=True):
        assert ended == float((t, env) in failures)  # not at t = 5, where the block ends
    assert batch.reward.any()


# -- n-step transitions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 2, 4, 10])
def test_transitions_of_n_steps_end_at_their_goal_at_a_failure_and_with_their_episode(n_steps):
    failures = {(2, 1), (0, 2)}
    config = HindsightConfig(future=0.5, target=0.1, random=0.2)
    made = coded_buffer(failures=failures)
    batch, one = sample(made, config, n_steps=n_steps), sample(made, config)
    for name in ("observation", "action", "goal", "steps_to_goal"):  # what is learnt, and of what, is drawn as before
        assert torch.equal(getattr(batch, name), getattr(one, name))
    spans = set()
    for state, following, goal, reward, terminated, steps in zip(
        codes(batch.observation),
        codes(batch.next_observation),
        codes(batch.goal),
        batch.reward.flatten().tolist(),
        batch.terminated.flatten().tolist(),
        batch.steps.flatten().tolist(),
        strict=True,
    ):
        run, number, t, env = state
        assert following == (run, number, t + steps, env)
        ours = goal[:2] == (run, number) and goal[3] == env and goal[2] > t
        to_goal = goal[2] - t if ours else math.inf
        assert reward == float(steps == to_goal)
        assert terminated == max(reward, float((t + steps - 1, env) in failures))
        to_end = last_of_episode(t, env) + 1 - t
        if goal[0] == COMMANDED:
            assert steps == min(n_steps, to_end)
        elif goal[0] == TARGET or not ours:
            assert steps == 1
        else:  # as a future goal, or by chance as a random one
            assert steps in {1, min(n_steps, to_goal)}
        spans.add(steps)
    assert spans == set(range(1, min(n_steps, TIME) + 1))


def test_future_goals_are_reached_within_n_steps_or_lie_further():
    batch = sample(coded_buffer(), ALL_FUTURE, n_steps=4)
    reached = batch.steps_to_goal < 4
    assert torch.equal(batch.reward, reached.float()) and torch.equal(batch.terminated, reached.float())
    assert torch.equal(batch.steps, (batch.steps_to_goal + 1).clamp_max(4))


# -- determinism and independence ------------------------------------------------------------------------


def test_the_seed_decides_the_batch():
    made, config = coded_buffer(), HindsightConfig(0.4, 0.2, 0.2)
    first, again, other = (sample(made, config, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.observation, other.observation)


def test_a_batch_can_be_laid_out_as_several():
    drawn = sample(coded_buffer(), HindsightConfig(0.4, 0.2, 0.2), batch_size=12)
    several = drawn.unflatten(3)
    assert isinstance(several, Batch)
    assert several.reward.shape == (RUNS, 3, 4)
    assert several.goal.shape == (RUNS, 3, 4, 4)
    for field, whole in zip(several, drawn, strict=True):
        for k in range(3):  # transitions keep their order, and the fields of one stay together
            assert torch.equal(field[:, k], whole[:, 4 * k : 4 * (k + 1)])
    assert all(map(torch.equal, (field.flatten(1, 2) for field in several), drawn))
    assert drawn.unflatten(1).action.shape == (RUNS, 1, 12, 1)
    with pytest.raises(RuntimeError):
        drawn.unflatten(5)


def test_sampling_leaves_the_buffer_as_it_was():
    made = coded_buffer()
    before = made.filled().clone()
    batch = sample(made, HindsightConfig(0.4, 0.2, 0.2))
    for tensor in batch:
        tensor.zero_()
    assert torch.equal(made.filled(), before)


def test_what_one_run_stores_changes_nothing_in_the_batch_of_another():
    made, other = coded_buffer(), coded_buffer()
    layout_part = other.rows[1, :, : LAYOUT.width - 1]
    layout_part.copy_(torch.rand(layout_part.shape, generator=generator(5)))
    config = HindsightConfig(0.4, 0.2, 0.2)
    for a, b in zip(sample(made, config), sample(other, config), strict=True):
        assert torch.equal(a[0], b[0])
    assert not torch.equal(sample(made, config).goal[1], sample(other, config).goal[1])


@pytest.mark.parametrize("shares", [(1.1, 0.0, 0.0), (-0.1, 0.0, 0.0), (0.5, 0.4, 0.2), (0.0, 0.0, 1.5)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="must be shares in"):
        HindsightConfig(*shares)


def test_shares_that_use_up_everything_are_allowed():
    assert HindsightConfig(0.7, 0.2, 0.1).future == 0.7  # their sum in floats is 0.9999999999999999


@pytest.mark.parametrize(("skip", "share"), [(False, 1 / 6), (True, 1 / 36)])
def test_goals_that_the_state_has_reached_are_drawn_once_more(skip, share):
    config = HindsightConfig(future=1.0, random=0.0, skip_reached=skip)
    near = BoxGoals(range(4), 1.5)  # state t has reached the goal of step t + 1, but none of a later one
    batch = sample_batch(coded_buffer(), 40_000, near, coded_targets(), config, True, generator())
    time, goal = batch.observation[..., 2], batch.goal[..., 2]
    assert torch.equal(batch.steps_to_goal, goal - time - 1)
    whole = (batch.observation[..., 3] == 0) & (time == 0)  # six goals lie before it, the first is reached
    reached = near.success(near.achieved(batch.observation), batch.goal)[whole]
    # some 4,400 draws: a deviation of at most 0.006
    assert reached.float().mean().item() == pytest.approx(share, abs=0.02)


def test_moments_past_a_failure_leave_the_commanded_goal():
    # env 1 fails at t = 2, env 2 ends at t = 3 without failing
    config = HindsightConfig(future=1.0, random=0.0, past_failure=True)
    batch = sample(coded_buffer(failures={(2, 1)}), config, 40_000)
    time, env, kept = batch.observation[..., 2], batch.observation[..., 3], batch.goal[..., 0] == COMMANDED
    assert not kept[env != 1].any() and not kept[(env == 1) & (time > 2)].any()
    for t, share in ((0, 3 / 6), (1, 3 / 5), (2, 3 / 4)):  # three of the moments left lie past the failure
        here = (env == 1) & (time == t)
        # some 4,400 draws: a deviation of at most 0.008
        assert kept[here].float().mean().item() == pytest.approx(share, abs=0.03)
    assert torch.equal(kept, batch.steps_to_goal.isinf())
    assert not batch.reward[kept].any()
    survived = ~kept
    assert torch.equal(batch.steps_to_goal[survived], (batch.goal[..., 2] - time - 1)[survived])
    assert (batch.goal[..., 2] <= 3)[survived & (env == 1) & (time <= 2)].all()


def test_where_nothing_fails_past_failure_changes_nothing():
    made = coded_buffer()
    for a, b in zip(sample(made, HindsightConfig()), sample(made, HindsightConfig(past_failure=True)), strict=True):
        assert torch.equal(a, b)
