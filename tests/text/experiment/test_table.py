"""Figures, intervals and which runs count."""

import json

import numpy as np
import pytest

from discover_rl.text.experiment.table import area, complete_seeds, interval, main_table, pilot_table


def write(out, stage, target, arm, seed, curves, lr=1e-5):
    """A run whose tests found these shares solved, for each of 40 tasks alike."""
    draw = np.random.default_rng(seed)
    tests = []
    for number, rate in enumerate(curves):
        solved = draw.binomial(4, rate, size=40).tolist()
        tests.append(
            {"step": 10 * number, "solved": solved, "samples": 4, "pass_rate": sum(solved) / 160, "greedy_rate": rate}
        )
    job = {"target": target, "arm": arm, "lr": lr, "seed": seed, "stage": stage}
    history = [{"text/distinct_answers": 2.0}] * 12
    run = {"job": job, "evaluations": tests, "history": history, "attempts": 640, "device": "cpu", "levels": {}}
    (out / "runs").mkdir(exist_ok=True)
    (out / "runs" / f"{stage}-{target}-{arm}-{lr}-{seed}.json").write_text(json.dumps(run))


def test_the_area_is_the_mean_over_steps():
    curve = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(area(curve, [0, 10, 40]), [(5 + 30) / 40, (10 + 15) / 40])


def test_intervals_cover_as_often_as_they_say():
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        seeds, tasks = draw.normal(0, 1, (8, 1)), draw.normal(0, 1, (1, 30))
        _, low, high = interval(0.3 + seeds + tasks + draw.normal(0, 1, (8, 30)), resamples=300)
        hits += low <= 0.3 <= high
    assert hits >= 48  # of 60; few seeds make a bootstrap a little narrow


def test_a_difference_that_is_only_in_the_seeds_is_not_sure():
    difference = np.array([[0.4] * 50, [-0.3] * 50, [0.2] * 50])
    mean, low, high = interval(difference)
    assert mean == pytest.approx(0.1)
    assert low < 0 < high


def test_the_table_pairs_seeds_and_leaves_out_what_is_not_complete(tmp_path):
    for seed in range(4):
        write(tmp_path, "main", "sums", "discover", seed, [0.1, 0.5, 0.9])
        if seed < 3:
            write(tmp_path, "main", "sums", "uniform", seed, [0.1, 0.2, 0.3])
            write(tmp_path, "main", "sums", "oracle", seed, [0.1, 0.5, 0.9])
    lines, data = main_table(tmp_path)
    arms = data["sums"]["arms"]
    assert data["sums"]["seeds"] == [0, 1, 2]
    assert data["sums"]["before"] == pytest.approx(0.1, abs=0.05)
    mean, low, high = arms["uniform"]["end_difference"]
    assert 0.4 < low < mean < high < 0.8
    assert arms["oracle"]["end_difference"] == [0, 0, 0]  # the same random numbers
    assert arms["discover"]["area"][0] == pytest.approx(0.5, abs=0.05)
    assert "end_difference" not in arms["discover"]
    (row,) = [line for line in lines if line.startswith("| uniform")]
    assert "**+6" in row or "**+5" in row
    assert lines[0].startswith("**sums**: 40 test tasks, ")
    assert "3 seeds, 640 attempts a run, lr 1e-05, cpu" in lines[0]


def test_seeds_are_complete_if_every_arm_has_them():
    runs = [{"job": {"arm": arm, "seed": seed}} for arm, seed in (("a", 0), ("a", 1), ("b", 1), ("b", 2))]
    assert complete_seeds(runs) == [1]
    assert complete_seeds([]) == []


def test_without_a_complete_seed_the_table_says_so(tmp_path):
    write(tmp_path, "main", "sums", "discover", 0, [0.1, 0.5])
    write(tmp_path, "main", "sums", "uniform", 1, [0.1, 0.5])
    assert main_table(tmp_path) == (["sums: no seed is complete yet (2 runs)", ""], {})


def test_the_pilot_suggests_where_easier_levels_help(tmp_path):
    ends = {"a": 0.5, "b": 0.2, "c": 0.7, "d": 0.4}
    for lr, factor in ((1e-5, 1.0), (3e-6, 0.5)):
        for target, end in ends.items():
            write(tmp_path, "pilot", target, "easier", 0, [0.1, 0.1 + (end - 0.1) * factor], lr)
            write(tmp_path, "pilot", target, "direct", 0, [0.1, 0.95], lr)
    write(tmp_path, "pilot", "spell_backward 5", "easier", 0, [0.0, 1.0])  # the null target is never suggested
    lines, suggestion = pilot_table(tmp_path)
    assert suggestion == {"lr": 1e-5, "targets": ["c", "a", "d"]}
    assert len([line for line in lines if line.startswith("| a ")]) == 2
