"""The whole program: ``Algorithm.train_round`` is the algorithm, ``Trainer.run`` what surrounds it.

choose goals -> roll out one episode per environment -> store -> learn -> adapt alpha -> log -> evaluate -> save
"""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.agents.agent import copy_into
from discover_rl.algorithm import Algorithm
from discover_rl.build import make_environment
from discover_rl.checkpoint import (
    CheckpointError,
    generator_tensors,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from discover_rl.collect import environment_name
from discover_rl.config import TrainConfig
from discover_rl.evaluate import Evaluation, evaluate
from discover_rl.report import MetricsWriter, ProgressLine
from discover_rl.report.pictures import save_pictures
from discover_rl.run_folder import CHECKPOINT, MODEL, save_config
from discover_rl.snapshots import Snapshots, map_values

EVALUATIONS_TO_STOP = 3  # good ones in a row, for ``stop_success``
PICTURE_SECONDS = 60.0  # at least, between two pictures of a running training; one takes about a second


class Trainer(Algorithm):
    """A training run: the algorithm with its evaluations, its files and its checkpoints.

    Args:
        config: What to train.

    Raises:
        ValueError: If parts of the configuration do not fit together.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.eval_env = make_environment(
            config.env,
            self.num_runs * config.eval_episodes,
            self.device,
            self.sources.eval_seed,
            config.goal_space,
            config.target,
        )
        self.snapshots = Snapshots()
        self.good_evaluations = 0  # in a row
        self.solved, self.stopped = False, False

    # -- the run -----------------------------------------------------------------------------------------

    def run(self, run_dir: Path, resume: bool) -> None:
        """Train to the end, writing everything into ``run_dir``.

        Args:
            run_dir: Folder of the run.
            resume: Whether to go on from the checkpoint there.

        Raises:
            FloatingPointError: If a network or an action has become nan; the last checkpoint is kept.
            OSError: If a file cannot be written; the last checkpoint is kept.
        """
        config = self.config
        if resume:
            self.restore(run_dir / CHECKPOINT)
        save_config(run_dir, config, self.device)
        total = math.ceil(config.num_timesteps / self.buffer.round_size) * self.buffer.round_size
        # without a checkpoint nothing can go on from rows that a killed run left: they are written again
        goes_on = resume or not (run_dir / CHECKPOINT).is_file()
        with (
            MetricsWriter(run_dir, self.seeds, self.num_timesteps if goes_on else None) as writer,
            ProgressLine(total, self.num_timesteps, config.selector.name) as progress,
        ):
            evaluation = None
            start, steps_before = time.monotonic(), self.num_timesteps
            drawn = start
            while self.num_timesteps < total and not self.solved and not self.stopped:
                self.train_round()
                self.stopped = 0 < config.max_time <= time.monotonic() - start
                last = self.stopped or self.num_timesteps >= total
                evaluates = last or self.rounds % config.eval_interval == 0
                if evaluates or self.rounds % config.log_interval == 0:
                    row = self.log_row()
                    elapsed = time.monotonic() - start
                    row["time/fps"] = (self.num_timesteps - steps_before) * self.num_runs / elapsed
                    row["time/time_elapsed"] = elapsed
                    if evaluates:
                        evaluation = evaluate(self.agent, self.eval_env, self.num_runs)
                        row |= _to_numpy(evaluation.metrics())
                        good = float(evaluation.success.min()) >= config.stop_success > 0
                        self.good_evaluations = self.good_evaluations + 1 if good else 0
                        self.solved = self.good_evaluations >= EVALUATIONS_TO_STOP
                        self._map_values(self.solved or last)
                    writer.write(self.num_timesteps, row)
                    progress.update(self.num_timesteps, **_headline(row))
                    if evaluation is not None and time.monotonic() - drawn >= PICTURE_SECONDS:
                        self._save_pictures(run_dir, evaluation, writer, self.seeds[:1])
                        drawn = time.monotonic()
                if last or self.solved or self.rounds % config.save_interval == 0:
                    self.save(run_dir)
            if evaluation is not None:
                self._save_pictures(run_dir, evaluation, writer, self.seeds)

    def log_row(self) -> dict[str, Float[np.ndarray, "run"] | float]:
        """Metrics by tag, read back from the device, and checked.

        Raises:
            FloatingPointError: If one of the losses is not finite, or an action was nan.
        """
        row = _to_numpy({**self.round.metrics(), **self.agent.metrics()})
        row |= _to_numpy({"goal/alpha": self.selector_state.alpha, "goal/beta": self.selector_state.beta})
        row["train/n_updates"] = float(max(0, self.rounds - self.idle_rounds) * self.config.gradient_steps)
        for tag, value in row.items():
            self._check_finite(tag, np.isfinite(np.atleast_1d(value)))
        invalid = getattr(self.env, "invalid_actions", None)
        if invalid is not None and bool(invalid.any()):
            raise FloatingPointError(f"{int(invalid.sum())} environments were given actions that are not numbers")
        row |= self._monitor()
        chosen = self.round.goals.masked_fill(self.round.use_target[..., None], torch.nan)
        self.snapshots.goals.add(self.num_timesteps, chosen, self.round.reached)
        return row

    def _map_values(self, last: bool) -> None:
        if last or self.snapshots.maps.wants(self.num_timesteps):
            state = self.round
            found = map_values(self.agent, self.buffer, self.space, state.observation[:, 0], state.targets[:, 0])
            self.snapshots.maps.add(self.num_timesteps, *found)

    def _monitor(self) -> dict[str, Float[np.ndarray, "run"] | float]:
        """What the environments counted since the last call, summed over those of a run; see ``Monitored``."""
        monitor = getattr(self.env, "monitor", None)
        counts = {} if monitor is None else monitor()
        return _to_numpy({tag: count.unflatten(0, (self.num_runs, -1)).sum(1) for tag, count in counts.items()})

    def _check_finite(self, name: str, finite: Bool[np.ndarray, "run"]) -> None:
        if not finite.all():
            raise FloatingPointError(
                f"{name} is not finite in the run of seed {self.seeds[int(finite.argmin())]} after "
                f"{self.num_timesteps} steps; lower agent.learning_rate, or look at what the environment returns"
            )

    def _save_pictures(self, run_dir: Path, evaluation: Evaluation, writer: MetricsWriter, drawn: list[int]) -> None:
        title = f"{self.config.selector.name} on {environment_name(dataclasses.asdict(self.config.env))}"
        figures = save_pictures(
            run_dir, self.seeds, self.snapshots.goals, self.eval_env, evaluation.achieved, title, drawn
        )
        for seed, figure in figures.items():
            writer.figure(self.num_timesteps, "goal/curriculum", figure, seed)

    # -- checkpoints -------------------------------------------------------------------------------------

    def _all_generators(self) -> dict[str, torch.Generator]:
        return {**self.generators, "env": self.env.generator, "eval_env": self.eval_env.generator}

    def _selector_tensors(self) -> dict[str, Tensor]:
        return {f"selector/{name}": value for name, value in self.selector_state._asdict().items()}

    def save(self, run_dir: Path) -> None:
        """Write the networks, and everything that training goes on from.

        Raises:
            OSError: If a file cannot be written; the old one is unchanged.
            FloatingPointError: If a parameter is not finite; the old files are unchanged.
        """
        for name, tensor in self.agent.parameters().items():
            self._check_finite(name, tensor.isfinite().flatten(1).all(1).cpu().numpy())
        note = {
            "rounds": self.rounds,
            "num_timesteps": self.num_timesteps,
            "seeds": self.seeds,
            "rounds_added": self.buffer.rounds_added,
            "solved": self.solved,
            "good_evaluations": self.good_evaluations,
        }
        save_checkpoint(run_dir / MODEL, self.agent.parameters(), note)
        self.snapshots.save(run_dir, note)
        ended = self.solved or self.stopped or self.num_timesteps >= self.config.num_timesteps
        if ended and not self.config.keep_checkpoint:
            save_checkpoint(run_dir / CHECKPOINT, {}, {**note, "only_note": True})
            return
        tensors = {
            **self.agent.parameters(),
            **self.agent.state(),
            **generator_tensors(self._all_generators()),
            **self.snapshots.tensors(),
            "buffer/rows": self.buffer.filled(),
            **self._selector_tensors(),
        }
        save_checkpoint(run_dir / CHECKPOINT, tensors, note)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: If it cannot be used.
        """
        tensors, note = load_checkpoint(path, self.device)
        if note.get("only_note"):
            raise CheckpointError(
                f"checkpoint {path}: the run was finished with keep_checkpoint=false, so that it cannot be trained "
                "further; start afresh with resume=never"
            )
        try:
            self.agent.load(tensors)
            self.buffer.restore(tensors["buffer/rows"], note["rounds_added"])
            copy_into(self._selector_tensors(), tensors)
            self.agent.settle(self.selector_state.mastery)
            self.snapshots = Snapshots.from_tensors(tensors)
            self.rounds, self.good_evaluations = note["rounds"], note.get("good_evaluations", 0)
        except KeyError as error:
            raise CheckpointError(f"checkpoint {path}: {error} is missing; it is incomplete") from error
        except ValueError as error:
            raise CheckpointError(f"checkpoint {path}: {error}") from error
        restore_generators(self._all_generators(), tensors)


def make_trainer(config: TrainConfig) -> Trainer:
    """A trainer, and torch set up as its configuration says.

    Raises:
        ValueError: If parts of the configuration do not fit together.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    return Trainer(config)


def train(config: TrainConfig, run_dir: Path, resume: bool = False) -> Trainer:
    """Train, and return what was trained.

    Args:
        config: What to train.
        run_dir: Where everything is written, see ``run_folder``.
        resume: Whether to go on from the checkpoint in ``run_dir``.
    """
    trainer = make_trainer(config)
    trainer.run(run_dir, resume)
    return trainer


def _to_numpy(metrics: Mapping[str, Tensor]) -> dict[str, Float[np.ndarray, "run"] | float]:
    return {tag: value.float().cpu().numpy().copy() for tag, value in metrics.items()}


def _headline(row: Mapping[str, Float[np.ndarray, "run"] | float]) -> dict[str, float]:
    shown = {"success": "eval/success_rate", "goals": "goal/selected_success_rate"}
    shown |= {"alpha": "goal/alpha", "beta": "goal/beta"}
    return {name: float(np.mean(row[tag])) for name, tag in shown.items() if tag in row}
