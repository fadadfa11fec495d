import dataclasses
import json
from collections import Counter
from itertools import chain, pairwise
from typing import Any

import pytest
import torch

from discover_rl.selectors import HER, Discover
from discover_rl.text.belief import BeliefConfig
from discover_rl.text.curricula import CURRICULA, recipe
from discover_rl.text.curriculum import CurriculumConfig, TextCurriculum, practice
from discover_rl.text.embed import Words, embed_tasks
from discover_rl.text.kernel import TaskKernel, sift
from discover_rl.text.tasks import Task


def unit(seed, *shape):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def plain_tasks(count):
    return [Task(f"task{i}", f"prompt {i}", "x") for i in range(count)]


def indices(batch):
    return [pick.index for pick in batch.picks]


def passing(curriculum, rate, batches, attempts=4):
    """Goes through some batches; ``rate`` gives the pass rate of a task."""
    for _, batch in zip(range(batches), curriculum, strict=False):
        curriculum.update(batch.ids, [[rate(task)] * attempts for task in batch.tasks])
    return curriculum


# -- the limits of the one formula ---------------------------------------------------------------------------


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_setting_is_sift_batch_after_batch(seed, noise, standardise):
    vectors = unit(seed, 60, 8), unit(50 + seed, 3, 8)
    selector = practice(
        controller="fixed", alpha_start=0.0, achievability=0.0, novelty=0.0, relevance=0.0, standardise=standardise
    )
    config = CurriculumConfig(
        batch_size=5,
        explore=0.0,
        rest=0,
        skip_mastered=False,
        belief=BeliefConfig(noise=noise, sampling_noise=False, forget=1.0, opposites=True),
    )
    curriculum = TextCurriculum(plain_tasks(60), ["t0", "t1", "t2"], selector, vectors, config)
    rates = torch.rand(60, generator=torch.Generator().manual_seed(seed))
    chosen = []
    for _, batch in zip(range(4), curriculum, strict=False):
        chosen += indices(batch)
        curriculum.update(batch.ids, [[float(rates[i])] * 4 for i in indices(batch)])
    kernel, expected = TaskKernel(*vectors), []
    for turn in range(20):  # SIFT, that may come back to a task, but not within a batch
        gain = kernel.gain(noise)
        gain[expected[turn - turn % 5 :]] = -1
        expected.append(int(gain.argmax()))
        kernel.condition(expected[-1], noise)
    assert chosen == expected


@pytest.mark.parametrize("seed", range(3))
def test_one_batch_of_that_setting_is_sifts_list(seed):
    vectors = unit(seed, 60, 8), unit(50 + seed, 3, 8)
    found = recipe("sift_online", 20)
    config = dataclasses.replace(found.config, belief=dataclasses.replace(found.config.belief, opposites=True))
    curriculum = TextCurriculum(plain_tasks(60), ["t0", "t1", "t2"], found.selector, vectors, config)
    assert indices(next(curriculum)) == sift(*vectors, 20, 0.1).tolist()


def test_the_named_sift_is_that_setting():
    vectors = unit(0, 60, 8).abs(), unit(1, 3, 8).abs()
    found = recipe("sift_online", 6)
    curriculum = TextCurriculum(plain_tasks(60), ["t0", "t1", "t2"], found.selector, vectors, found.config)
    assert indices(next(curriculum)) == sift(*vectors, 6, 0.1).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_one_setting_is_easiest_first(seed):
    vectors = unit(seed, 40, 6), unit(9, 2, 6)
    selector = practice(controller="fixed", alpha_start=1.0, novelty=0.0, target_novelty=0.0)
    curriculum = TextCurriculum(
        plain_tasks(40), ["t0", "t1"], selector, vectors, dataclasses.replace(recipe("easiest", 7).config, explore=0.0)
    )
    attempted = torch.arange(0, 40, 3)
    curriculum.update([f"task{i}" for i in attempted.tolist()], torch.rand(14, 4))
    easiest = curriculum.belief.mean(curriculum.belief.tasks).argsort(descending=True)
    assert indices(next(curriculum)) == easiest[:7].tolist()


# -- what it does with a corpus ------------------------------------------------------------------------------


def test_relevant_tasks_come_first_and_words_last(corpus, targets):
    chosen = [pick.task.fields.get("digits", 0) for pick in TextCurriculum(corpus, targets).preview(70)]
    assert chosen[:20].count(4) >= 14  # in wording the most like sums of three digits
    assert chosen[:20].count(2) >= 2  # but not they alone: each leaves less to gain by its like
    assert chosen.index(0) > 20


def test_easy_tasks_first_then_harder_as_the_model_learns(corpus, targets):
    skill = [0.7]

    def rate(task):
        return min(1.0, max(0.0, skill[0] - 0.5 * (task.fields.get("digits", 9) - 1) / 1.5))

    curriculum = TextCurriculum(corpus, targets, config=CurriculumConfig(explore=0.0))
    digits = []
    for _, batch in zip(range(60), curriculum, strict=False):
        digits.append(sum(task.fields.get("digits", 0) for task in batch.tasks) / len(batch.tasks))
        curriculum.update(batch.ids, [[rate(task)] * 8 for task in batch.tasks])
        skill[0] += 0.015
    assert sum(digits[5:20]) < 2.5 * 15 < 3.5 * 15 < sum(digits[-15:])


def test_alpha_rises_while_nothing_is_solved_and_falls_while_all_is(corpus, targets):
    failing = passing(TextCurriculum(corpus, targets), lambda _: 0.0, 6)
    succeeding = passing(TextCurriculum(corpus, targets), lambda _: 1.0, 6)
    assert float(failing.state.alpha) == pytest.approx(0.5 + 6 * 0.05 * 0.3)
    assert float(succeeding.state.alpha) == pytest.approx(0.5 - 6 * 0.05 * 0.7)


def test_uncounted_tasks_do_not_move_alpha(corpus, targets):
    selector = practice(novelty_share=0.5)
    curriculum = TextCurriculum(corpus, targets, selector, config=CurriculumConfig(batch_size=8, explore=0.0))
    batch = next(curriculum)
    counted = [pick.counted for pick in batch.picks]
    assert counted == [False] * 4 + [True] * 4
    curriculum.update(batch.ids, [[1.0 - c] for c in map(float, counted)])
    assert float(curriculum.state.alpha) == pytest.approx(0.5 + 0.05 * 0.3)  # the counted ones all failed


def test_tasks_of_a_batch_differ_and_exploration_holds_on_average(corpus, targets):
    curriculum = TextCurriculum(corpus, targets, config=CurriculumConfig(batch_size=6, explore=0.25))
    batches = [batch for _, batch in zip(range(60), curriculum, strict=False)]
    assert all(len(set(batch.ids)) == 6 for batch in batches)
    explored = sum(not pick.counted for batch in batches for pick in batch.picks)
    assert 60 < explored < 120  # 90 expected of 360
    assert {pick.task.id.startswith("word") for batch in batches for pick in batch.picks} == {True, False}


@pytest.mark.parametrize("prior", [0.5, 0.97])  # at 0.97 the others seem easy too, but no one knows it yet
def test_mastered_tasks_are_passed_over(prior):
    vectors = torch.eye(6).double(), torch.eye(6)[:1].double()
    config = CurriculumConfig(
        batch_size=2,
        explore=0.0,
        belief=BeliefConfig(forget=1.0, noise=0.01, achievability="pass_rate", prior_mean=prior),
    )
    curriculum = TextCurriculum(plain_tasks(6), ["t"], recipe("easiest").selector, vectors, config)
    for _ in range(60):
        curriculum.update(["task0"], [[1.0] * 64])
    assert 0 not in indices(next(curriculum))


@pytest.mark.parametrize(("rest", "tasks", "between"), [(0, 80, 1), (2, 80, 3), (99, 80, 6), (99, 12, 1)])
def test_tasks_rest_before_they_come_again(rest, tasks, between):
    vectors = unit(0, tasks, 8), unit(1, 3, 8)
    config = CurriculumConfig(batch_size=4, explore=0.0, rest=rest)
    curriculum = TextCurriculum(plain_tasks(tasks), ["a", "b", "c"], recipe("learnability").selector, vectors, config)
    seen: dict[int, list[int]] = {}
    for number, batch in zip(range(14), curriculum, strict=False):
        for index in indices(batch):
            seen.setdefault(index, []).append(number)
        curriculum.update(batch.ids, [[0.0, 1.0]] * 4)  # always between easy and hard: the best there is
        if number == 6:  # what rests is remembered
            state = curriculum.state_dict()
            curriculum = TextCurriculum(curriculum.tasks, ["a", "b", "c"], curriculum.selector, vectors, config)
            curriculum.load_state_dict(state)
    gaps = [later - earlier for times in seen.values() for earlier, later in pairwise(times)]
    assert min(gaps) == between  # a quarter of 80 tasks are five batches


def test_a_list_chosen_once_is_gone_through_whole_before_it_repeats():
    vectors = unit(0, 40, 8).abs(), unit(1, 3, 8).abs()
    found = recipe("sift", 4)
    config = CurriculumConfig(batch_size=4, explore=0.0, ahead=3, once=True, belief=found.config.belief)
    curriculum = TextCurriculum(plain_tasks(40), ["a", "b", "c"], found.selector, vectors, config)
    chosen = [indices(batch) for _, batch in zip(range(6), curriculum, strict=False)]
    best = sift(*vectors, 12, 0.1).tolist()
    first, second = sorted(chain(*chosen[:3])), sorted(chain(*chosen[3:]))
    assert first == second == sorted(best)
    assert chosen[:3] != chosen[3:]


def test_the_band_admits_tasks_of_middling_pass_rate_and_fills_up(corpus, targets):
    found = recipe("achievable_sift", 4)
    config = CurriculumConfig(
        batch_size=4,
        explore=0.0,
        rest=0,
        band=(0.25, 0.6),
        band_least=5,
        estimator="logit_shift",
        belief=found.config.belief,
    )
    curriculum = TextCurriculum(corpus, targets, found.selector, config=config)
    curriculum.shift.rates[:] = 0.9
    curriculum.shift.rates[60:68] = 0.4  # spelling: irrelevant, but in the band
    assert set(indices(next(curriculum))) <= set(range(60, 68))
    curriculum.shift.rates[60:68] = 0.05
    curriculum.shift.rates[60:63] = 0.5
    curriculum.shift.rates[7], curriculum.shift.rates[9] = 0.62, 0.2  # nearest to the middle, beside the three
    assert set(indices(next(curriculum))) <= {60, 61, 62, 7, 9}


def test_known_pass_rates_of_the_corpus_are_believed(corpus, targets):
    known = [
        {**task.record(), "pass_rate": 1.0 if task.fields.get("digits") == 1 else 0.0, "attempts": 16}
        for task in corpus
        if task.id.endswith(("0", "1", "2", "3"))
    ] + [task.record() for task in corpus if not task.id.endswith(("0", "1", "2", "3"))]
    curriculum = TextCurriculum(known, targets)
    rates = curriculum.belief.mean(curriculum.belief.tasks)
    one = [i for i, t in enumerate(curriculum.tasks) if t.fields.get("digits") == 1 and "pass_rate" not in t.fields]
    four = [i for i, t in enumerate(curriculum.tasks) if t.fields.get("digits") == 4 and "pass_rate" not in t.fields]
    assert float(rates[one].mean()) > 0.6 > 0.3 > float(rates[four].mean())
    for field, sentence in (
        ({"pass_rate": 2}, "pass_rate must lie in"),
        ({"attempts": 0.5}, "attempts must be a number"),
    ):
        with pytest.raises(ValueError, match=sentence):
            TextCurriculum([{**known[0], **field}, *known[1:]], targets)


def test_a_preview_changes_nothing(corpus, targets):
    one, other = TextCurriculum(corpus, targets), TextCurriculum(corpus, targets)
    seen = one.preview(20)
    assert len(seen) == 20
    assert next(one).ids == next(other).ids
    assert {(pick.rate, pick.start[0]) for pick in seen} == {(0.5, 1 - 2 * 0.5**8)}  # nothing is known yet
    assert seen[0].start[1] == pytest.approx(0.35, abs=1e-3)
    assert min(pick.start[1] for pick in seen) < 0.3  # near-duplicates of tasks above lose novelty


# -- attempts ------------------------------------------------------------------------------------------------


def test_one_reward_an_attempt_or_a_list_a_task_is_the_same(corpus, targets):
    one, other = TextCurriculum(corpus, targets), TextCurriculum(corpus, targets)
    batch, _ = next(one), next(other)
    one.update(batch.ids, [[1.0, 0.0]] * 8)
    other.update([key for key in batch.ids for _ in range(2)], torch.tensor([1.0, 0.0] * 8))
    assert torch.equal(one.belief.precision, other.belief.precision)
    assert one.metrics() == other.metrics()


def test_a_batch_scored_in_parts_or_a_step_behind_is_learnt_when_complete(corpus, targets):
    curriculum, whole = TextCurriculum(corpus, targets), TextCurriculum(corpus, targets)
    first, second = next(curriculum), next(curriculum)
    assert (next(whole).ids, next(whole).ids) == (first.ids, second.ids)
    assert set(first.ids).isdisjoint(second.ids)  # what is out to be attempted is not chosen again
    curriculum.update(second.ids[:3], [[0.0]] * 3)
    curriculum.update(first.ids[:5], [[1.0]] * 5)
    assert not curriculum.belief.attempted.any()
    curriculum.update(first.ids[5:], [[1.0]] * 3)
    assert float(curriculum.state.alpha) == pytest.approx(0.465)
    curriculum.update(second.ids[3:], [[0.0]] * 5)
    assert float(curriculum.state.alpha) == pytest.approx(0.48)
    whole.update(first.ids, [[1.0]] * 8)
    whole.update(second.ids, [[0.0]] * 8)
    torch.testing.assert_close(whole.belief.precision, curriculum.belief.precision)
    assert len(curriculum.open) == 0


def test_the_number_of_a_batch_says_whose_rewards_they_are():
    curriculum = TextCurriculum(plain_tasks(3), ["t"], config=CurriculumConfig(batch_size=3, explore=0.0))
    first, second = next(curriculum), next(curriculum)
    assert set(first.ids) == set(second.ids)
    curriculum.update(second.ids, [[1.0]] * 3, batch=second.number)
    assert curriculum.open.waiting(4) == first.ids
    curriculum.update(first.ids, [[1.0]] * 3, batch=7)  # no such batch: the belief learns, alpha does not move
    assert float(curriculum.state.alpha) == pytest.approx(0.465)
    assert curriculum.belief.attempted.tolist() == [2, 2, 2]


def test_attempts_at_tasks_that_no_batch_asked_for_teach_the_belief_alone(corpus, targets):
    curriculum = TextCurriculum(corpus, targets)
    curriculum.update([corpus[0].id], [[1.0, 1.0]])
    assert curriculum.belief.attempted[0] == 2
    assert float(curriculum.state.alpha) == 0.5


def test_batches_never_scored_do_not_pile_up(corpus, targets):
    curriculum = TextCurriculum(corpus, targets)
    batches = [next(curriculum) for _ in range(70)]
    curriculum.update(batches[-1].ids, [[1.0]] * 8)
    assert len(curriculum.open) <= 64


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [
        ([[1.0]], "8 ids, but 1 rewards"),
        ([[2.0]] * 8, "is 2.0; the pass rate needs rewards in \\[0, 1\\], so scale them"),
        ([[float("nan")]] * 8, "is nan"),
        ([[]] * 8, "has no reward"),
    ],
)
def test_bad_rewards_are_said(corpus, targets, rewards, sentence):
    curriculum = TextCurriculum(corpus, targets)
    with pytest.raises(ValueError, match=sentence):
        curriculum.update(next(curriculum).ids, rewards)
    with pytest.raises(ValueError, match="no task has the id 'nobody'"):
        curriculum.update(["nobody"], [1.0])


# -- targets as practice -------------------------------------------------------------------------------------


def test_attempts_at_targets_need_leave(corpus, targets):
    with pytest.raises(ValueError, match=r"Discover sends attempts to the targets.*or practise_targets=True"):
        TextCurriculum(corpus, targets, Discover())
    with pytest.raises(ValueError, match="selector HER cannot choose tasks one after another"):
        TextCurriculum(corpus, targets, HER())  # type: ignore[arg-type]


def test_with_leave_some_attempts_go_to_targets_and_move_mastery(corpus, targets):
    selector = practice(target_share=0.25, mastered_share=0.25)
    curriculum = TextCurriculum(
        corpus, targets, selector, config=CurriculumConfig(practise_targets=True, batch_size=8, explore=0.0)
    )
    batch = next(curriculum)
    at_targets = [pick for pick in batch.picks if pick.index < 0]
    assert 1 <= len(at_targets) <= 2
    assert {pick.task.prompt for pick in at_targets} <= {target.prompt for target in targets}
    curriculum.update(batch.ids, [[1.0 if pick.index < 0 else 0.0] for pick in batch.picks])
    assert float(curriculum.state.mastery) == pytest.approx(0.2)
    assert float(curriculum.state.alpha) > 0.5


# -- saving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CURRICULA)
def test_going_on_from_a_saved_state_is_going_on(corpus, targets, name, tmp_path):
    found = recipe(name, 5)
    one = TextCurriculum(corpus, targets, found.selector, config=found.config, seed=3)
    passing(one, lambda task: 1.0 / task.fields.get("digits", 9), 5)
    pending = next(one)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other = TextCurriculum(corpus, targets, found.selector, config=found.config, seed=99)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for curriculum in (one, other):
        curriculum.update(pending.ids, [[0.5]] * len(pending.ids))
    for _ in range(4):
        a, b = next(one), next(other)
        assert a.ids == b.ids
        assert [pick.score for pick in a.picks] == pytest.approx([pick.score for pick in b.picks], nan_ok=True)
        for curriculum in (one, other):
            curriculum.update(a.ids, [[0.25]] * len(a.ids))
    assert one.metrics() == other.metrics()
    assert {k for k, v in one.state_dict().items() if not isinstance(v, torch.Tensor) and not json.dumps(v)} == set()


def test_the_state_of_another_corpus_is_refused(corpus, targets):
    state = TextCurriculum(corpus, targets).state_dict()
    with pytest.raises(ValueError, match="was saved with other tasks or targets"):
        TextCurriculum(corpus[1:], targets).load_state_dict(state)
    del state["shift"]
    with pytest.raises(ValueError, match="lacks 'shift'"):
        TextCurriculum(corpus, targets).load_state_dict(state)


# -- the named curricula -------------------------------------------------------------------------------------


def test_every_named_curriculum_does_what_it_says(corpus, targets):
    vectors = embed_tasks(corpus, targets, Words())

    def rate(task):
        return {1: 0.9, 2: 0.5, 4: 0.05}.get(task.fields.get("digits"), 0.0)

    kinds = {}
    for name in CURRICULA:
        found = recipe(name, 6)
        curriculum = TextCurriculum(corpus, targets, found.selector, vectors, found.config)
        kinds[name] = Counter()
        for number, batch in zip(range(16), curriculum, strict=False):
            curriculum.update(batch.ids, [[rate(task)] * 4 for task in batch.tasks])
            if number >= 8:
                kinds[name] += Counter(task.fields.get("digits", 0) for task in batch.tasks)
    assert kinds["easiest"][1] > 30 > kinds["easiest"][2]  # of 48
    assert kinds["learnability"][2] > 30
    assert kinds["sift_online"][0] < 5
    assert kinds["uniform"][0] > 2
    assert kinds["discover"][2] + kinds["discover"][4] > 36  # hardly any that are solved already
    assert kinds["discover"][0] <= 8


def test_a_recipe_knows_how_many_attempts_a_task_gets():
    assert recipe("discover", 8, 5).config.belief.attempts == 5
    sift = recipe("sift_online", 8, 5).config.belief
    assert (sift.attempts, sift.sampling_noise, sift.forget) == (5, False, 1.0)
    assert recipe("learnability").config.belief.achievability == "learnability"


def test_unknown_names_and_bad_settings_are_said(corpus, targets):
    with pytest.raises(ValueError, match="curriculum is 'easyest'; did you mean 'easiest'"):
        recipe("easyest")
    with pytest.raises(ValueError, match=r"10 different tasks, fewer than curriculum\.batch_size=11"):
        TextCurriculum(corpus[-10:], targets, config=CurriculumConfig(batch_size=11))
    with pytest.raises(ValueError, match="60 embeddings given for 70 tasks"):
        TextCurriculum(corpus, targets, embed=(unit(0, 60, 4), unit(1, 6, 4)))
    with pytest.raises(ValueError, match="targets: the id 't' stands there 2 times"):
        TextCurriculum(corpus, [Task("t", "a"), Task("t", "b")])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"explore": 1.5}, "explore must lie in"),
        ({"rest": -1}, "rest must not be negative, got -1"),
        ({"band": (0.6, 0.2)}, "band must be two pass rates"),
        ({"estimator": "guess"}, "allowed: posterior, logit_shift"),
    ]
    for bad, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            CurriculumConfig(**bad)


def test_leaked_targets_are_dropped_and_said(corpus, targets):
    leaked = Task("leak", targets[0].prompt.upper(), "1")
    curriculum = TextCurriculum([*corpus, leaked], targets)
    assert "dropped 1 task whose prompt is a target" in curriculum.dropped
    assert "leak" not in {task.id for task in curriculum.tasks}


def test_the_rest_of_a_ranking_is_scored_in_the_light_of_what_stands_before(corpus, targets):
    curriculum = TextCurriculum(corpus, targets)
    ranking, longer = curriculum.ranking(6), curriculum.preview(7)
    assert [pick.task.id for pick in ranking[:7]] == [pick.task.id for pick in longer]
    assert ranking[6].score == pytest.approx(longer[6].score)
    assert ranking[6].start == pytest.approx(longer[6].start)
