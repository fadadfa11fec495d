"""Which solution to go on from: the score, the lineage, what is kept."""

import importlib
import math
from pathlib import Path

import pytest
import torch

from discover_rl.text.policy import Policy
from discover_rl.text.solutions import LanguageModel, Mutation, Solutions, puct, visit_bonus


def nothing(solution, attempts, generator):
    return []


def test_the_score_is_that_of_the_paper():
    rewards = torch.tensor([1.0, 4.0, 3.0], dtype=torch.float64)
    visits = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64)
    # ranks 3, 1, 2 of three: P = 1/6, 3/6, 2/6; scale 3; T = 8
    expected = torch.tensor([3 / 6 * 3, 3 * 3 / 6 * 3 / 3, 3 * 2 / 6 * 3 / 2], dtype=torch.float64)
    torch.testing.assert_close(visit_bonus(rewards, visits, 8), expected)

    found = Solutions(float, nothing, [1.0, 4.0, 3.0], puct(2.0))
    found.kept[1].visits, found.kept[2].visits, found.expansions = 2, 1, 8
    found.kept[1].best_child = 2.0  # what came of it counts, no longer its own reward
    score = found.selector.score(found.state, found.candidates())
    torch.testing.assert_close(score, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) + 2 * expected)


def test_no_two_of_a_choice_are_of_one_lineage():
    found = Solutions(float, Mutation(lambda value, generator: value + 1), [0.0, 0.5], children_kept=1)
    for _ in range(4):
        found.step(parents=2, attempts=1)
    chosen = found.choose(10)
    assert len(found.kept) > 4
    assert len(chosen) == 2  # one of the descendants of each seed
    assert {solution.value % 1 for solution in chosen} == {0.0, 0.5}


def test_visits_count_for_all_ancestors_and_children_for_the_parent_only():
    steps = iter([[5.0, 7.0, 6.0], [1.0], []])
    found = Solutions(float, lambda solution, attempts, generator: next(steps), [0.0])
    found.step(1, 3)
    assert [s.value for s in found.kept.values()] == [0.0, 7.0, 6.0]  # two children of three
    assert found.kept[0].best_child == 7.0
    found.kept[0].best_child = -100.0  # so that the child is gone on from
    assert found.choose(1)[0].value == 7.0
    found.step(1, 1)
    assert found.kept[1].best_child == 1.0
    assert found.kept[0].best_child == -100.0
    assert [s.visits for s in found.kept.values()] == [2, 1, 0, 0]
    assert found.kept[3].ancestors == {0, 1}
    found.step(1, 1)  # proposes nothing
    assert found.expansions == 3
    assert found.proposals == 4


def test_the_best_are_kept_and_every_seed_and_nothing_twice():
    values = iter(range(100))
    found = Solutions(float, lambda s, n, g: [float(next(values) % 7) for _ in range(n)], [-1.0], capacity=3)
    for _ in range(12):
        found.step(2, 4)
    assert sorted(s.value for s in found.kept.values()) == [-1.0, 4.0, 5.0, 6.0]
    assert found.best.value == 6.0
    assert len(found._keys) == len(found.kept)


def test_what_is_no_solution_is_dropped():
    def score(value):
        if value == "broken":
            raise ValueError("no packing")
        return math.nan if value == "nan" else 1.0

    found = Solutions(score, lambda s, n, g: ["broken", "nan", "fine"], ["seed"])
    found.step(1, 3)
    assert [s.value for s in found.kept.values()] == ["seed", "fine"]


def test_tensors_that_differ_little_are_different():
    small = torch.zeros(3, dtype=torch.float64)
    found = Solutions(lambda v: float(v.sum()), lambda s, n, g: [small + 1e-12, small.clone()], [small])
    found.step(1, 2)
    assert len(found.kept) == 2


def test_unhashable_values_are_told_apart():
    found = Solutions(lambda v: v[0], lambda s, n, g: [[1], [1], [2]], [[0]], children_kept=3)
    found.step(1, 3)
    assert [s.value for s in found.kept.values()] == [[0], [2], [1]]


def test_the_same_seed_gives_the_same_search():
    def run(seed):
        def step(value, generator):
            return value + float(torch.randn((), generator=generator))

        found = Solutions(lambda v: -abs(v - 3), Mutation(step), [0.0], seed=seed)
        return [found.step(2, 4) for _ in range(5)]

    assert run(1) == run(1) != run(2)
    assert run(1) == sorted(run(1))  # the best is never lost


def test_a_language_model_proposes_what_can_be_read_of_it(tiny):
    model, tokenizer = tiny()
    shown = []

    def write(solution):
        shown.append(solution.value)
        return f"better than {solution.value}"

    def read(text):
        if not text:
            raise ValueError("nothing")
        return text

    propose = LanguageModel(Policy(model, tokenizer, "{prompt}", max_new_tokens=4), write, read)
    found = Solutions(lambda text: len(set(text)), propose, ["a"])
    best = found.step(1, 8)
    assert shown == ["a"]
    assert best > 1
    assert found.best.value != "a"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seeds": []}, "no solution to begin with"),
        ({"seeds": ["1", "x"]}, "seed number 1 is no solution"),
        ({"seeds": ["inf"]}, "infinite reward"),
        ({"capacity": 0}, "capacity must be at least 1, got 0"),
        ({"children_kept": 0}, "children_kept must be at least 1, got 0"),
    ],
)
def test_mistakes_are_said_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Solutions(float, nothing, **{"seeds": ["1"], **given})


def test_the_example_packs_circles_without_overlap(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    example = importlib.import_module("circle_packing")
    four = torch.tensor([[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]], dtype=torch.float64)
    assert example.radius(four) == 0.25  # the densest packing of four
    assert example.radius(four[:1]) == 0.25
    best, curve = example.by_puct(4, 3, 0)
    assert 0.23 < curve[-1] <= 0.25
    assert example.radius(best) == curve[-1]
