"""Runs of the experiment with a tiny model: one common start, nothing repeated, whole blocks where time is short."""

import dataclasses
import json
import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from discover_rl.text.experiment import workers
from discover_rl.text.experiment.__main__ import ARMS, main, main_jobs, pilot_jobs
from discover_rl.text.experiment.practice import Job, Settings, open_bench, prepare, run
from discover_rl.text.experiment.workers import Crew
from discover_rl.text.tasks import Task, write_records

SMALL = ["--steps", "2", "--batch-size", "3", "--attempts", "3", "--eval-tasks", "4", "--eval-samples", "2"]


@pytest.fixture
def levels(make_sums, tmp_path):
    """Sums under the names that legs have in the experiment."""
    parts = {
        ("leg_counting 1", "warm", 1): 10,
        ("leg_counting 1", "train", 1): 20,
        ("leg_counting 2", "train", 2): 10,
        ("leg_counting 2", "probe", 2): 4,
        ("leg_counting 2", "test", 2): 6,
        ("leg_counting 3", "train", 3): 8,
        ("weekday", "train", 4): 10,
    }
    tasks = []
    pools = {digits: iter(make_sums(digits, 30)) for digits in (1, 2, 3, 4)}
    for (level, split, digits), count in parts.items():
        for _ in range(count):
            task = next(pools[digits])
            tasks.append(Task(task.id, task.prompt, task.answer, None, {"level": level, "split": split}))
    path = tmp_path / "levels.jsonl"
    path.write_bytes(write_records(task.record() for task in tasks))
    return path


@pytest.fixture
def settings(levels, tiny_folder, tmp_path):
    return Settings(
        model=str(tiny_folder),
        levels=str(levels),
        work=str(tmp_path / "work"),
        out=str(tmp_path / "out"),
        device="cpu",
        steps=3,
        batch_size=4,
        attempts=4,
        eval_interval=2,
        eval_tasks=5,
        eval_samples=2,
        warmup_steps=3,
        warmup_lr=1e-2,
    )


def test_every_run_starts_from_the_same_warm_model(settings):
    base = prepare(settings)
    assert list(base["levels"]) == ["leg_counting 1", "leg_counting 2", "leg_counting 3", "weekday"]
    again = prepare(dataclasses.replace(settings, warmup_steps=100))  # made once
    assert again == json.loads(json.dumps(base))

    bench = open_bench(settings)
    start = {name: weight.clone() for name, weight in bench.start.items()}
    job = Job("leg_counting 2", "discover", 1e-3, 0, "main")
    first = run(bench, job)
    assert [test["step"] for test in first["evaluations"]] == [0, 2, 3]
    assert len(first["history"]) == 3
    assert first["attempts"] == 48
    assert sum(first["levels"].values()) == 12
    assert set(first["levels"]) <= {"leg_counting 1", "weekday"}  # neither the target's level nor a harder one
    assert first["tasks"] == 30
    assert all(torch.equal(weight, start[name]) for name, weight in bench.start.items())

    other = run(bench, dataclasses.replace(job, arm="oracle"))
    assert set(other["levels"]) == {"leg_counting 2"}
    assert other["evaluations"][0] == first["evaluations"][0]  # one start, one test, the same random numbers
    easier = run(bench, dataclasses.replace(job, arm="easier", stage="pilot"))
    assert set(easier["levels"]) == {"leg_counting 1"}

    same = run(bench, job)
    assert {**same, "seconds": 0} == {**first, "seconds": 0}
    assert json.loads(job.path(Path(settings.out)).read_text()) == json.loads(json.dumps(same))


def test_short_time_drops_seeds_and_no_arm():
    blocks = main_jobs(["a", "b"], ARMS, 1e-5, 3)
    assert [{(job.target, job.seed) for job in block} for block in blocks] == [
        {(target, seed)} for seed in range(3) for target in ("a", "b")
    ]
    assert all([job.arm for job in block] == list(ARMS) for block in blocks)
    names = [job.name for block in blocks + pilot_jobs(["a", "b"], [1e-5, 3e-6]) for job in block]
    assert len(set(names)) == len(names) == 3 * 2 * len(ARMS) + 8


def test_a_block_begins_only_if_it_can_end(settings):
    crew = Crew(settings, [None, None], deadline=1000.0, say=print, took=[10.0, 30.0])
    crew.workers = [workers._Worker(None, pipe) for pipe in multiprocessing.Pipe()]
    block = [Job("a", arm, 1e-5, 0, "main") for arm in "abcd"]
    assert crew._fits(block, 1000 - 2.5 * 20)  # four runs of two workers, and half a run of waiting
    assert not crew._fits(block, 1000 - 2.5 * 20 + 1)
    crew.workers[0].job = block[0]
    assert not crew._fits(block, 1000 - 2.5 * 20)


def test_a_run_that_fails_does_not_end_the_others(settings):
    prepare(settings)
    good = Job("leg_counting 2", "discover", 1e-3, 0, "main")
    said = []
    crew = Crew(settings, [None], time.monotonic() + 120, said.append)
    crew.run([[dataclasses.replace(good, target="no such target"), good]])
    assert [job.target for job, _ in crew.failed] == ["no such target"]
    assert "KeyError" in crew.failed[0][1]
    assert good.path(Path(settings.out)).is_file()
    assert len(crew.took) == 1
    assert "failed: Traceback" in said[0]


@pytest.mark.slow
def test_the_command_makes_the_table_and_goes_on_where_it_stopped(levels, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--stage", "main", "--levels", str(levels), "--model", str(tiny_folder), "--out", str(out), *SMALL]
    arguments += ["--gpus", "0", "--workers-per-gpu", "2", "--targets", "leg_counting 2", "--lr", "1e-3"]
    arguments += ["--arms", "discover", "uniform", "--seeds", "2", "--minutes", "3"]
    assert main(arguments) == 0
    runs = sorted((out / "runs").glob("main-*.json"))
    assert len(runs) == 4
    said = capsys.readouterr().out
    assert "4 of 4 runs to do" in said
    assert "| uniform |" in said
    assert (out / "main_table.md").is_file() and (out / "curves.png").is_file()

    runs[0].unlink()
    times = [path.stat().st_mtime_ns for path in runs[1:]]
    assert main(arguments) == 0
    assert "1 of 4 runs to do" in capsys.readouterr().out
    assert runs[0].is_file()
    assert [path.stat().st_mtime_ns for path in runs[1:]] == times
    with pytest.raises(ValueError, match=r"made with attempts=3 \(now attempts=4\); give another --out"):
        main([*arguments, "--attempts", "4"])


def test_when_time_is_up_all_ends_and_nothing_is_lost(settings):
    prepare(settings)
    said = []
    crew = Crew(settings, [None], time.monotonic() + 1.0, said.append)
    start = time.monotonic()
    crew.run([[Job("leg_counting 2", "discover", 1e-3, seed, "main")] for seed in range(500)])
    assert time.monotonic() - start < 15
    assert not any(worker.process.is_alive() for worker in crew.workers)
