"""What is measured: one generator of rows for each section."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from discover_rl.agents import TD3
from discover_rl.agents.td3_update import PlainUpdate
from discover_rl.bench.floors import Shape, Work, acting_work, choice_work, env_step_work, update_work
from discover_rl.bench.rivals import LoopUpdate, MazeRules, loop_of_mazes, make_sb3
from discover_rl.bench.table import Figure, Row
from discover_rl.bench.timing import SLACK, Ceilings, Clock
from discover_rl.build import make_environment
from discover_rl.config import TrainConfig
from discover_rl.goals import Environment
from discover_rl.nets import Captured
from discover_rl.replay import RowLayout, steps_to_end
from discover_rl.rounds import MAX_BATCHES
from discover_rl.train import Trainer

CPU = torch.device("cpu")
STEPS_AT_ONCE = 10  # environment steps in a call: a graph of several
LOOPED_ENVS = 16  # single environments that the Python loop is measured on
BUFFER_SIZE = 50_000  # transitions per run, where replay is only drawn from


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        num_envs: Environments.
        num_candidates: Candidates of a goal choice.
        choosing_runs: Stacked runs that choose goals.
        networks: Hidden widths of actor and critics for the updates; the other sections use the first.
        batch_sizes: Transitions of an update.
        updating_runs: Stacked runs that learn.
        training_runs: Stacked runs that train.
        round_share: Share of a default round that is trained: of its environments, updates and candidates.
        updates_of_sb3: Updates of Stable-Baselines3 in a call, about.
    """

    networks: Sequence[Sequence[int]]
    num_envs: Sequence[int] = (64, 4_096, 65_536)
    num_candidates: int = 10_000
    choosing_runs: Sequence[int] = (1, 10)
    batch_sizes: Sequence[int] = (64, 256)
    updating_runs: Sequence[int] = (1, 4, 16, 64)
    training_runs: Sequence[int] = (1, 10)
    round_share: float = 1.0
    updates_of_sb3: int = 100


@dataclass(frozen=True)
class Bench:
    """What the sections share.

    Attributes:
        mazes: Configurations of the environments, by label.
        plain: Configuration of a training on the first of them, with default values.
        clock: Measures.
        ceilings: Of the device.
        sizes: What is measured.
    """

    mazes: Mapping[str, Any]
    plain: TrainConfig
    clock: Clock
    ceilings: Ceilings
    sizes: Sizes

    @property
    def device(self) -> torch.device:
        """Where everything is measured."""
        return self.clock.device

    @property
    def on_cuda(self) -> bool:
        """Whether there are CUDA graphs and fused kernels to tell apart from the plain way."""
        return self.device.type == "cuda"

    def config(self, hidden_sizes: Sequence[int] | None = None, **changes: Any) -> TrainConfig:  # noqa: ANN401
        """The training configuration for this device, changed."""
        agent = dataclasses.replace(self.plain.agent, hidden_sizes=list(hidden_sizes or self.sizes.networks[0]))
        changes = {"device": str(self.device), "eval_episodes": 1, **changes}
        return dataclasses.replace(self.plain, agent=agent, **changes)

    def graphed(self, make: Callable[[bool], Callable[[], object]], count: int, floor: float) -> dict[str, Figure]:
        """``ours``: captured on CUDA; and there also ``eager``.

        Args:
            make: Builds the function to time, captured or not.
            count: What one call does.
            floor: Floor of a call in seconds.
        """
        ways = {"ours": True, "eager": False} if self.on_cuda else {"ours": False}
        return {name: self.clock.figure(partial(make, captured), count, floor) for name, captured in ways.items()}


# -- environments --------------------------------------------------------------------------------------------


def env_rows(bench: Bench) -> Iterator[Row]:
    """Steps with random actions, success test and reset by mask."""
    for label, config in bench.mazes.items():
        rules = MazeRules.of(make_environment(config, 1, CPU, 0))
        loop = bench.clock.figure(partial(loop_of_mazes, rules, LOOPED_ENVS), LOOPED_ENVS)
        floor = bench.ceilings.seconds(env_step_work(len(rules.target)))
        for num_envs in bench.sizes.num_envs:
            env = make_environment(config, num_envs, bench.device, 0)
            count = num_envs * STEPS_AT_ONCE
            ways = bench.graphed(partial(env_steps, env), count, floor * count)
            ours = ways.pop("ours")
            yield Row("envs", f"{label}, {num_envs:,} envs", "env steps", ours, 1 / floor, ways | {"loop": loop})


def env_steps(env: Environment, captured: bool) -> Captured:
    """Some steps of all environments; where the target is reached, an episode begins."""
    generator = torch.Generator(env.device).manual_seed(0)
    solved = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)

    def steps() -> None:
        for _ in range(STEPS_AT_ONCE):
            action = torch.rand(env.num_envs, env.action_dim, device=env.device, generator=generator) * 2 - 1
            achieved = env.goal_space.achieved(env.step(action).observation)
            reached = env.goal_space.success(achieved, env.targets())
            solved.logical_or_(reached)
            env.reset(reached)

    return Captured(steps, [generator, env.generator], enabled=captured)


# -- goals ---------------------------------------------------------------------------------------------------


def goal_rows(bench: Bench) -> Iterator[Row]:
    """Goal choices of the default selector, the values of its candidates included."""
    for runs in bench.sizes.choosing_runs:
        config = bench.config(seeds=runs, num_candidates=bench.sizes.num_candidates, buffer_size=BUFFER_SIZE)
        shape, width = dimensions(config)
        floor = bench.ceilings.seconds(choice_work(shape, config.num_candidates, width).times(runs))
        ways = bench.graphed(partial(goal_choice, config), runs, floor)
        yield Row("goals", _runs(runs), "goal choices", ways.pop("ours"), runs / floor, ways)


def goal_choice(config: TrainConfig, captured: bool) -> Captured:
    """The goal choice of a trainer with a full buffer."""
    trainer = filled_trainer(config)
    return Captured(trainer.choose_goals, [*trainer.generators.values(), trainer.env.generator], enabled=captured)


# -- updates -------------------------------------------------------------------------------------------------


def update_rows(bench: Bench) -> Iterator[Row]:
    """Updates with all that belongs to them: drawing, relabelling, losses, optimiser, targets."""
    for hidden_sizes in bench.sizes.networks:
        for batch_size in bench.sizes.batch_sizes:
            config = bench.config(hidden_sizes, batch_size=batch_size, buffer_size=BUFFER_SIZE, learning_starts=0)
            work, delay = update_work(dimensions(config)[0], batch_size), config.agent.policy_delay
            looped = dataclasses.replace(config, gradient_steps=delay)
            loop = bench.clock.figure(partial(looped_updates, looped), delay, bench.ceilings.seconds(work) * delay)
            for runs in bench.sizes.updating_runs:
                floor = bench.ceilings.seconds(work.times(runs))
                # as many batches in a draw as in training, unless that takes too long
                long = not bench.on_cuda and SLACK * floor * MAX_BATCHES > bench.clock.seconds
                count = delay if long else MAX_BATCHES
                stacked = dataclasses.replace(config, seeds=runs, gradient_steps=count)
                ways = {
                    name: bench.clock.figure(partial(updates, stacked, *how), runs * count, floor * count)
                    for name, how in _ways_to_update(bench.on_cuda).items()
                }
                what = f"{_runs(runs)}, batch {batch_size}, {_layers(hidden_sizes)}"
                yield Row("updates", what, "updates", ways.pop("ours"), runs / floor, ways | {"loop": loop})


def _ways_to_update(on_cuda: bool) -> dict[str, tuple[bool, bool]]:
    """Whether fused and whether captured, by name."""
    ours = {"ours": (True, True)}
    return ours | {"graph": (False, True), "eager": (False, False)} if on_cuda else ours


def updates(config: TrainConfig, fused: bool, captured: bool) -> Callable[[], None]:
    """The learning of a trainer with a full buffer: ``gradient_steps`` updates, drawn at once."""
    agent = dataclasses.replace(config.agent, fused=fused)
    return filled_trainer(dataclasses.replace(config, agent=agent, cudagraphs=captured)).learn


def looped_updates(config: TrainConfig) -> Callable[[], None]:
    """The same with an update that is a Python loop."""
    agent_config = dataclasses.replace(config.agent, fused=False)
    trainer = filled_trainer(dataclasses.replace(config, agent=agent_config, cudagraphs=False))
    agent = trainer.agent
    if not isinstance(agent, TD3) or not isinstance(agent.learner, PlainUpdate):
        raise TypeError("bench: the default agent is no longer TD3; teach LoopUpdate the new one")
    agent.learner = LoopUpdate(agent.networks, agent.config, agent.learner.value_max)
    return trainer.learn


# -- training ------------------------------------------------------------------------------------------------


def training_rows(bench: Bench) -> Iterator[Row]:
    """Whole rounds of training beside Stable-Baselines3."""
    share = bench.sizes.round_share
    parts = {key: round(getattr(bench.plain, key) * share) for key in ("num_envs", "gradient_steps", "num_candidates")}
    env = make_environment(bench.plain.env, 1, CPU, 0)
    round_size = parts["num_envs"] * env.max_episode_steps
    config = bench.config(**parts, learning_starts=round_size)
    work = round_work(config, round_size)
    # a round and a hundred updates take a while
    clock = dataclasses.replace(bench.clock, seconds=4 * bench.clock.seconds)
    rival_steps = config.num_envs * math.ceil(
        bench.sizes.updates_of_sb3 * env.max_episode_steps / config.gradient_steps
    )
    sb3 = clock.figure(partial(steps_of_sb3, config, MazeRules.of(env), bench.device, rival_steps), rival_steps, 0, 1)
    default = f"{bench.plain.num_envs} and {bench.plain.gradient_steps}"
    cut = f"cut to rounds of {config.num_envs} envs and {config.gradient_steps} updates, from {default}"
    note = cut if share < 1 else ""
    for runs in bench.sizes.training_runs:
        floor, count = bench.ceilings.seconds(work.times(runs)), runs * round_size
        warmups = None if bench.on_cuda else 0  # on CUDA every part of a round is captured at its fourth call
        ours = clock.figure(partial(training_rounds, dataclasses.replace(config, seeds=runs)), count, floor, warmups)
        steps = Row(
            "training",
            f"{_runs(runs)}: env steps",
            "env steps",
            ours,
            count / floor,
            {"sb3": sb3},
            note if share < 1 else "",
        )
        yield steps
        per_step = config.gradient_steps / round_size
        yield steps.scaled(f"{_runs(runs)}: updates", "updates", per_step, per_step)
        if runs > 1:
            yield steps.scaled(f"{_runs(runs)}: steps of each", "env steps of each run", 1 / runs, 1.0)


def round_work(config: TrainConfig, round_size: int) -> Work:
    """A round of one run: acting, the environment, the updates, and the goal choice."""
    shape, width = dimensions(config)
    acting = acting_work(shape, round_size, width).plus(env_step_work(shape.actor[-1]).times(round_size))
    learning = update_work(shape, config.batch_size).times(config.gradient_steps)
    return acting.plus(learning).plus(choice_work(shape, config.num_candidates, width))


def training_rounds(config: TrainConfig) -> Callable[[], None]:
    """Rounds of a trainer that begins to learn in the next one."""
    trainer = Trainer(config)
    trainer.train_round()
    return trainer.train_round


def steps_of_sb3(config: TrainConfig, rules: MazeRules, device: torch.device, count: int) -> Callable[[], object]:
    """So many environment steps of Stable-Baselines3, with their updates, learning already."""
    model = make_sb3(config, rules, device)
    model.learn(config.learning_starts + config.num_envs)
    return lambda: model.learn(count, reset_num_timesteps=False)


# -- what several sections use -------------------------------------------------------------------------------


def dimensions(config: TrainConfig) -> tuple[Shape, int]:
    """What the work of the agent follows from, and the columns of a transition."""
    env, agent = make_environment(config.env, 1, CPU, 0), config.agent
    state, action, hidden = env.observation_dim + env.goal_space.dim, env.action_dim, agent.hidden_sizes
    shape = Shape(
        (state, *hidden, action),
        (state + action, *hidden, 1),
        agent.num_critics,
        agent.target_critics,
        agent.actor_critics,
        agent.policy_delay,
    )
    return shape, RowLayout(env.observation_dim, action, env.goal_space.dim).width


def filled_trainer(config: TrainConfig) -> Trainer:
    """A trainer whose buffer is full of transitions between random places, in episodes of full length."""
    trainer = Trainer(config)
    block = torch.rand_like(trainer.round.block) * 10 - 5
    block[..., -2] = 0
    block[..., -1] = steps_to_end(trainer.round.done)
    for _ in range(trainer.buffer.num_slots):
        trainer.buffer.add(block)
    return trainer


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _layers(hidden_sizes: Sequence[int]) -> str:
    """``3x256`` for three layers of 256, ``256-128`` for unequal ones."""
    widths = set(hidden_sizes)
    return f"{len(hidden_sizes)}x{widths.pop()}" if len(widths) == 1 else "-".join(map(str, hidden_sizes))
