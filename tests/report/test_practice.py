"""What a language model practised: written, cut off, read again; pass rates expected and seen."""

import math

import numpy as np
import pytest

from discover_rl.report.practice import (
    GROUPS,
    PRACTICE,
    TARGETS,
    PracticeLog,
    Practised,
    TaskGroup,
    calibration,
    over_bins,
    read_practice,
)

KINDS = [TaskGroup("sums, hard", 3, 0.5), TaskGroup("sums", 5, 0.25)]


def one(task="a", group="sums", rate=0.25, observed=0.5):
    return Practised(task, group, rate, 0.1, observed, True)


def test_it_comes_back_as_it_was(tmp_path):
    log = PracticeLog(tmp_path, KINDS)
    log.write(8, [one(), one('b, "quoted"', "sums, hard", 0.125, 1.0)])
    log.write(16, [one("t", TARGETS, math.nan, 0.75)])
    found = read_practice(tmp_path)
    assert found is not None and found.groups == KINDS
    assert found.attempts.tolist() == [8, 8, 16]
    assert found.group.tolist() == [1, 0, -1]
    np.testing.assert_equal(found.rate, [0.25, 0.125, math.nan])
    assert found.observed.tolist() == [0.5, 1.0, 0.75]


def test_what_was_written_after_the_checkpoint_is_dropped(tmp_path):
    log = PracticeLog(tmp_path, KINDS)
    for attempts in (8, 16, 24):
        log.write(attempts, [one()])
    with (tmp_path / PRACTICE).open("a") as file:
        file.write("32,a,sums,0.2")  # killed in the middle of a line
    PracticeLog(tmp_path, KINDS, 16).write(24, [one(observed=1.0)])
    found = read_practice(tmp_path)
    assert found is not None
    assert found.attempts.tolist() == [8, 16, 24] and found.observed.tolist() == [0.5, 0.5, 1.0]
    PracticeLog(tmp_path, KINDS)  # a new run in the folder of one that never came to a checkpoint
    found = read_practice(tmp_path)
    assert found is not None and len(found.attempts) == 0


def test_old_folders_have_none_and_other_files_are_refused(tmp_path):
    assert read_practice(tmp_path) is None
    PracticeLog(tmp_path, KINDS)
    (tmp_path / PRACTICE).write_text("seed,steps\n1,2\n")
    with pytest.raises(
        ValueError, match=r"practice.csv is no list of practised tasks: its first line must be attempts"
    ):
        read_practice(tmp_path)
    (tmp_path / PRACTICE).write_text("attempts,task,group,rate,std,observed,counted\n1,2\n")
    with pytest.raises(ValueError, match=r"practice.csv, line 2: 2 cells under 7 columns"):
        read_practice(tmp_path)
    (tmp_path / GROUPS).unlink()
    assert read_practice(tmp_path) is None


def test_expected_and_seen_in_bins():
    rate = np.array([0.05, 0.05, 0.95, 1.0, math.nan])
    seen = np.array([0.0, 0.5, 1.0, 1.0, 0.3])
    held = calibration(rate, seen)
    np.testing.assert_allclose(held.expected, [0.05, 0.975])
    np.testing.assert_allclose(held.observed, [0.25, 1.0])
    assert held.count.tolist() == [2, 2]
    np.testing.assert_allclose(held.half, [1.96 * float(np.std([0, 0.5], ddof=1)) / 2**0.5, 0.0])
    assert held.error == pytest.approx((0.05 + 0.45 + 0.05 + 0) / 4)
    assert held.guess == pytest.approx(np.abs(seen[:4] - 0.625).mean())
    assert math.isnan(calibration(rate[4:], seen[4:]).error)


def test_shares_of_each_stretch_and_means_in_it():
    attempts = np.array([10, 10, 10, 10, 20, 30])
    group = np.array([0, 0, 1, -1, 1, 0])
    shares, means = over_bins(attempts, group, np.array([1.0, 0.0, 0.5, 9.0, 1.0, 7.0]), 2, np.array([0.0, 10.0, 20.0]))
    np.testing.assert_allclose(shares, [[0.5, 0.0], [0.25, 1.0]])
    np.testing.assert_allclose(means, [[0.5, math.nan], [0.5, 1.0]])
