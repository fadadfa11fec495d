import csv

import numpy as np
import pytest
from scipy import stats

from discover_rl.report.rows import Curve, Group
from discover_rl.report.summary import (
    bootstrap,
    final_success,
    iqm,
    mean,
    note_of,
    steps_to,
    success_area,
    summarise,
    write_summary,
)

INF = np.inf


def curve(
    seed=0, success=(0.0, 0.5, 1.0), run=0, seconds=10.0, selector="discover", settings="aaaa", note="", every=100
):
    count = len(success)
    return Curve(
        Group("u", selector, settings),
        seed,
        np.arange(1, count + 1) * float(every),
        np.array(success, dtype=float),
        np.linspace(1, seconds, count),
        run,
        note,
        "cpu",
    )


@pytest.mark.parametrize(
    ("success", "threshold", "expected"),
    [
        ([0, 0.2, 0.1], 0.1, 20.0),
        ([0, 0.2, 0.1], 0.2, 20.0),
        ([0.9, 0, 0], 0.9, 10.0),  # the first time counts, whatever comes after
        ([0, 0, 0], 0.1, INF),
        ([0, np.float32(0.9), 1], 0.9, 20.0),  # 0.8999999762
    ],
)
def test_steps_to_is_the_first_evaluation_that_is_good_enough(success, threshold, expected):
    assert steps_to(np.array([10.0, 20.0, 30.0]), np.array(success, dtype=float), threshold) == expected


def test_final_success_is_the_mean_of_the_last_evaluations():
    assert final_success(np.array([0, 1, 1, 0, 1, 0.5])) == pytest.approx(0.7)
    assert final_success(np.array([0, 1, 0.5])) == 0.5


@pytest.mark.parametrize(
    ("success", "expected"),
    [([1, 1, 1], 5 / 6), ([0, 0, 0], 0), ([0, 0, 1], 1 / 6), ([0.3, 0.6, 0.9], 0.45)],
)
def test_area_is_mean_success_over_the_steps(success, expected):
    assert success_area(np.array([10.0, 20.0, 30.0]), np.array(success, dtype=float)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(8), 3.5),
        ([0, 1, 2, 100], 1.5),
        ([5], 5),
        ([1, 3], 2),
        ([1, 2, 3, 4, 5, 6, INF, INF], 4.5),
        ([1, 2, 3, 4, 5, INF, INF, INF], INF),
        ([INF] * 4, INF),
    ],
)
def test_interquartile_mean_drops_a_quarter_at_each_end(values, expected):
    assert float(iqm(np.array(values, dtype=float))) == expected


def test_interval_is_that_of_scipy_for_finite_values():
    values = np.random.default_rng(1).normal(size=10)
    low, high = bootstrap(values, mean)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    np.testing.assert_allclose([float(low), float(high)], theirs, atol=0.02)


def test_interval_covers_the_interquartile_mean_and_is_the_same_each_time():
    values = np.random.default_rng(1).normal(size=10)
    low, high = bootstrap(values)
    assert low < iqm(values) < high
    assert (low, high) == bootstrap(values)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("never", "ends"), [(1, (True, True)), (8, (True, False)), (19, (False, False))])
def test_interval_with_seeds_that_never_get_there(never, ends):
    values = np.array([*np.arange(20.0 - never), *[INF] * never])
    assert tuple(np.isfinite(bootstrap(values))) == ends
    assert not np.isnan(bootstrap(values)).any()


def test_interval_over_the_last_axis_only():
    values = np.random.default_rng(1).normal(size=(3, 6))
    low, high = bootstrap(values, resamples=200)
    assert low.shape == high.shape == (3,)
    assert (low[1], high[1]) == bootstrap(values[1], resamples=200)


def test_one_seed_has_no_interval():
    assert np.isnan(bootstrap(np.array([3.0]))).all()


def test_a_line_of_the_table():
    curves = [curve(0), curve(1, [0, 0, 0.5]), curve(2, [0, 0, 0.2], seconds=7), curve(9, [0, 0, 0], run=1, seconds=5)]
    (line,) = summarise(curves)
    assert (line.seeds, line.budget, line.between, line.devices) == (4, (300, 300), (100, 100), ("cpu",))
    assert line.seconds == 15  # two processes
    ten, half, ninety = line.reached
    assert (ten.seeds, half.seeds, ninety.seeds) == (3, 2, 1)
    assert (ten.median, ten.iqm, ten.low, ten.high) == (300, 300, 200, INF)
    assert (half.median, half.iqm, half.high) == (INF, INF, INF)
    assert line.final[0] == pytest.approx((1 / 6 + 0.5) / 4 + (1 / 15 + 0) / 4, abs=0.1)
    assert line.area[1] < line.area[0] < line.area[2]
    assert (line.final_mean, line.final_min) == (pytest.approx((0.5 + 1 / 6 + 1 / 15) / 4), 0)


def test_lines_are_told_apart_by_their_settings():
    plain, other = curve(), curve(settings="bbbb", note="agent.gamma=0.9")
    lines = summarise([plain, other, curve(selector="her")])
    assert [line.note for line in lines] == ["", "agent.gamma=0.9", ""]
    lines = summarise([plain, other, curve(settings="cccc")])
    assert [line.note for line in lines] == ["settings aaaa", "agent.gamma=0.9", "settings cccc"]
    assert note_of(plain.group, [plain], {plain.group: [plain]}) == ""


def test_summary_as_csv(tmp_path):
    write_summary(tmp_path / "new" / "summary.csv", summarise([curve(0), curve(1, [0, 0, 0])]))
    with (tmp_path / "new" / "summary.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["environment"], row["selector"], row["seeds"], row["steps_max"]) == ("u", "discover", "2", "300")
    assert (row["steps_to_10_low"], row["steps_to_10_high"], row["steps_to_10_seeds"]) == ("200", "inf", "1")
