"""A sweep over a Ray cluster, which the test starts on this machine; a worker is killed in the middle."""

import csv
import importlib.util
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from discover_rl.run_folder import CHECKPOINT, METRICS

pytestmark = pytest.mark.slow
if importlib.util.find_spec("ray") is None or importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None:
    pytest.skip("Ray is not installed: pip install 'discover-rl[cluster]'", allow_module_level=True)

CLOCK = ("time/fps", "time/time_elapsed")
MARK = "DISCOVER_RL_TEST_CLUSTER"  # in the environment of the workers: no other process is touched


def workers(mark):
    """Processes of the cluster that run a job now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"_run_job" in name and f"{MARK}={mark}".encode() in environment:
            found.append(int(process.name))
    return found


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster of two workers; returns its address."""
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # a secret of this test alone: nobody else gets in, and none that is stored on this machine is used
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    log = tmp_path / "ray.log"
    head = [*ray, "start", "--head", f"--port={port}", "--num-cpus=2", "--block"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*head, "--include-dashboard=false"], stdout=file, stderr=file, start_new_session=True
        )
        until = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        found = re.search(r"--address='([^']+)'", log.read_text())
        assert found, log.read_text()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def sweep(cluster, tiny_arguments, tmp_path):
    """Starts a sweep of two seeds over the cluster in a folder."""

    def start(*changes):
        arguments = [*tiny_arguments, "selector=random", "seed=0,5", "save_interval=1", "num_timesteps=2400"]
        launcher = ["hydra/launcher=ray_cluster", f"hydra.launcher.ray.init.address={cluster}"]
        command = [sys.executable, "-m", "discover_rl", "train", "-m", *launcher, *arguments, *changes]
        with (tmp_path / "sweep.log").open("a") as log:
            return subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)

    return start


def rows(run_dir):
    with (run_dir / METRICS).open() as file:
        return [{key: value for key, value in row.items() if key not in CLOCK} for row in csv.DictReader(file)]


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_runs_twice(sweep, tmp_path):
    process = sweep()
    until = time.monotonic() + 240
    while not (there := list(tmp_path.glob(f"runs/*/{CHECKPOINT}"))) and time.monotonic() < until:
        assert process.poll() is None, (tmp_path / "sweep.log").read_text()
        time.sleep(0.005)
    assert there
    victims = workers(tmp_path)
    assert victims
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert process.wait(240) == 0, (tmp_path / "sweep.log").read_text()
    run_dirs = sorted((tmp_path / "runs").iterdir())
    assert len(run_dirs) == 2  # no "-2": what was killed went on where it was
    assert "going on from runs/" in (tmp_path / "sweep.log").read_text()

    written = [(run_dir / CHECKPOINT).stat().st_mtime_ns for run_dir in run_dirs]
    assert sweep().wait(240) == 0
    assert sorted((tmp_path / "runs").iterdir()) == run_dirs
    assert [(run_dir / CHECKPOINT).stat().st_mtime_ns for run_dir in run_dirs] == written
    assert (tmp_path / "sweep.log").read_text().count("there already: runs/") == 2

    for run_dir in run_dirs:  # the same as without a cluster and without a kill
        again = tmp_path / "through"
        command = ["train", "--from", str(run_dir), f"run_dir={again / run_dir.name}"]
        assert subprocess.run([sys.executable, "-m", "discover_rl", *command], check=False).returncode == 0
        assert rows(run_dir) == rows(again / run_dir.name)
        assert len(rows(run_dir)) == 50


def test_a_job_that_fails_on_a_worker_makes_the_sweep_fail(sweep, tmp_path):
    assert sweep("device=cuda:99").wait(240) != 0
    assert "cuda" in (tmp_path / "sweep.log").read_text()
