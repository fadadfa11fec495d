import math

import pytest
import torch

from discover_rl.selectors import Choice
from discover_rl.selectors.score import command_target, pick, standardise


def test_standardise_by_hand_over_the_valid_ones_only():
    x = torch.tensor([1.0, 3.0, 100.0, 5.0])
    valid = torch.tensor([True, True, False, True])
    # valid: mean 3, squared deviations 4, 0, 4, so deviation sqrt(8/3)
    deviation = math.sqrt(8 / 3)
    z = standardise(x, valid)
    assert z[valid].tolist() == pytest.approx([-2 / deviation, 0, 2 / deviation])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e30])
def test_what_stands_at_invalid_places_is_harmless(bad):
    x, valid = torch.tensor([[1.0, bad, 3.0], [bad, bad, bad]]), torch.tensor([[True, False, True], [False] * 3])
    z = standardise(x, valid)
    assert z[0, [0, 2]].tolist() == pytest.approx([-1.0, 1.0])
    assert z.isfinite().all()


@pytest.mark.parametrize("count", [1, 50, 1000, 10_000])
@pytest.mark.parametrize("value", [0.0, -0.1, -15.7, -100.3, -458.3, 12_345.6])
def test_equal_values_become_zeros_however_large(value, count):
    x, valid = torch.full((count,), value), torch.ones(count, dtype=torch.bool)
    assert not standardise(x, valid).any()


def test_equal_values_become_zeros_beside_other_invalid_ones():
    z = standardise(torch.tensor([4.0, 4.0, 9.0]), torch.tensor([True, True, False]))
    assert z[:2].tolist() == [0.0, 0.0]


def test_standardise_treats_each_run_alone():
    x = torch.tensor([[0.0, 2.0], [10.0, 50.0]])
    torch.testing.assert_close(standardise(x, torch.ones_like(x, dtype=torch.bool)), torch.tensor([[-1.0, 1.0]] * 2))


def test_top_is_the_shared_ranking():
    score = torch.tensor([[0.0, 9.0, 3.0, 7.0, 5.0], [5.0, 1.0, 2.0, 9.0, 3.0]])
    choice = pick(score, torch.ones_like(score, dtype=torch.bool), 3, "top")
    assert choice.index.tolist() == [[1, 3, 4], [3, 0, 4]]
    assert not choice.use_target.any()


def test_pools_take_every_num_envs_th_candidate():
    #        env:      0    1    2    0    1    2    0: left over, belongs to no full round
    score = torch.tensor([0.0, 8.0, 2.0, 4.0, 1.0, 3.0, 99.0])
    choice = pick(score, torch.ones(7, dtype=torch.bool), 3, "pools")
    assert choice.index.tolist() == [3, 1, 5]
    assert not choice.use_target.any()


def test_invalid_ones_are_passed_over_and_an_empty_pool_goes_to_the_target():
    score = torch.tensor([5.0, 8.0, 2.0, 4.0, 1.0, 3.0])
    valid = torch.tensor([False, False, True, True, False, True])
    pools = pick(score, valid, 3, "pools")
    assert pools.index[[0, 2]].tolist() == [3, 5]  # pool 0: {0, 3}, pool 2: {2, 5}
    assert pools.use_target.tolist() == [False, True, False]  # pool 1: {1, 4} is all invalid
    top = pick(score, valid, 4, "top")
    assert top.index[:3].tolist() == [3, 5, 2]
    assert top.use_target.tolist() == [False, False, False, True]  # only three are valid


@pytest.mark.parametrize("how", ["top", "pools"])
def test_without_valid_candidates_every_episode_goes_to_the_target(how):
    choice = pick(torch.randn(2, 6), torch.tensor([[False] * 6, [True] * 6]), 3, how)
    assert choice.use_target.tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("how", ["top", "pools"])
def test_a_nan_or_inf_at_an_invalid_place_is_never_chosen(how):
    score = torch.tensor([math.nan, 1.0, math.inf, 2.0])
    choice = pick(score, torch.tensor([False, True, False, True]), 2, how)
    taken = choice.index[~choice.use_target].tolist()
    assert sorted(taken) == ([1, 3] if how == "top" else [3])  # pool 0 is {0, 2}


@pytest.mark.parametrize("how", ["top", "pools"])
def test_too_few_candidates_say_what_to_raise(how):
    with pytest.raises(ValueError, match="4 candidates for 5 environments; raise num_candidates to at least 5"):
        pick(torch.zeros(2, 4), torch.ones(2, 4, dtype=torch.bool), 5, how)


@pytest.mark.parametrize(
    ("share", "num_envs", "count"),
    [
        (0.0, 8, 0),
        (0.01, 8, 1),  # 0.08 rounds to 0, but at least one
        (0.125, 8, 1),
        (0.125, 32, 4),
        (0.18, 8, 1),  # 1.44
        (0.19, 8, 2),  # 1.52
        (0.5, 3, 2),  # 1.5 to the even neighbour
        (1.0, 8, 8),
        (0.5, 1, 1),
    ],
)
def test_command_target_sends_the_last_episodes(share, num_envs, count):
    before = Choice(torch.arange(2 * num_envs).view(2, num_envs), torch.zeros(2, num_envs, dtype=torch.bool))
    after = command_target(before, torch.tensor([share, share]))
    assert after.use_target.tolist() == [[False] * (num_envs - count) + [True] * count] * 2
    assert torch.equal(after.index, before.index)


def test_command_target_keeps_those_that_go_there_already():
    before = Choice(torch.zeros(4, dtype=torch.int64), torch.tensor([True, False, False, False]))
    assert command_target(before, torch.tensor(0.25)).use_target.tolist() == [True, False, False, True]


def test_command_target_takes_a_share_for_each_run():
    before = Choice(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.bool))
    assert command_target(before, torch.tensor([0.0, 0.5])).use_target.sum(1).tolist() == [0, 2]
