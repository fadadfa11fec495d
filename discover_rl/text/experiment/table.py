"""What the runs say: every arm, and its difference from ``discover`` with an interval.

The two figures were fixed before any run: the pass rate on the test tasks at the end of practice, and its mean over all
tests on the way there (the area under the curve).
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from discover_rl.text.experiment.levels import NULL_TARGET
from discover_rl.text.experiment.practice import DIRECT, EASIER

OURS = "discover"
RESAMPLES = 4000
FIGURES = ("end", "area")


@dataclass(frozen=True)
class Arm:
    """All runs of one arm on one target.

    Attributes:
        end, area: The two figures, for each seed and test task.
        before: Pass rate before practice.
        greedy: Greedy success at the end.
    """

    end: Float[np.ndarray, "seed task"]
    area: Float[np.ndarray, "seed task"]
    before: float
    greedy: float


def read_runs(out: Path, stage: str) -> list[dict[str, Any]]:
    """Results of a stage, in the order of their names."""
    runs = [json.loads(path.read_text()) for path in sorted((out / "runs").glob(f"{stage}-*.json"))]
    return [run for run in runs if run["job"]["stage"] == stage]


def solved(run: Mapping[str, Any]) -> Float[np.ndarray, "test task"]:
    """Pass rate of each test task at each test."""
    return np.array([[count / test["samples"] for count in test["solved"]] for test in run["evaluations"]])


def area(curve: Float[np.ndarray, "test task"], steps: Sequence[int]) -> Float[np.ndarray, "task"]:
    """Mean over the steps of practice, by the trapezoidal rule."""
    return np.trapezoid(curve, np.array(steps), axis=0) / (steps[-1] - steps[0])


def arms_of(runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, Arm]:
    """The arms of one target, over the given seeds."""
    by_arm: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for run in runs:
        by_arm[run["job"]["arm"]][run["job"]["seed"]] = run
    arms = {}
    for arm, of_seed in by_arm.items():
        if not all(seed in of_seed for seed in seeds):
            continue
        chosen = [of_seed[seed] for seed in seeds]
        curves = [solved(run) for run in chosen]
        steps = [[test["step"] for test in run["evaluations"]] for run in chosen]
        arms[arm] = Arm(
            np.stack([curve[-1] for curve in curves]),
            np.stack([area(curve, at) for curve, at in zip(curves, steps, strict=True)]),
            float(np.mean([curve[0].mean() for curve in curves])),
            float(np.mean([run["evaluations"][-1]["greedy_rate"] for run in chosen])),
        )
    return arms


def complete_seeds(runs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Seeds that every arm has, of the arms that have any."""
    have: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        have[run["job"]["arm"]].add(run["job"]["seed"])
    return sorted(set.intersection(*have.values())) if have else []


def interval(
    difference: Float[np.ndarray, "seed task"], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by a bootstrap over seeds and test tasks.

    Args:
        difference: Of paired figures.
        resamples: How often seeds and tasks are drawn again.
    """
    draw = np.random.default_rng(0)
    seeds, tasks = difference.shape
    means = np.empty(resamples)
    for number in range(resamples):
        rows = difference[draw.integers(seeds, size=seeds)].mean(0)
        means[number] = rows[draw.integers(tasks, size=tasks)].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def main_table(out: Path) -> tuple[list[str], dict[str, Any]]:
    """The table of all arms, in Markdown, and the same as plain data."""
    lines: list[str] = []
    data: dict[str, Any] = {}
    runs = read_runs(out, "main")
    for target in dict.fromkeys(run["job"]["target"] for run in runs):
        here = [run for run in runs if run["job"]["target"] == target]
        seeds = complete_seeds(here)
        if not seeds:
            lines += [f"{target}: no seed is complete yet ({len(here)} runs)", ""]
            continue
        arms = arms_of(here, seeds)
        rates = sorted({run["job"]["lr"] for run in here})
        first = next(iter(arms.values()))
        null = ", nothing should help" if target == NULL_TARGET else ""
        lines += [
            f"**{target}**{null}: {first.end.shape[1]} test tasks, {first.before:.1%} before, {len(seeds)} seeds, "
            f"{here[0]['attempts']:,} attempts a run, lr {', '.join(f'{rate:g}' for rate in rates)}, "
            f"{here[0]['device']}",
            "",
            "| curriculum | at the end | greedy | area | discover minus it, end | area |",
            "|---|---|---|---|---|---|",
        ]
        data[target] = {"seeds": seeds, "before": first.before, "arms": {}}
        for arm in sorted(arms, key=lambda name: -arms[name].end.mean()):
            this = arms[arm]
            entry: dict[str, Any] = {"greedy": this.greedy}
            cells = []
            for figure in FIGURES:
                mean, low, high = interval(getattr(this, figure))
                entry[figure] = [mean, low, high]
                cells.append(f"{mean:.1%} ({low:.1%} to {high:.1%})" if figure == "end" else f"{mean:.1%}")
            differences = ["", ""]
            if OURS in arms and arm != OURS:
                for place, figure in enumerate(FIGURES):
                    mean, low, high = interval(getattr(arms[OURS], figure) - getattr(this, figure))
                    entry[f"{figure}_difference"] = [mean, low, high]
                    sure = "**" if low > 0 or high < 0 else ""
                    differences[place] = f"{sure}{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}){sure}"
            data[target]["arms"][arm] = entry
            lines.append(f"| {arm} | {cells[0]} | {this.greedy:.1%} | {cells[1]} | {' | '.join(differences)} |")
        lines.append("")
    return lines, data


def pilot_table(out: Path) -> tuple[list[str], dict[str, Any]]:
    """What direct training and easier levels do for each candidate, and which targets and learning rate that suggests.

    The suggestion looks at uniform practice of easier levels only, never at the curricula that will be compared.
    """
    runs = read_runs(out, "pilot")
    cells: dict[tuple[str, float], dict[str, tuple[float, float, float, float]]] = defaultdict(dict)
    for run in runs:
        curve = solved(run).mean(1)
        job, last = run["job"], run["history"][-10:]
        distinct = float(np.mean([row["text/distinct_answers"] for row in last]))
        low_high = interval((solved(run)[-1] - solved(run)[0])[None])
        cells[job["target"], job["lr"]][job["arm"]] = (curve[0], curve[-1], low_high[1], distinct)
    lines = [
        "| target | lr | before | direct | distinct | easier levels | 95 % above | distinct |",
        "|---|---|---|---|---|---|---|---|",
    ]
    gains: dict[float, dict[str, float]] = defaultdict(dict)
    for (target, lr), arms in sorted(cells.items()):
        parts = []
        for arm in (DIRECT, EASIER):
            if arm not in arms:
                parts += ["", ""] if arm == DIRECT else ["", "", ""]
                continue
            before, after, low, distinct = arms[arm]
            gain = f"{after:.1%} ({100 * (after - before):+.1f})"
            parts += [gain, f"{distinct:.1f}"] if arm == DIRECT else [gain, f"{100 * low:+.1f}", f"{distinct:.1f}"]
            if arm == EASIER and target != NULL_TARGET:
                gains[lr][target] = after - before
        before = next(iter(arms.values()))[0]
        lines.append(f"| {target} | {lr:g} | {before:.1%} | {' | '.join(parts)} |")
    suggestion: dict[str, Any] = {}
    if gains:
        best = max(gains, key=lambda lr: sum(sorted(gains[lr].values())[-3:]))
        ranked = sorted(gains[best], key=lambda target: -gains[best][target])
        suggestion = {"lr": best, "targets": ranked[:3]}
    return lines, suggestion


def draw(out: Path, path: Path) -> None:
    """Curves of every arm, one panel a target, in a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = read_runs(out, "main")
    targets = list(dict.fromkeys(run["job"]["target"] for run in runs))
    if not targets:
        return
    figure, axes = plt.subplots(1, len(targets), figsize=(4.2 * len(targets), 3.6), squeeze=False)
    for axis, target in zip(axes[0], targets, strict=True):
        here = [run for run in runs if run["job"]["target"] == target]
        seeds = complete_seeds(here)
        for number, arm in enumerate(sorted({run["job"]["arm"] for run in here})):
            mine = [run for run in here if run["job"]["arm"] == arm and run["job"]["seed"] in seeds]
            if not mine:
                continue
            steps = [test["step"] for test in mine[0]["evaluations"]]
            curve = np.mean([[test["pass_rate"] for test in run["evaluations"]] for run in mine], axis=0)
            ours = arm == OURS
            axis.plot(steps, curve, label=arm, lw=2.5 if ours else 1.2, color="black" if ours else f"C{number}")
        axis.set_title(target)
        axis.set_xlabel("batches practised")
    axes[0][0].set_ylabel("pass rate on the test tasks")
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
