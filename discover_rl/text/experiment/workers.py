"""Runs spread over worker processes, several on each GPU, within a given time."""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from discover_rl.text.experiment.practice import Job, Settings, open_bench, quiet, run


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None
    since: float = 0.0


def work(settings: Settings, pipe: Connection) -> None:
    """Body of a worker: takes jobs from ``pipe`` until it is told to end, answers each with an error or None."""
    quiet()
    try:
        bench = open_bench(settings)
        pipe.send("ready")
        while (job := pipe.recv()) is not None:
            try:
                run(bench, job)
                pipe.send(None)
            except Exception:  # one run that fails must not end the others
                pipe.send(traceback.format_exc())
            torch.cuda.empty_cache()
    except Exception:
        pipe.send(traceback.format_exc())
    except KeyboardInterrupt:
        pass


@dataclass
class Crew:
    """Worker processes that share jobs.

    Args:
        settings: Of the experiment.
        devices: One worker each: numbers of GPUs, a number as often as it has workers, or None for the CPU.
        deadline: ``time.monotonic()`` after which nothing starts and at which everything ends.
        say: Told of each run that ended.
    """

    settings: Settings
    devices: Sequence[int | None]
    deadline: float
    say: Callable[[str], None]
    took: list[float] = field(default_factory=list)
    failed: list[tuple[Job, str]] = field(default_factory=list)

    def run(self, blocks: Sequence[Sequence[Job]]) -> None:
        """Run the jobs of one block after another.

        A block is begun only if, going by the runs so far, all of it can end in time: where time is short, whole
        blocks are left out.

        Raises:
            RuntimeError: If no worker could be started.
        """
        self.workers = [self._start(device) for device in self.devices]
        try:
            self._feed([list(block) for block in blocks if block])
        finally:
            for worker in self.workers:
                if worker.process.is_alive():
                    worker.process.terminate()
            for worker in self.workers:
                worker.process.join(10)

    def _start(self, device: int | None) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = _visible(device, before)
        os.environ["CUDA_VISIBLE_DEVICES"] = visible  # read by the process that is spawned now
        try:
            process = context.Process(target=work, args=(self.settings, there), daemon=True)
            process.start()
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
        there.close()
        return _Worker(process, here)

    def _feed(self, blocks: list[list[Job]]) -> None:
        idle: list[_Worker] = []
        started = False
        while True:
            now = time.monotonic()
            while idle and blocks and now < self.deadline:
                if not started and not self._fits(blocks[0], now):
                    self.say(f"no time left for {sum(map(len, blocks))} more runs")
                    blocks.clear()
                    break
                started = True
                worker = idle.pop()
                worker.job, worker.since = blocks[0].pop(0), time.monotonic()
                worker.pipe.send(worker.job)
                if not blocks[0]:
                    blocks.pop(0)
                    started = False
            busy = [worker for worker in self.workers if worker not in idle]
            if not busy or (not blocks and not any(worker.job for worker in busy)):
                return
            if now >= self.deadline:
                self.say(f"time is up; {sum(worker.job is not None for worker in busy)} runs are cut off")
                return
            for pipe in wait([worker.pipe for worker in busy], timeout=min(5.0, self.deadline - now)):
                self._hear(next(worker for worker in busy if worker.pipe is pipe), idle)

    def _hear(self, worker: _Worker, idle: list[_Worker]) -> None:
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError):
            answer = "the process ended"
            self.workers.remove(worker)
        job, worker.job = worker.job, None
        if answer == "ready":
            idle.append(worker)
            return
        if job is None:  # it never got to work
            if worker in self.workers:
                self.workers.remove(worker)
            self.say(f"a worker could not start: {answer}")
            if not self.workers:
                raise RuntimeError(f"no worker could start; the last said: {answer}")
            return
        if worker in self.workers:
            idle.append(worker)
        took = time.monotonic() - worker.since
        if answer is None:
            self.took.append(took)
            self.say(f"{job.name}  {took:.0f} s")
        else:
            self.failed.append((job, answer))
            self.say(f"{job.name} failed: {answer}")

    def _fits(self, block: Sequence[Job], now: float) -> bool:
        """Whether a block can end in time, if its runs take as long as those before, half of which are over by now."""
        usual = sum(self.took) / len(self.took) if self.took else 0.0
        before = sum(worker.job is not None for worker in self.workers) / 2
        rounds = max(1.0, (before + len(block)) / max(1, len(self.workers)) + 0.5)
        return now + usual * rounds <= self.deadline


def _visible(device: int | None, before: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES should say for the GPU of that number among those visible now."""
    if device is None:
        return ""
    return before.split(",")[device] if before else str(device)
