import pytest
import torch

from discover_rl.selectors import HER, SELECTORS, Candidates, Estimate, Oracle, Random

CPU = torch.device("cpu")


def candidates(lead, cand, **fields):
    return Candidates(torch.zeros(*lead, cand, 2), torch.ones(*lead, cand, dtype=torch.bool))._replace(**fields)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_her_always_commands_the_target(lead):
    choice = HER().select(HER().init(lead, CPU), candidates(lead, 4), 6, torch.Generator())
    assert choice.use_target.shape == (*lead, 6)
    assert choice.use_target.all()
    assert choice.index.dtype == torch.int64
    assert not choice.index.any()


def test_random_draws_valid_candidates_equally_often_and_none_twice():
    runs = 3000
    valid = torch.tensor([True, False, True, True, False, True])
    given = candidates((runs,), 6, valid=valid.expand(runs, 6))
    choice = Random().select(Random().init((runs,), CPU), given, 2, torch.Generator().manual_seed(0))
    assert not choice.use_target.any()
    assert (choice.index[:, 0] != choice.index[:, 1]).all()
    share = torch.bincount(choice.index.flatten(), minlength=6) / (2 * runs)
    # a quarter each; the deviation of a share is sqrt(0.25·0.75/6000) = 0.006
    assert share.tolist() == pytest.approx([0.25, 0, 0.25, 0.25, 0, 0.25], abs=0.025)


def test_random_goes_to_the_target_where_too_few_are_valid():
    given = candidates((1,), 4, valid=torch.tensor([[False, True, False, False]]))
    choice = Random().select(Random().init((1,), CPU), given, 3, torch.Generator().manual_seed(0))
    assert choice.index[0, 0] == 1
    assert choice.use_target.tolist() == [[False, True, True]]


def test_random_is_decided_by_the_seed():
    given = candidates((2,), 50)
    state = Random().init((2,), CPU)
    draws = [Random().select(state, given, 5, torch.Generator().manual_seed(seed)).index for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_oracle_takes_the_least_distance():
    distance = torch.tensor([[9.0, 4.0, 7.0, 2.0, 8.0, 3.0]])
    given = candidates((1,), 6, distance=distance)
    state = Oracle().init((1,), CPU)
    # pools of two environments: {9, 7, 8} and {4, 2, 3}
    assert Oracle().select(state, given, 2, torch.Generator()).index.tolist() == [[2, 3]]
    assert Oracle(pick="top").select(state, given, 3, torch.Generator()).index.tolist() == [[3, 5, 1]]


def test_the_oracle_never_takes_what_cannot_reach_the_target():
    given = candidates((1,), 4, distance=torch.tensor([[torch.inf, 5.0, torch.inf, 6.0]]))
    choice = Oracle().select(Oracle().init((1,), CPU), given, 2, torch.Generator())
    assert choice.use_target.tolist() == [[True, False]]
    assert choice.index[0, 1] == 1


def test_the_oracle_asks_for_distances():
    with pytest.raises(ValueError, match=r"Candidates.distance must be filled"):
        Oracle().select(Oracle().init((1,), CPU), candidates((1,), 4), 2, torch.Generator())


def test_an_unknown_way_to_pick_is_refused():
    with pytest.raises(ValueError, match=r"selector.pick is 'best'; allowed: top, pools"):
        Oracle(pick="best")


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_keeps_the_contract(name):
    selector = SELECTORS[name]()
    assert selector.name == name
    lead, cand, num_envs = (2, 3), 40, 4
    generator = torch.Generator().manual_seed(0)
    given = Candidates(
        goals=torch.randn(*lead, cand, 2, generator=generator),
        valid=torch.rand(*lead, cand, generator=generator) < 0.5,
        start=Estimate(*torch.randn(2, *lead, cand, generator=generator)) if selector.needs_values else None,
        target=Estimate(*torch.randn(2, *lead, cand, generator=generator)) if selector.needs_values else None,
        desired=torch.randn(*lead, 1, 2, generator=generator),
        distance=torch.rand(*lead, cand, generator=generator) if selector.needs_distance else None,
    )
    state = selector.init(lead, CPU)
    assert state.alpha.shape == state.cutoff.shape == lead
    choice = selector.select(state, given, num_envs, generator)
    assert choice.index.shape == choice.use_target.shape == (*lead, num_envs)
    assert choice.index.min() >= 0
    assert choice.index.max() < cand
    assert (given.valid.gather(-1, choice.index) | choice.use_target).all()
    after = selector.update(state, torch.rand(lead, generator=generator), torch.ones(lead))
    assert after.alpha.shape == after.cutoff.shape == lead
