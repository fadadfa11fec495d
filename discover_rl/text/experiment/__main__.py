"""``python -m discover_rl.text.experiment``: pilot, then all curricula against each other."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from discover_rl.report.atomic import write_atomically
from discover_rl.text.curricula import CURRICULA
from discover_rl.text.experiment.levels import NULL_TARGET, TARGETS
from discover_rl.text.experiment.practice import DIRECT, EASIER, Job, Settings, prepare, quiet
from discover_rl.text.experiment.table import draw, main_table, pilot_table
from discover_rl.text.experiment.workers import Crew

ARMS = (
    "discover",
    "uniform",
    "sift",
    "achievable_sift",
    "easiest",
    "learnability",
    "no_novelty",
    "fixed_alpha",
    "oracle",
)
PILOT_RATES = (1e-5, 5e-6, 3e-6)
PILOT_STEPS, MAIN_STEPS = 60, 80
PILOT, SUGGESTION = "pilot", "pilot.json"


def pilot_jobs(targets: Sequence[str], rates: Sequence[float]) -> list[list[Job]]:
    """For each learning rate and candidate: its own level, and the levels below it."""
    return [[Job(target, arm, lr, 0, PILOT)] for lr in rates for arm in (EASIER, DIRECT) for target in targets]


def main_jobs(targets: Sequence[str], arms: Sequence[str], lr: float, seeds: int) -> list[list[Job]]:
    """All arms of a target and seed together, so that where time is short seeds are missing and not arms."""
    return [[Job(target, arm, lr, seed, "main") for arm in arms] for seed in range(seeds) for target in targets]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stage, print its table."""
    start = time.monotonic()
    given = _parser().parse_args(arguments)
    quiet()
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    pilot = given.stage == PILOT
    steps = given.steps or (PILOT_STEPS if pilot else MAIN_STEPS)
    settings = Settings(
        model=given.model,
        levels=given.levels,
        work=given.work or str(out / "work"),
        out=str(out),
        device="cpu" if given.gpus == 0 else "cuda",
        steps=steps,
        batch_size=given.batch_size,
        attempts=given.attempts,
        micro_batch=given.micro_batch,
        eval_interval=given.eval_interval or max(1, steps // (2 if pilot else 4)),
        eval_tasks=given.eval_tasks,
        eval_samples=given.eval_samples,
        warmup_steps=given.warmup_steps,
    )
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    base = prepare(settings)
    torch.cuda.empty_cache()
    _say(start, f"prepared; {base['seconds']}, loss of the warm-up {base['warmup_loss']:.2f}")
    if pilot or given.show_levels:
        _print_levels(base["levels"])
    blocks = _pilot_blocks(given) if pilot else _main_blocks(given, out)
    todo = [[job for job in block if not job.path(out).exists()] for block in blocks]
    _say(start, f"{sum(map(len, todo))} of {sum(map(len, blocks))} runs to do, at lr {sorted({j.lr for b in blocks for j in b})}")
    places = [gpu for _ in range(given.workers_per_gpu) for gpu in (range(given.gpus) if given.gpus else [None])]
    deadline = start + 60 * given.minutes - given.spare
    crew = Crew(settings, places, deadline, lambda line: _say(start, line))
    if any(todo):
        crew.run(todo)
    if pilot:
        lines, suggestion = pilot_table(out)
        write_atomically(out / SUGGESTION, json.dumps(suggestion).encode())
        lines += ["", f"suggested: {suggestion}"]
    else:
        lines, data = main_table(out)
        write_atomically(out / "table.json", json.dumps(data, indent=1).encode())
        draw(out, out / "curves.png")
    write_atomically(out / f"{given.stage}_table.md", "\n".join([*lines, ""]).encode())
    print("\n" + "\n".join(lines), flush=True)
    _say(start, f"{len(crew.failed)} runs failed" if crew.failed else "done")
    return 1 if crew.failed else 0


def _pilot_blocks(given: argparse.Namespace) -> list[list[Job]]:
    targets = given.targets or [name for name, target in TARGETS.items() if not target.null]
    return pilot_jobs(targets, given.lr or PILOT_RATES)


def _main_blocks(given: argparse.Namespace, out: Path) -> list[list[Job]]:
    found = json.loads((out / SUGGESTION).read_text()) if (out / SUGGESTION).is_file() else {}
    targets = given.targets or [*found.get("targets", ("products 1x2", "chain_sum 2x2", "leg_counting 2")), NULL_TARGET]
    rates = given.lr or [found.get("lr", 1e-5)]
    if len(rates) > 1:
        raise SystemExit("stage main takes one learning rate")
    return main_jobs(targets, given.arms, rates[0], given.seeds)


def _print_levels(levels: dict) -> None:
    print("\n| level | pass rate | greedy | most frequent answer | e.g. |\n|---|---|---|---|---|")
    for name, level in levels.items():
        prompt, answer, *texts = level["example"]
        said = " ".join(prompt.split())[-40:]
        print(
            f"| {name} | {level['pass_rate']:.1%} | {level['greedy']:.1%} | {level['most_frequent_answer']:.1%} "
            f"| …{said} {answer}: {texts[:3]} |"
        )
    print(flush=True)


def _say(start: float, line: str) -> None:
    print(f"[{time.monotonic() - start:5.0f} s] {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m discover_rl.text.experiment",
        description="Practises a small language model on curricula for targets, all from one start, and compares them.",
    )
    parser.add_argument("--stage", choices=(PILOT, "main"), required=True)
    parser.add_argument("--levels", required=True, help="file made by python -m discover_rl.text.experiment.levels FILE")
    parser.add_argument("--model", default="smollm2", help="Hugging Face name, folder, GGUF file, or smollm2")
    parser.add_argument("--out", default="runs/text_experiment", help="results; runs found there are not repeated")
    parser.add_argument("--work", default="", help="warm model and embeddings, made once; OUT/work if empty")
    parser.add_argument("--minutes", type=float, default=8.0, help="everything ends after that time")
    parser.add_argument("--spare", type=float, default=8.0, help="seconds of it kept for the table")
    parser.add_argument("--gpus", type=int, default=1, help="0: on the CPU")
    parser.add_argument("--workers-per-gpu", type=int, default=4)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=[])
    parser.add_argument("--arms", nargs="+", choices=list(CURRICULA), default=list(ARMS))
    parser.add_argument("--lr", nargs="+", type=float, default=[], help="pilot: all of them; main: one")
    parser.add_argument("--seeds", type=int, default=5, help="most; fewer where time is short")
    parser.add_argument("--steps", type=int, default=0, help=f"batches a run; 0: {PILOT_STEPS}, or {MAIN_STEPS} in main")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=128)
    parser.add_argument("--eval-interval", type=int, default=0, help="0: half the steps, or a quarter in main")
    parser.add_argument("--eval-tasks", type=int, default=256)
    parser.add_argument("--eval-samples", type=int, default=4)
    parser.add_argument("--warmup-steps", type=int, default=60)
    parser.add_argument("--show-levels", action="store_true", help="pass rate of every level, in main too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
