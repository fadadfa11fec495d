"""The bench: header, sections, how to read."""

import dataclasses
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from discover_rl.bench.rows import LOOPED_ENVS, Bench, Sizes, env_rows, goal_rows, training_rows, update_rows
from discover_rl.bench.table import Printer, Row, format_rate, write_rows
from discover_rl.bench.timing import Clock, measure_ceilings
from discover_rl.config import TrainConfig, pick_device

Compose = Callable[[Sequence[str]], TrainConfig]

WITHOUT_GRAPH = "eager: the same without a CUDA graph."
HOW_TO_READ = (
    "How to read: rates are per second and count all runs and environments together; /x is ours divided by x, so 2x is "
    "twice as fast as x. The floor is the rate if the bare arithmetic ran as fast as the matrix product above, or the "
    "bare bytes as fast as the copy, whichever is slower: near 1x nothing is left to gain. It leaves out the launching "
    "of operations, so small sizes stand far below it; what fits a cache may pass it. On the CPU ours is plain torch, "
    "without graphs and kernels. Compare ratios: rates depend on the device and on what else it is doing."
)


@dataclass(frozen=True)
class Section:
    """One part of the table.

    Attributes:
        title: Heading; says what is counted.
        rows: Measures the rows, one by one.
        rivals: Columns on any device.
        cuda_rivals: Columns before them that only CUDA has.
        note: What the columns are.
        cuda_note: What those are that only CUDA has.
    """

    title: str
    rows: Callable[[Bench], Iterator[Row]]
    rivals: tuple[str, ...] = ()
    cuda_rivals: tuple[str, ...] = ()
    note: str = ""
    cuda_note: str = ""


SECTIONS = {
    "envs": Section(
        "envs: point-maze steps with random actions, success test and reset by mask",
        env_rows,
        ("loop",),
        ("eager",),
        f"loop: a Python loop over single environments in numpy, measured on {LOOPED_ENVS}; its rate is the same for "
        "any number.",
        WITHOUT_GRAPH,
    ),
    "goals": Section(
        "goals: goal choices (one for all episodes of one run) by the selector discover, values included",
        goal_rows,
        (),
        ("eager",),
        cuda_note=WITHOUT_GRAPH,
    ),
    "updates": Section(
        "updates: critic updates of one run, with drawing, relabelling, actor, optimiser and targets",
        update_rows,
        ("loop",),
        ("graph", "eager"),
        "loop: a module per network, autograd, torch.optim.Adam, a Python loop over runs; measured on 1 run, its rate "
        "in all is the same for any number.",
        "graph: plain torch operations in a CUDA graph; eager: the same without one.",
    ),
    "training": Section(
        "training: whole rounds on the 2-D maze, goal choice, rollout and updates",
        training_rows,
        ("sb3",),
        (),
        "sb3: Stable-Baselines3's TD3 with HerReplayBuffer, of the same networks, ensemble, batch size, environments "
        "and updates per step; runs go one after another there, so its rate in all is that of 1 run.",
    ),
}


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        quick: Small sizes, a few seconds.
        only: Sections.
        seconds: Seconds that one figure is measured, about.
        file: Where the rows are written too, as CSV or JSON; None for nowhere.
    """

    device: str = "auto"
    quick: bool = False
    only: tuple[str, ...] = tuple(SECTIONS)
    seconds: float = 0.3
    file: Path | None = None


def run(options: Options, compose: Compose) -> list[Row]:
    """Measure and print; returns the rows.

    Args:
        options: What to measure.
        compose: Builds a training configuration from command-line overrides.

    Raises:
        ValueError: If there is no such device.
        OSError: If the file cannot be written.
    """
    configs = {label: compose(overrides) for label, overrides in _mazes(options.quick).items()}
    plain = dataclasses.replace(next(iter(configs.values())), device=options.device)
    device = pick_device(plain.device)
    rows: list[Row] = []
    if options.file is not None:
        write_rows(options.file, rows)  # to fail now rather than at the end
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if plain.tf32 else "highest")
    try:
        printer = Printer()
        clock = Clock(device, options.seconds)
        printer.line(_first_line(device, plain.tf32))
        ceilings = measure_ceilings(clock, options.quick)
        printer.line(
            f"ceilings measured here: float32 matrix product {format_rate(ceilings.flops)}flop/s, copy within the "
            f"device {format_rate(ceilings.bytes)}B/s (read plus written)"
        )
        mazes = {label: config.env for label, config in configs.items()}
        bench = Bench(mazes, plain, clock, ceilings, pick_sizes(device, plain, options.quick))
        for name in options.only:
            for row in _print_section(SECTIONS[name], bench, printer):
                rows.append(row)
                if options.file is not None:
                    write_rows(options.file, rows)
        printer.line()
        printer.paragraph(HOW_TO_READ)
    finally:
        torch.set_float32_matmul_precision(precision)
    return rows


def _print_section(section: Section, bench: Bench, printer: Printer) -> Iterator[Row]:
    rivals = (*section.cuda_rivals, *section.rivals) if bench.on_cuda else section.rivals
    printer.begin(section.title, rivals)
    for row in section.rows(bench):
        printer.row(row)
        yield row
    printer.end()
    for note in (section.note, section.cuda_note if bench.on_cuda else ""):
        if note:
            printer.paragraph(note, indent="  ")


def _mazes(quick: bool) -> dict[str, list[str]]:
    """Overrides that give the mazes, by label."""
    smaller = ["env.radius=2", "env.corridors=100"] if quick else []
    return {"2-D": ["env=point_maze/2d"], "6-D": ["env=point_maze/6d", *smaller]}


def pick_sizes(device: torch.device, plain: TrainConfig, quick: bool) -> Sizes:
    """What fits the device and the time there is.

    Args:
        device: On the CPU, rounds of training are cut to an eighth.
        plain: The default configuration.
        quick: Some twenty seconds on two CPU cores.
    """
    if quick:
        return Sizes(
            networks=((64, 64),),
            num_envs=(64, 1_024),
            num_candidates=500,
            choosing_runs=(1, 2),
            batch_sizes=(64,),
            updating_runs=(1, 2),
            training_runs=(1, 2),
            round_share=1 / 16,
            updates_of_sb3=20,
        )
    networks = (tuple(plain.agent.hidden_sizes), (256, 256))  # the second as in the paper
    return Sizes(networks, round_share=1.0 if device.type == "cuda" else 1 / 8)


def _first_line(device: torch.device, tf32: bool) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        name = f"cpu ({platform.machine()}, {capability}, {torch.get_num_threads()} threads)"
    return (
        f"discover-rl {version('discover-rl')} on {name}, torch {torch.__version__}, "
        f"tf32 {'on' if tf32 and device.type == 'cuda' else 'off'}"
    )
