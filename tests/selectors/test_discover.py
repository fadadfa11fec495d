import dataclasses

import pytest
import torch

from discover_rl.selectors import AchievabilityNovelty, Candidates, Discover, Estimate, SelectorState

PAPER = Discover(
    novelty_in_bracket=True,
    standardise=False,
    target_novelty=1.0,
    novelty_share=0.0,
    target_share=0.0,
    mastered_share=0.0,
    controller="proportional",
)
RELEASED = Discover(
    novelty_in_bracket=False,
    standardise=False,
    target_novelty=0.0,
    novelty_share=0.0,
    target_share=0.0,
    mastered_share=0.0,
)


def state(alpha, beta=1.0, mastery=0.0):
    return SelectorState(torch.tensor(alpha), *(torch.full((len(alpha),), value) for value in (0.0, beta, mastery)))


def three_candidates(runs=1):
    return Candidates(
        goals=torch.tensor([[0.0], [1.0], [2.0]]).expand(runs, 3, 1),
        valid=torch.ones(runs, 3, dtype=torch.bool),
        start=Estimate(torch.tensor([[-2.0, -5.0, -9.0]] * runs), torch.tensor([[0.5, 2.0, 1.0]] * runs)),
        target=Estimate(torch.tensor([[-10.0, -6.0, -3.0]] * runs), torch.tensor([[1.0, 0.5, 4.0]] * runs)),
    )


def chosen(selector, at, candidates, num_envs=1):
    return selector.select(at, candidates, num_envs, torch.Generator()).index.tolist()


def test_the_papers_rule_by_hand():
    candidates, at = three_candidates(2), state([0.25, 0.75])
    expected = [
        # alpha = 0.25: 0.25·(V + σ at the start) + 0.75·(V + σ at the target)
        # 0.25·(-2 + 0.5) + 0.75·(-10 + 1)  = -0.375 - 6.75  = -7.125
        # 0.25·(-5 + 2)   + 0.75·(-6 + 0.5) = -0.75  - 4.125 = -4.875
        # 0.25·(-9 + 1)   + 0.75·(-3 + 4)   = -2     + 0.75  = -1.25
        [-7.125, -4.875, -1.25],
        # alpha = 0.75: -1.125 - 2.25, -2.25 - 1.375, -6 + 0.25
        [-3.375, -3.625, -5.75],
    ]
    assert PAPER.score(at, candidates).tolist() == expected
    assert chosen(PAPER, at, candidates) == [[2], [0]]
    assert chosen(PAPER, at, candidates, 3) == [[2, 1, 0], [0, 1, 2]]


def test_the_released_codes_rule_by_hand():
    candidates, at = three_candidates(2), state([0.25, 0.75])
    expected = [
        # alpha = 0.25: 0.25·V(s0,g) + 0.75·V(g,g*) + σ(s0,g)
        # 0.25·(-2) + 0.75·(-10) + 0.5 = -0.5  - 7.5  + 0.5 = -7.5
        # 0.25·(-5) + 0.75·(-6)  + 2   = -1.25 - 4.5  + 2   = -3.75
        # 0.25·(-9) + 0.75·(-3)  + 1   = -2.25 - 2.25 + 1   = -3.5
        [-7.5, -3.75, -3.5],
        # alpha = 0.75: -1.5 - 2.5 + 0.5, -3.75 - 1.5 + 2, -6.75 - 0.75 + 1
        [-3.5, -3.25, -6.5],
    ]
    assert RELEASED.score(at, candidates).tolist() == expected
    # at 0.75 the two rules differ: the paper's takes candidate 0
    assert chosen(RELEASED, at, candidates) == [[2], [1]]


@pytest.mark.parametrize(
    ("in_bracket", "expected"),
    [
        # 0.5·(2·(-2) + 3·0.5) + 0.5·(5·(-10) + 7·1) = 0.5·(-2.5) + 0.5·(-43) = -22.75
        (True, -22.75),
        # 0.5·2·(-2) + 0.5·5·(-10) + 3·0.5 + 7·1 = -2 - 25 + 1.5 + 7 = -18.5
        (False, -18.5),
    ],
)
def test_each_weight_multiplies_its_own_term(in_bracket, expected):
    selector = Discover(
        achievability=2.0,
        novelty=3.0,
        relevance=5.0,
        target_novelty=7.0,
        novelty_in_bracket=in_bracket,
        standardise=False,
    )
    assert selector.score(state([0.5]), three_candidates())[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("in_bracket", "expected"),
    [
        # 0.5·(-2 + 4·0.5) + 0.5·(-10 + 4·7·1) = 0 + 9
        (True, 9.0),
        # 0.5·(-2) + 0.5·(-10) + 4·(0.5 + 7·1) = -6 + 30
        (False, 24.0),
    ],
)
def test_beta_multiplies_both_deviations(in_bracket, expected):
    selector = Discover(target_novelty=7.0, novelty_in_bracket=in_bracket, standardise=False)
    assert selector.score(state([0.5], beta=4.0), three_candidates())[0, 0] == pytest.approx(expected)


def test_standardised_terms_weigh_the_same_whatever_their_scale():
    # two candidates: every term that differs becomes -1 and 1
    candidates = Candidates(
        goals=torch.zeros(1, 2, 1),
        valid=torch.ones(1, 2, dtype=torch.bool),
        start=Estimate(torch.tensor([[-300.0, -100.0]]), torch.tensor([[0.002, 0.001]])),
        target=Estimate(torch.tensor([[-7.0, -7.0]]), torch.tensor([[3.0, 4.0]])),
    )
    selector = Discover(standardise=True, novelty=1.0)
    # reach (-1, 1), novelty (1, -1), relevance (0, 0): alpha·reach + novelty at alpha = 0.25
    assert selector.score(state([0.25]), candidates)[0].tolist() == pytest.approx([0.75, -0.75], abs=1e-3)


def test_the_share_of_the_target_goes_last_and_the_best_goals_stay():
    candidates = three_candidates()
    choice = dataclasses.replace(RELEASED, target_share=0.4, mastered_share=0.4).select(
        state([0.25]), candidates, 3, torch.Generator()
    )
    assert choice.index.tolist() == [[2, 1, 0]]
    assert choice.use_target.tolist() == [[False, False, True]]  # round(0.4·3) = 1


def test_a_share_of_the_goals_is_chosen_by_achievability_and_novelty_alone():
    # at alpha 0 the best is candidate 2; at alpha 1 the scores are -2 + 0.5, -5 + 2, -9 + 1: candidates 0 and 1
    selector = dataclasses.replace(RELEASED, novelty_share=0.5)
    at = state([0.0], beta=9.0)  # neither alpha nor beta has a say in that share
    choice = selector.select(at, three_candidates(), 3, torch.Generator())
    ranked = RELEASED.select(at, three_candidates(), 3, torch.Generator()).index[0].tolist()
    assert choice.index.tolist() == [[0, 1, ranked[2]]]  # round(0.5·3) = 2
    assert choice.counted().tolist() == [[False, False, True]]


def test_episodes_for_novelty_or_the_target_do_not_count_unless_there_are_no_others():
    def counted(novelty_share, target_share):
        selector = Discover(novelty_share=novelty_share, target_share=target_share, mastered_share=1.0)
        return selector.select(state([0.5]), three_candidates(), 3, torch.Generator()).counted().tolist()[0]

    assert counted(0.0, 0.0) == [True, True, True]
    assert counted(0.34, 0.34) == [False, True, False]
    assert counted(0.67, 0.34) == [True, True, True]
    assert counted(0.0, 1.0) == [True, True, True]


def test_a_mastered_target_gets_more_of_the_episodes():
    selector = dataclasses.replace(RELEASED, target_share=0.2, mastered_share=0.6)
    candidates = Candidates(
        goals=torch.zeros(1, 20, 1),
        valid=torch.ones(1, 20, dtype=torch.bool),
        start=Estimate(-torch.rand(1, 20), torch.rand(1, 20)),
        target=Estimate(-torch.rand(1, 20), torch.rand(1, 20)),
    )
    for mastery, count in ((0.0, 4), (0.5, 8), (1.0, 12)):  # of 20 episodes
        choice = selector.select(state([0.0], mastery=mastery), candidates, 20, torch.Generator())
        assert choice.use_target.sum() == count


def test_a_mastered_target_leaves_nothing_to_novelty():
    selector = dataclasses.replace(RELEASED, novelty_share=0.67)
    for mastery, count in ((0.0, 2), (0.5, 1), (1.0, 0)):  # of 3 episodes
        choice = selector.select(state([0.5], mastery=mastery), three_candidates(), 3, torch.Generator())
        assert choice.uncounted is not None
        assert choice.uncounted.sum() == count


def test_mastery_follows_the_success_of_episodes_for_the_target_and_holds_beta_down():
    selector = Discover(beta_max=16.0)
    at = state([0.0, 0.0])
    for _ in range(60):
        at = selector.update(at, torch.ones(2), torch.tensor([0.0, 0.5]))
    assert at.mastery.tolist() == pytest.approx([0.0, 0.5], abs=1e-3)
    assert at.beta.tolist() == pytest.approx([16.0, 4.0], rel=1e-2)  # beta_max to the power of 1 - mastery
    assert at.alpha.tolist() == [0.0, 0.0]


def test_an_invalid_candidate_is_not_chosen_even_if_it_is_the_best():
    candidates = three_candidates()._replace(valid=torch.tensor([[True, True, False]]))
    assert chosen(PAPER, state([0.25]), candidates) == [[1]]


def test_infinite_values_of_an_invalid_candidate_do_not_disturb_the_others():
    candidates = three_candidates()
    assert candidates.start is not None
    candidates.start.mean[0, 2] = torch.inf
    candidates.start.std[0, 2] = torch.nan
    candidates = candidates._replace(valid=torch.tensor([[True, True, False]]))
    selector = Discover(standardise=True, novelty_share=0.0, target_share=0.0)
    # of two valid candidates: reach (1, -1), novelty (-1, 1), relevance (-1, 1); at alpha 0.25:
    # 0.25 - 0.75 - 1 = -1.5 and 1.5
    assert selector.score(state([0.25]), candidates)[0, :2].tolist() == pytest.approx([-1.5, 1.5])
    assert chosen(selector, state([0.25]), candidates) == [[1]]


def test_pools_give_each_episode_its_own_candidates():
    selector = dataclasses.replace(RELEASED, pick="pools")
    # scores -7.5, -3.75, -3.5, and one pool for each of three environments
    assert chosen(selector, state([0.25]), three_candidates(), 3) == [[0, 1, 2]]


def test_without_the_relevance_term_the_target_is_ignored():
    selector = AchievabilityNovelty(standardise=False)
    candidates = three_candidates()
    at = selector.init((1,), torch.device("cpu"))
    # alpha stays 1: V(s0,g) + σ(s0,g)
    assert selector.score(at, candidates).tolist() == [[-1.5, -3.0, -8.0]]
    assert selector.update(at, torch.tensor([1.0]), torch.zeros(1)).alpha.tolist() == [1.0]
    far = candidates._replace(target=Estimate(torch.randn(1, 3), torch.rand(1, 3)))
    assert torch.equal(selector.score(at, far), selector.score(at, candidates))


def test_values_that_were_not_filled_are_asked_for():
    with pytest.raises(ValueError, match=r"Candidates.start and Candidates.target must be filled"):
        PAPER.score(state([0.5]), three_candidates()._replace(target=None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controller": "bang"}, "selector.controller is 'bang'; allowed: proportional, band, fixed"),
        ({"pick": "best"}, "selector.pick is 'best'; allowed: top, pools"),
        ({"alpha_start": 1.5}, r"selector.alpha_start must lie in \[0, 1\], got 1.5"),
        ({"target_share": -0.1}, r"selector.target_share must lie in \[0, 1\]"),
        ({"target_rate": 2.0}, r"selector.target_rate must lie in \[0, 1\]"),
        ({"band": -1.0}, r"selector.band must lie in \[0, 1\]"),
        ({"alpha_step": -0.01}, "selector.alpha_step must not be negative"),
        ({"novelty_share": 1.1}, r"selector.novelty_share must lie in \[0, 1\]"),
        ({"alpha_max": -0.1}, r"selector.alpha_max must lie in \[0, 1\]"),
        ({"alpha_start": 0.6, "alpha_max": 0.5}, "selector.alpha_start=0.6 is more than alpha_max=0.5"),
        ({"target_share": 0.3, "mastered_share": 0.2}, "selector.mastered_share=0.2 is less than target_share=0.3"),
        ({"beta_max": 0.5}, "selector.beta_max must be at least 1, got 0.5"),
        ({"beta_min": 0.0}, r"selector.beta_min must lie in \(0, 1\], got 0.0"),
        ({"beta_min": 1.5}, r"selector.beta_min must lie in \(0, 1\], got 1.5"),
    ],
)
def test_bad_settings_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        Discover(**settings)


@pytest.mark.parametrize("mastery", [0.0, 0.5, 1.0])
def test_the_plan_says_what_select_does_with_each_episode(mastery):
    selector = Discover(novelty_share=0.25, target_share=0.25, mastered_share=0.5)
    at = state([0.1, 0.4], beta=3.0, mastery=mastery)
    candidates = Candidates(
        goals=torch.randn(2, 64, 1),
        valid=torch.ones(2, 64, dtype=torch.bool),
        start=Estimate(torch.randn(2, 64), torch.rand(2, 64)),
        target=Estimate(torch.randn(2, 64), torch.rand(2, 64)),
    )
    plan, choice = selector.plan(at, 8), selector.select(at, candidates, 8, torch.Generator())
    assert torch.equal(plan.use_target, choice.use_target)
    assert choice.uncounted is not None
    assert torch.equal(plan.uncounted, choice.uncounted)
    for env in range(8):  # each episode's goal is high in the ranking of its own alpha and beta
        score = selector.score(at._replace(alpha=plan.alpha[:, env], beta=plan.beta[:, env]), candidates)
        best = score.topk(8).indices
        assert torch.equal(choice.index[:, env], best[:, env])
