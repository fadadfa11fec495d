from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from discover_rl.selectors import HER, Candidates, Discover, Estimate, Mega, Oracle, SelectorState
from discover_rl.selectors.score import pick

EXAMPLES = settings(max_examples=60, deadline=None)
DETERMINISTIC = [
    Discover(standardise=True, target_share=0.2),
    Discover(standardise=False, novelty_in_bracket=True, target_novelty=1.0, pick="pools"),
    Mega(),
    Oracle(),
    Oracle(pick="top"),
    HER(),
]
seeds = st.integers(0, 2**31)
scores_and_masks = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),  # few values: many ties
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.integers(1, n),
    )
)


def random_candidates(seed, lead, cand, valid_share=0.7):
    """Values of very different scales, as they come from an ensemble, in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def normal():
        return torch.randn(*lead, cand, generator=generator, dtype=torch.float64)

    return Candidates(
        goals=torch.stack([normal(), normal()], dim=-1),
        valid=torch.rand(*lead, cand, generator=generator) < valid_share,
        start=Estimate(-20 + 10 * normal(), 0.1 * normal().abs()),
        target=Estimate(-50 + 30 * normal(), normal().abs()),
        distance=normal().abs(),
    )


def state(seed, lead):
    alpha = torch.rand(lead, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return SelectorState(alpha, -40 * alpha, 1 + alpha, alpha.square())


def map_fields(function, candidates):
    """``function`` on every tensor of some candidates."""
    fields: list[Any] = [
        Estimate(*map(function, field)) if isinstance(field, Estimate) else field if field is None else function(field)
        for field in candidates
    ]
    return Candidates(*fields)


@EXAMPLES
@given(scores_and_masks)
def test_with_ties_top_takes_distinct_valid_candidates_and_misses_no_better_one(drawn):
    scores, mask, num_envs = drawn
    score, valid = torch.tensor(scores, dtype=torch.float32), torch.tensor(mask)
    choice = pick(score, valid, num_envs, "top")
    taken = choice.index[~choice.use_target].tolist()
    assert len(taken) == min(num_envs, sum(mask))
    assert len(set(taken)) == len(taken)
    assert all(mask[i] for i in taken)
    best = sorted((s for s, ok in zip(scores, mask, strict=True) if ok), reverse=True)
    assert [scores[i] for i in taken] == best[: len(taken)]


@EXAMPLES
@given(scores_and_masks)
def test_with_ties_each_pool_takes_its_best_valid_candidate(drawn):
    scores, mask, num_envs = drawn
    choice = pick(torch.tensor(scores, dtype=torch.float32), torch.tensor(mask), num_envs, "pools")
    rounds = len(scores) // num_envs
    for env, (index, use_target) in enumerate(zip(choice.index.tolist(), choice.use_target.tolist(), strict=True)):
        pool = [i for i in range(env, rounds * num_envs, num_envs) if mask[i]]
        assert use_target == (not pool)
        if pool:
            assert index in pool
            assert scores[index] == max(scores[i] for i in pool)


@EXAMPLES
@given(seeds, st.integers(4, 30), st.integers(1, 4), st.booleans())
def test_the_order_of_the_candidates_does_not_matter(seed, cand, num_envs, standardise):
    candidates, at = random_candidates(seed, (), cand), state(seed, ())
    assume(candidates.valid.sum() != 2)  # two standardised values are 1 and -1, so that terms cancel: a tie
    order = torch.randperm(cand, generator=torch.Generator().manual_seed(seed))
    shuffled = map_fields(lambda field: field[order], candidates)
    for selector in (Discover(standardise=standardise, target_share=0.0), Oracle(pick="top")):
        plain = selector.select(at, candidates, num_envs, torch.Generator())
        other = selector.select(at, shuffled, num_envs, torch.Generator())
        assert torch.equal(plain.use_target, other.use_target)
        use = ~plain.use_target
        assert torch.equal(candidates.goals[plain.index][use], shuffled.goals[other.index][use])


@EXAMPLES
@given(seeds, st.integers(4, 30))
def test_the_order_of_the_candidates_does_not_matter_to_mega(seed, cand):
    # one episode: its pool is all candidates. Two isolated goals may have the same density, so compare densities
    candidates, at = random_candidates(seed, (), cand), state(seed, ())
    order = torch.randperm(cand, generator=torch.Generator().manual_seed(seed))
    selector = Mega(bandwidth=1.0)
    shuffled = map_fields(lambda field: field[order], candidates)
    plain = selector.select(at, candidates, 1, torch.Generator())
    other = selector.select(at, shuffled, 1, torch.Generator())
    assert torch.equal(plain.use_target, other.use_target)
    assume(not plain.use_target.item())
    assert torch.equal(candidates.goals[plain.index], shuffled.goals[other.index])


@pytest.mark.parametrize("selector", DETERMINISTIC, ids=lambda s: f"{s.name}-{getattr(s, 'pick', '')}")
@EXAMPLES
@given(seeds, st.integers(1, 4), st.integers(5, 20), st.integers(1, 5))
def test_stacked_runs_choose_as_each_run_alone(selector, seed, runs, cand, num_envs):
    candidates, at = random_candidates(seed, (runs,), cand), state(seed, (runs,))
    stacked = selector.select(at, candidates, num_envs, torch.Generator())
    for run in range(runs):
        alone = selector.select(
            SelectorState(*(field[run] for field in at)),
            map_fields(lambda field, run=run: field[run], candidates),
            num_envs,
            torch.Generator(),
        )
        assert torch.equal(stacked.use_target[run], alone.use_target)
        use = ~alone.use_target
        assert torch.equal(stacked.index[run][use], alone.index[use])


@pytest.mark.parametrize("selector", DETERMINISTIC, ids=lambda s: f"{s.name}-{getattr(s, 'pick', '')}")
@EXAMPLES
@given(seeds, st.floats(0, 1))
def test_masks_are_respected(selector, seed, valid_share):
    candidates = random_candidates(seed, (2,), 12, valid_share)
    choice = selector.select(state(seed, (2,)), candidates, 3, torch.Generator())
    assert (candidates.valid.gather(-1, choice.index) | choice.use_target).all()


@EXAMPLES
@given(
    seeds,
    st.lists(st.floats(0.01, 100), min_size=4, max_size=4),
    st.lists(st.floats(-100, 100), min_size=4, max_size=4),
)
def test_standardised_scores_know_no_scale_and_no_offset(seed, scale, shift):
    candidates, at = random_candidates(seed, (2,), 20, 1.0), state(seed, (2,))
    assert candidates.start is not None
    assert candidates.target is not None
    terms = [*candidates.start, *candidates.target]
    moved = [c * term + d for c, term, d in zip(scale, terms, shift, strict=True)]
    other = candidates._replace(start=Estimate(*moved[:2]), target=Estimate(*moved[2:]))
    selector = Discover(standardise=True, target_novelty=0.5)
    torch.testing.assert_close(selector.score(at, candidates), selector.score(at, other), rtol=1e-5, atol=1e-5)
