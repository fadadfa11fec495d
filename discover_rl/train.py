"""The whole program: ``Trainer.train_round`` is the algorithm, ``Trainer.run`` what surrounds it.

choose goals -> roll out one episode per environment -> store -> learn -> adapt alpha -> log -> evaluate -> save
"""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.agents.agent import copy_into
from discover_rl.build import make_agent, make_environment, make_selector, random_sources, validate
from discover_rl.checkpoint import (
    CheckpointError,
    generator_tensors,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from discover_rl.config import TrainConfig, pick_device
from discover_rl.evaluate import Evaluation, evaluate
from discover_rl.goals import Environment, true_distance
from discover_rl.nets import Captured
from discover_rl.prior import Prior
from discover_rl.replay import Batch, ReplayBuffer, RowLayout, sample_batch, steps_to_end
from discover_rl.report import MetricsWriter, ProgressLine
from discover_rl.report.pictures import save_pictures
from discover_rl.rounds import Round, batches_per_update, exploration_scale, give_up_steps, mean_where
from discover_rl.run_folder import CHECKPOINT, MODEL, save_config
from discover_rl.selectors import Candidates, Estimate, SelectorState
from discover_rl.snapshots import Snapshots, map_values

EVALUATIONS_TO_STOP = 3  # good ones in a row, for ``stop_success``
PICTURE_SECONDS = 60.0  # at least, between two pictures of a running training; one takes about a second


class Trainer:
    """Everything that a training run holds in memory, and the algorithm.

    Args:
        config: What to train.

    Raises:
        ValueError: If parts of the configuration do not fit together.
    """

    def __init__(self, config: TrainConfig) -> None:
        validate(config)
        self.config = config
        self.device = pick_device(config.device)
        self.num_runs, self.num_envs = config.seeds, config.num_envs
        sources = random_sources(config.seed, self.device)
        self.generators = sources.generators
        self.env = make_environment(
            config.env,
            self.num_runs * self.num_envs,
            self.device,
            sources.env_seed,
            config.goal_space,
            config.target,
        )
        self.eval_env = make_environment(
            config.env,
            self.num_runs * config.eval_episodes,
            self.device,
            sources.eval_seed,
            config.goal_space,
            config.target,
        )
        self.space = self.env.goal_space
        self.num_steps = self.env.max_episode_steps
        self.agent = make_agent(config.agent, self.env, self.num_runs, sources)
        self.batches_per_update = batches_per_update(config.gradient_steps, self.agent.batch_multiple)
        self.prior = Prior(Path(config.prior), self.env, self.num_runs, self.device) if config.prior else None
        self.selector = make_selector(config.selector, self.env)
        self.layout = RowLayout(self.env.observation_dim, self.env.action_dim, self.space.dim)
        self.buffer = ReplayBuffer(
            self.num_runs, self.num_envs, self.num_steps, config.buffer_size, self.layout, self.device
        )
        if config.learning_starts > self.buffer.rows.shape[1]:
            raise ValueError(
                f"learning_starts={config.learning_starts} is more than the replay buffer ever holds "
                f"({self.buffer.rows.shape[1]} transitions, whole rounds); raise buffer_size"
            )
        self.round = Round(self.num_runs, self.num_envs, self.num_steps, self.layout, self.device)
        self.selector_state: SelectorState = self.selector.init((self.num_runs,), self.device)
        self.rounds = 0
        self.good_evaluations = 0  # in a row
        self.solved = False
        self.snapshots = Snapshots()
        # candidate c is scored from the start and to the target of environment c mod num_envs
        self._episode_of_candidate = torch.arange(config.num_candidates, device=self.device) % self.num_envs
        self._capture()

    def _capture(self) -> None:
        enabled = self.config.cudagraphs and self.device.type == "cuda"
        capture = partial(Captured, generators=[*self.generators.values(), self.env.generator], enabled=enabled)
        # an environment with a CUDA graph of its own is called step by step; its graph hides what the calls cost
        plain = not (getattr(self.env, "capturable", True) and getattr(self.space, "capturable", True))
        step_by_step = partial(capture, enabled=enabled and not plain)
        if self.config.compile:
            self.agent.compile()
        self._choose_goals = step_by_step(self.choose_goals)
        self._roll_out = step_by_step(self.roll_out)
        self._adapt = capture(self.adapt)
        # hindsight asks the goal space, which may have to ask an environment on the CPU
        learn = partial(capture, enabled=enabled and getattr(self.space, "capturable", True))
        self._update = learn(lambda: self.agent.update(self.sample()))

    # -- one round ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def choose_goals(self) -> None:
        """Start new episodes and let the selector choose the goal of each."""
        state, lead = self.round, (self.num_runs, self.num_envs)
        state.observation.copy_(self.env.reset().unflatten(0, lead))
        state.targets.copy_(self.env.targets().unflatten(0, lead))
        candidates = self.candidates()
        choice = self.selector.select(self.selector_state, candidates, self.num_envs, self.generators["goals"])
        chosen = candidates.goals.gather(1, choice.index[..., None].expand(-1, -1, self.space.dim))
        state.use_target.copy_(choice.use_target)
        state.counted.copy_(choice.counted())
        state.goals.copy_(torch.where(choice.use_target[..., None], state.targets, chosen))
        if candidates.start is not None and candidates.target is not None:
            for total, estimate in (
                (state.achievability, candidates.start.mean),
                (state.novelty, candidates.start.std),
                (state.relevance, candidates.target.mean),
            ):
                total.copy_(mean_where(estimate.gather(1, choice.index), ~choice.use_target))

    def candidates(self) -> Candidates:
        """Visited states drawn uniformly from the buffer, and what the selector wants to know of them."""
        space, state, episode = self.space, self.round, self._episode_of_candidate
        index = self.buffer.draw(self.config.num_candidates, self.generators["goals"])
        visited = self.layout.split(self.buffer.gather(index))[2]
        goals = space.achieved(visited)
        starts, targets = state.observation[:, episode], state.targets[:, episode]
        # a goal that the start has solved already teaches nothing; an empty buffer holds none
        valid = ~space.success(space.achieved(starts), goals) & (self.buffer.size > 0)
        values = self.selector.needs_values
        return Candidates(
            goals=goals,
            valid=valid,
            start=self.agent.values(starts, goals) if values else None,
            target=self._relevance(visited, goals, targets) if values else None,
            desired=state.targets,
            distance=true_distance(self.env, goals) if self.selector.needs_distance else None,
        )

    def _relevance(
        self, visited: Float[Tensor, "run cand obs"], goals: Float[Tensor, "run cand goal"], targets: Tensor
    ) -> Estimate:
        """V(g, g*) of the own critics, or of those of ``prior``."""
        return self.agent.values(visited, targets) if self.prior is None else self.prior.relevance(goals, targets)

    @torch.no_grad()
    def roll_out(self) -> None:
        """One episode of full length in every environment, or several that end early."""
        state, space, lead = self.round, self.space, (self.num_runs, self.num_envs)
        config = self.config
        observation, goal, own_target = state.observation, state.goals, state.use_target
        first = torch.ones_like(state.use_target)
        state.reached.zero_()
        came_to_target = torch.zeros_like(first)
        begins = (self.buffer.size < config.learning_starts).expand(lead)
        wander = begins
        noise = exploration_scale(own_target, config.exploration_spread, config.greedy_share)
        patience = give_up_steps(self.num_envs, self.num_steps, config.patience, self.device)
        age = torch.zeros_like(first, dtype=torch.float32)
        for t in range(self.num_steps):
            if config.patience < 1:
                wander = wander | ((age >= patience) & ~own_target)
                age = age + 1
            policy, random = self.agent.explore(observation, goal, noise), self.random_actions(lead)
            action = torch.where(wander[..., None], random, policy)
            step = self.env.step(action.flatten(0, 1))
            following = step.observation.unflatten(0, lead)
            achieved = space.achieved(following)
            reached = space.success(achieved, goal)
            state.reached |= reached & first
            came_to_target |= space.success(achieved, state.targets) & first
            terminated = step.terminated.unflatten(0, lead)
            columns = [observation, action, following, goal, terminated[..., None].float()]
            state.block[:, t, :, :-1] = torch.cat(columns, dim=-1)
            if config.after_goal == "random":
                wander = wander | (reached & ~own_target)
            elif config.after_goal == "target":
                goal = torch.where(reached[..., None], state.targets, goal)
            elif config.after_goal == "next":
                goal = torch.where((reached & ~own_target)[..., None], goal.roll(1, dims=1), goal)
            observation = following
            ended = terminated | step.truncated.unflatten(0, lead)
            if self.env.terminate_on_success:
                ended = ended | reached
            state.done[:, t] = ended
            if self.env.ends_early or self.env.terminate_on_success:
                observation = self.env.reset(ended.flatten()).unflatten(0, lead)
                wander = torch.where(ended, begins, wander)
                age = torch.where(ended, 0.0, age)
                # an episode that begins in the middle of a round keeps the chosen goal, or has a target of its own
                state.targets.copy_(self.env.targets().unflatten(0, lead))
                state.goals.copy_(torch.where(own_target[..., None], state.targets, state.goals))
                goal = torch.where(ended[..., None], state.goals, goal)
                first = first & ~ended
        state.block[..., -1] = steps_to_end(state.done)
        state.selected_success.copy_(mean_where(state.reached.float(), state.counted))
        state.commanded_success.copy_(mean_where(state.reached.float(), state.use_target))
        state.target_success.copy_(came_to_target.float().mean(1))

    def random_actions(self, lead: tuple[int, int]) -> Float[Tensor, "run env act"]:
        """Uniform in [-1, 1]."""
        shape = (*lead, self.env.action_dim)
        return torch.rand(shape, device=self.device, generator=self.generators["explore"]) * 2 - 1

    def sample(self) -> Batch:
        """Relabelled batches for one call of the learner: many at once, for each draw is dozens of operations."""
        drawn = sample_batch(
            self.buffer,
            self.batches_per_update * self.config.batch_size,
            self.space,
            self.round.targets,
            self.config.hindsight,
            self.agent.goal_is_terminal,
            self.generators["replay"],
        )
        return drawn.unflatten(self.batches_per_update)

    @torch.no_grad()
    def adapt(self) -> None:
        """Let the selector learn from the share of its goals that were achieved."""
        adapted = self.selector.update(self.selector_state, self.round.selected_success, self.round.commanded_success)
        for old, new in zip(self.selector_state, adapted, strict=True):
            old.copy_(new)
        self.agent.settle(self.selector_state.mastery)

    def learn(self) -> None:
        """The gradient steps of a round."""
        for _ in range(self.config.gradient_steps // self.batches_per_update):
            self._update()

    def train_round(self) -> None:
        """One round of the algorithm."""
        self._choose_goals()
        self._roll_out()
        self.buffer.add(self.round.block)
        if self.num_timesteps >= self.config.learning_starts:  # what random actions achieve says nothing of the goals
            self.learn()
            self._adapt()
        self.rounds += 1

    # -- the run -----------------------------------------------------------------------------------------

    @property
    def num_timesteps(self) -> int:
        """Environment steps of each run so far."""
        return self.rounds * self.buffer.round_size

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
            while self.num_timesteps < total and not self.solved:
                self.train_round()
                evaluates = self._due(config.eval_interval, total)
                if evaluates or self._due(config.log_interval, total):
                    row = self.log_row()
                    elapsed = time.monotonic() - start
                    row["time/fps"] = (self.num_timesteps - steps_before) * self.num_runs / elapsed
                    row["time/time_elapsed"] = elapsed
                    if evaluates:
                        evaluation = evaluate(self.agent, self.eval_env, self.num_runs)
                        self._monitor(self.eval_env)
                        row |= _to_numpy(evaluation.metrics())
                        good = float(evaluation.success.min()) >= config.stop_success > 0
                        self.good_evaluations = self.good_evaluations + 1 if good else 0
                        self.solved = self.good_evaluations >= EVALUATIONS_TO_STOP
                        self._map_values(self.solved or self.num_timesteps >= total)
                    writer.write(self.num_timesteps, row)
                    progress.update(self.num_timesteps, **_headline(row))
                    if evaluation is not None and time.monotonic() - drawn >= PICTURE_SECONDS:
                        self._save_pictures(run_dir, evaluation, writer, self.seeds[:1])
                        drawn = time.monotonic()
                if self._due(config.save_interval, total) or self.solved:
                    self.save(run_dir)
            if evaluation is not None:
                self._save_pictures(run_dir, evaluation, writer, self.seeds)

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [self.config.seed + run for run in range(self.num_runs)]

    def _due(self, interval: int, total: int) -> bool:
        return self.rounds % interval == 0 or self.num_timesteps >= total

    def log_row(self) -> dict[str, Float[np.ndarray, "run"] | float]:
        """Metrics by tag, read back from the device, and checked.

        Raises:
            FloatingPointError: If one of the losses is not finite, or an action was nan.
        """
        row = _to_numpy({**self.round.metrics(), **self.agent.metrics()})
        row |= _to_numpy({"goal/alpha": self.selector_state.alpha, "goal/beta": self.selector_state.beta})
        random_rounds = math.ceil(self.config.learning_starts / self.buffer.round_size)
        row["train/n_updates"] = float(max(0, self.rounds - random_rounds) * self.config.gradient_steps)
        for tag, value in row.items():
            self._check_finite(tag, np.isfinite(np.atleast_1d(value)))
        invalid = getattr(self.env, "invalid_actions", None)
        if invalid is not None and bool(invalid.any()):
            raise FloatingPointError(f"{int(invalid.sum())} environments were given actions that are not numbers")
        row |= self._monitor(self.env)
        chosen = self.round.goals.masked_fill(self.round.use_target[..., None], torch.nan)
        self.snapshots.goals.add(self.num_timesteps, chosen, self.round.reached)
        return row

    def _map_values(self, last: bool) -> None:
        if last or self.snapshots.maps.wants(self.num_timesteps):
            state = self.round
            found = map_values(self.agent, self.buffer, self.space, state.observation[:, 0], state.targets[:, 0])
            self.snapshots.maps.add(self.num_timesteps, *found)

    def _monitor(self, env: Environment) -> dict[str, Float[np.ndarray, "run"] | float]:
        """What the environment counted since the last call, summed over those of a run; see ``Monitored``."""
        monitor = getattr(env, "monitor", None)
        counts = {} if monitor is None else monitor()
        return _to_numpy({tag: count.unflatten(0, (self.num_runs, -1)).sum(1) for tag, count in counts.items()})

    def _check_finite(self, name: str, finite: Bool[np.ndarray, "run"]) -> None:
        if not finite.all():
            raise FloatingPointError(
                f"{name} is not finite in the run of seed {self.seeds[int(finite.argmin())]} after "
                f"{self.num_timesteps} steps; lower agent.learning_rate, or look at what the environment returns"
            )

    def _save_pictures(self, run_dir: Path, evaluation: Evaluation, writer: MetricsWriter, drawn: list[int]) -> None:
        title = f"{self.config.selector.name} on {self.config.env.name}"
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
        if not self.config.keep_checkpoint and (self.solved or self.num_timesteps >= self.config.num_timesteps):
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


def train(config: TrainConfig, run_dir: Path, resume: bool = False) -> Trainer:
    """Train, and return what was trained.

    Args:
        config: What to train.
        run_dir: Where everything is written, see ``run_folder``.
        resume: Whether to go on from the checkpoint in ``run_dir``.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    trainer = Trainer(config)
    trainer.run(run_dir, resume)
    return trainer


def _to_numpy(metrics: Mapping[str, Tensor]) -> dict[str, Float[np.ndarray, "run"] | float]:
    return {tag: value.float().cpu().numpy().copy() for tag, value in metrics.items()}


def _headline(row: Mapping[str, Float[np.ndarray, "run"] | float]) -> dict[str, float]:
    shown = {"success": "eval/success_rate", "goals": "goal/selected_success_rate", "alpha": "goal/alpha"}
    return {name: float(np.mean(row[tag])) for name, tag in shown.items() if tag in row}
