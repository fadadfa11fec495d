"""Equal circles in a square, packed ever better by going on from earlier packings.

python examples/circle_packing.py                  # 20 circles, two minutes
python examples/circle_packing.py --circles 10 --rounds 30 --picture packing.png

Three ways to choose which packing to go on from, with the same number of proposals: PUCT, the best one always, and the
start always.
"""

import argparse
import math
from collections.abc import Callable

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.text.solutions import Solution, Solutions

PROPOSALS = 64  # in a round

BEST_KNOWN = {10: 0.148204322565, 13: 0.133993513500, 20: 0.111382347512}
"""Radii, from the tables of Packomania (E. Specht, packomania.com)."""


def radius(centres: Float[Tensor, "circle xy"]) -> float:
    """The greatest common radius of circles with these centres, inside the unit square and without overlap."""
    wall = torch.minimum(centres, 1 - centres).min()
    if len(centres) == 1:
        return float(wall)
    return float(torch.minimum(wall, torch.pdist(centres).min() / 2))


def relaxed(centres: Float[Tensor, "attempt circle xy"], steps: int = 40) -> Float[Tensor, "attempt circle xy"]:
    """Pushed apart, each packing by itself: gradient steps on a soft minimum of all gaps, ever smaller and sharper."""
    left, right = torch.triu_indices(centres.shape[1], centres.shape[1], 1)
    for step in range(steps):
        centres = centres.detach().requires_grad_()
        apart = (centres[:, left] - centres[:, right]).square().sum(2).clamp_min(1e-12).sqrt() / 2
        gaps = torch.cat([apart, centres.flatten(1), (1 - centres).flatten(1)], 1)
        sharp = 100 * 100 ** (step / steps)
        (slope,) = torch.autograd.grad(-torch.logsumexp(-sharp * gaps, 1).sum() / sharp, centres)
        centres = (centres + 0.1 * 0.01 ** (step / steps) * slope).clamp(0, 1)
    return centres.detach()


def propose(solution: Solution, attempts: int, generator: torch.Generator) -> list[Float[Tensor, "circle xy"]]:
    """The packing with one circle put elsewhere or all of them shaken, then relaxed."""
    return list(changed(solution.value, attempts, generator))


def changed(
    centres: Float[Tensor, "circle xy"], attempts: int, generator: torch.Generator
) -> Float[Tensor, "attempt circle xy"]:
    """See ``propose``."""
    count = len(centres)
    size = 10 ** (-0.5 - 2.5 * torch.rand(attempts, 1, 1, generator=generator, dtype=centres.dtype))
    shaken = centres + size * torch.randn(attempts, count, 2, generator=generator, dtype=centres.dtype)
    for packing in shaken[::3]:
        packing[:] = centres
        packing[int(torch.randint(count, (), generator=generator))] = torch.rand(2, generator=generator).double()
    return relaxed(shaken.clamp(0, 1))


def seeds(circles: int, count: int, seed: int) -> list[Float[Tensor, "circle xy"]]:
    """Random centres."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(circles, 2, generator=generator, dtype=torch.float64) for _ in range(count)]


Search = tuple[Float[Tensor, "circle xy"], list[float]]


def by_puct(circles: int, rounds: int, seed: int) -> Search:
    """Goes on from earlier packings as PUCT chooses them, eight in a round."""
    found = Solutions(radius, propose, seeds(circles, 16, seed), seed=seed)
    curve = [found.step(parents=8, attempts=PROPOSALS // 8) for _ in range(rounds)]
    return found.best.value, curve


def from_the_best(circles: int, rounds: int, seed: int) -> Search:
    """Hill climbing: goes on from the best packing, which any better one replaces."""
    generator = torch.Generator().manual_seed(seed)
    best, curve = max(seeds(circles, 16, seed), key=radius), []
    for _ in range(rounds):
        best = max([best, *changed(best, PROPOSALS, generator)], key=radius)
        curve.append(radius(best))
    return best, curve


def at_random(circles: int, rounds: int, seed: int) -> Search:
    """Goes on from nothing: random packings, relaxed."""
    best, curve = seeds(circles, 1, seed)[0], []
    for number in range(rounds):
        fresh = torch.stack(seeds(circles, PROPOSALS, 1000 * (seed + 1) + number))
        best = max([best, *relaxed(fresh)], key=radius)
        curve.append(radius(best))
    return best, curve


STRATEGIES: dict[str, Callable[[int, int, int], Search]] = {
    "earlier packings by PUCT": by_puct,
    "the best packing always": from_the_best,
    "a random packing each time": at_random,
}


def picture(path: str, curves: dict[str, list[list[float]]], best: Float[Tensor, "circle xy"]) -> None:
    """Radius against proposals, and the best packing."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), width_ratios=(1.6, 1), layout="constrained")
    for strategy, runs in curves.items():
        runs = np.array(runs)
        proposals = PROPOSALS * np.arange(1, runs.shape[1] + 1)
        left.plot(proposals, runs.mean(0), label=strategy)
        left.fill_between(proposals, runs.min(0), runs.max(0), alpha=0.2)
    if len(best) in BEST_KNOWN:
        left.axhline(BEST_KNOWN[len(best)], color="grey", ls=":", label="best known")
    left.set(xlabel="proposals", ylabel=f"radius of {len(best)} circles", xscale="log")
    left.legend()
    size = radius(best)
    for x, y in best.tolist():
        right.add_patch(plt.Circle((x, y), size, fc="tab:blue", alpha=0.5, ec="k"))
    right.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[], title=f"radius {size:.5f}")
    figure.savefig(path, dpi=120)


def main(say: Callable[[str], None] = print) -> None:
    """All strategies over some seeds, as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--circles", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=60, help=f"of {PROPOSALS} proposals")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are tiny
    curves: dict[str, list[list[float]]] = {}
    packings = []
    for name, strategy in STRATEGIES.items():
        runs = [strategy(given.circles, given.rounds, seed) for seed in range(given.seeds)]
        packings += [packing for packing, _ in runs]
        curves[name] = [curve for _, curve in runs]
        ends = [curve[-1] for curve in curves[name]]
        say(f"{name:<28} mean {sum(ends) / len(ends):.5f}, best {max(ends):.5f}, worst {min(ends):.5f}")
    known = BEST_KNOWN.get(given.circles, math.nan)
    say(f"{'best known':<28} {known:.5f}")
    if given.picture:
        picture(given.picture, curves, max(packings, key=radius))


if __name__ == "__main__":
    main()
