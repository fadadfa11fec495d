import csv
from dataclasses import replace

import numpy as np
import pytest

from discover_rl.report.aggregate import compare_methods, improvement, stratified, write_comparison
from discover_rl.report.rows import Curve, Group
from discover_rl.report.table import methods_table


def curve(env, selector, seed, final, settings="aaaa", note=""):
    success = np.array([0.0, final, final, final, final, final])
    steps = np.arange(1, 7) * 1000.0
    return Curve(Group(env, selector, settings), seed, steps, success, steps / 100, note=note)


def made(finals, envs=("u", "cross")):
    return [
        curve(env, selector, seed, final)
        for selector, values in finals.items()
        for env in envs
        for seed, final in enumerate(values)
    ]


def test_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    one, other = [np.array([1.0, 2.0])], [np.array([0.0, 2.0])]
    assert improvement(one, other) == (1 + 0 + 1 + 0.5) / 4
    assert improvement(other, one) == 1 - improvement(one, other)
    assert improvement([*one, np.zeros(2)], [*other, np.ones(3)]) == 0.625 / 2


def test_strata_are_never_mixed():
    """Two constant environments far apart: drawn together they would vary, drawn apart they cannot."""
    low, high = stratified(
        [np.zeros(5), np.ones(5)], lambda *strata, axis: np.concatenate(strata, axis=axis).mean(axis=axis), 200
    )
    assert (low, high) == (0.5, 0.5)


def test_an_interval_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        strata = [rng.normal(size=20), rng.normal(size=20) + 3]
        low, high = stratified(strata, lambda *s, axis: np.concatenate(s, axis=axis).mean(axis=axis), 300)
        hits += bool(low <= 1.5 <= high)
    assert 85 <= hits <= 99


def test_methods_are_held_against_the_first():
    comparison = compare_methods(made({"discover": [1, 1, 0.9, 0.8], "her": [0, 0, 0, 0], "mega": [1, 0, 1, 0]}))
    assert comparison.environments == ("cross", "u")
    by = {(method.name, method.score): method for method in comparison.methods}
    discover, her, mega = (by[name, "final success"] for name in ("discover", "her", "mega"))
    assert comparison.methods[0] is discover
    assert discover.improvement is None
    assert discover.iqm.value == pytest.approx((1 + 0.9 + 1 + 0.9) / 4)
    assert discover.iqm.low <= discover.iqm.value <= discover.iqm.high
    assert her.improvement is not None and her.improvement.value == her.improvement.low == 1
    assert mega.improvement is not None and 0.5 < mega.improvement.value < 1
    assert her.profile.share[0] == 1 and her.profile.share[1:].max() == 0
    assert mega.profile.share[-1] == 0.5
    assert (mega.profile.low <= mega.profile.share).all() and (mega.profile.share <= mega.profile.high).all()


def test_an_environment_that_lacks_a_method_is_left_out_and_said():
    curves = [*made({"discover": [1, 1], "her": [0, 0]}), curve("spiral", "discover", 0, 1.0)]
    comparison = compare_methods(curves)
    assert comparison.left_out == ("spiral",)
    assert "Left out, since a method is missing there: spiral." in methods_table(comparison)
    apart = [curve("u", "discover", 0, 1.0), curve("cross", "her", 0, 0.0)]
    assert compare_methods(apart).methods == ()
    assert methods_table(compare_methods(apart)) == ""


def test_what_is_not_finished_does_not_count_and_is_said():
    curves = made({"discover": [1, 1], "her": [0, 0]})
    cut_off = replace(curve("spiral", "her", 0, 1.0), planned=60_000.0)
    comparison = compare_methods([*curves, curve("spiral", "discover", 0, 1.0), cut_off])
    assert (comparison.environments, comparison.left_out) == (("cross", "u"), ("spiral",))
    assert "What is not finished does not count; there is such on spiral." in methods_table(comparison)
    half = [
        replace(one, planned=60_000.0) if one.seed == 1 and one.group[:2] == ("u", "her") else one for one in curves
    ]
    assert compare_methods(half).environments == ("cross",)  # one seed is enough
    nothing = [replace(one, planned=60_000.0) for one in curves]
    assert compare_methods(nothing).methods == ()


def test_settings_that_differ_make_methods():
    curves = [curve("u", "discover", 0, 1, "a", "agent.gamma=0.9"), curve("u", "discover", 0, 1, "b", "agent.gamma=1")]
    names = {method.name for method in compare_methods(curves).methods}
    assert names == {"discover (agent.gamma=0.9)", "discover (agent.gamma=1)"}


def test_single_seeds_have_no_interval_and_the_files_are_written(tmp_path):
    comparison = compare_methods(made({"discover": [1], "her": [0]}))
    assert np.isnan(comparison.methods[0].iqm.low)
    assert "| discover | 1.00 |" in methods_table(comparison)
    methods, profiles = write_comparison(tmp_path, comparison)
    with methods.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["score"], row["iqm"]) for row in rows[:2]] == [
        ("discover", "final success", "1"),
        ("her", "final success", "0"),
    ]
    with profiles.open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 51
