"""A corpus ranked for some targets, and for each task why: no training, no GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from discover_rl.report.atomic import write_atomically
from discover_rl.text.belief import worth_practising
from discover_rl.text.curricula import recipe
from discover_rl.text.curriculum import Pick, TextCurriculum
from discover_rl.text.models import load_embedder
from discover_rl.text.tasks import counted, read_tasks, write_records

QUANTILES = 32  # of a believed pass rate, over which the uncertainty of relevance is taken
PROMPT_SHOWN = 72  # characters of a prompt in the printed list


@dataclass
class RankConfig:
    """What ``discover-rl curriculum`` is told.

    Attributes:
        targets: JSON lines with ``prompt``.
        corpus: JSON lines with ``prompt``, and ``answer`` or ``verify``; ``pass_rate`` and ``attempts`` are believed.
        curriculum: Name of the curriculum, see ``discover_rl.text.curricula``.
        embed: ``words``, ``minilm``, or name or folder of a model whose hidden states say what is alike.
        top: Tasks that are printed.
        count: Tasks chosen one after another, each in the light of those before; the rest follows by its score.
        out: File of the ranked corpus, JSON lines.
        device: Of the model that embeds.
    """

    targets: str = ""
    corpus: str = ""
    curriculum: str = "discover"
    embed: str = "words"
    top: int = 10
    count: int = 100
    out: str = "curriculum.jsonl"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("top", "count"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def rank(config: RankConfig) -> list[str]:
    """Rank the corpus, write it, and say why the first ones are first.

    Returns:
        The lines to print.

    Raises:
        ValueError: If a file or an option is not right.
        OSError: If the ranking cannot be written.
    """
    found = recipe(config.curriculum, batch_size=1)
    if found.on_targets:
        raise ValueError(f"curriculum={config.curriculum} practises the targets' own kind, so there is nothing to rank")
    for key in ("targets", "corpus"):
        if Path(config.out).resolve() == Path(getattr(config, key)).resolve():
            raise ValueError(f"out={config.out} is the file of {key}, which would be lost; name another one")
    targets, tasks = read_tasks(Path(config.targets), scored=False), read_tasks(Path(config.corpus))
    embedder = load_embedder(config.embed, torch.device(config.device))
    curriculum = TextCurriculum(tasks, targets, found.selector, embedder, found.config)
    ranked = curriculum.ranking(max(config.count, config.top))
    reasons = explain(curriculum, ranked)
    records = ({**pick.task.record(), "curriculum": why} for pick, why in zip(ranked, reasons, strict=True))
    write_atomically(Path(config.out), write_records(records))
    known = sum(task.fields.get("pass_rate") is not None for task in curriculum.tasks)
    lines = [
        *([curriculum.dropped] if curriculum.dropped else []),
        f"{counted(len(curriculum.tasks))} for {counted(len(targets), 'target')}; {found.about}; "
        f"pass rates known of {known:,}",
    ]
    if not known:
        lines.append(
            "no pass rate is known (fields pass_rate, attempts), so achievability is the same guess for all: relevance "
            "and novelty decide"
        )
    for pick, why in zip(ranked[: config.top], reasons, strict=False):
        lines += describe(pick, why, curriculum)
    lines.append(f"all of them, best first: {config.out}")
    return lines


def explain(curriculum: TextCurriculum, picks: Sequence[Pick]) -> list[dict[str, Any]]:
    """Why each task stands where it stands, as plain data.

    The uncertainty of achievability is the deviation of the believed pass rate. Novelty is that deviation once the
    tasks ranked before have been attempted, and beside it what an attempt would leave of it. The uncertainty of
    relevance follows from not knowing the pass rate. Relevance is a proxy, not a measured transfer: likeness to the
    targets, and what is left to learn, as a share of the most that any task has after those ranked before.
    """
    belief = curriculum.belief
    index = torch.tensor([pick.index for pick in picks])
    likeness = belief.tasks[index] @ belief.targets.T
    best, nearest = likeness.max(1)
    noise, prior = belief.config.noise, belief.config.prior_std
    deviation = prior * belief.kernel().variance[index].clamp_min(0).sqrt()
    rate = torch.tensor([pick.rate for pick in picks], dtype=deviation.dtype)
    nodes = torch.erfinv(torch.linspace(-1, 1, 2 * QUANTILES + 1, dtype=rate.dtype)[1::2]) * 2**0.5  # of a Gaussian
    possible = (rate[:, None] + deviation[:, None] * nodes).clamp(0, 1)
    worth_std = worth_practising(possible, belief.config.attempts).std(1, correction=0)
    worth = worth_practising(rate, belief.config.attempts).clamp_min(torch.finfo(rate.dtype).tiny)
    relevance_stds = (torch.tensor([pick.target[0] for pick in picks], dtype=rate.dtype) * worth_std / worth).tolist()
    stds = deviation.tolist()
    reasons = []
    for place, pick in enumerate(picks):
        novelty = pick.start[1]
        left = novelty * (noise / ((novelty / prior) ** 2 + noise)) ** 0.5
        reasons.append(
            {
                "rank": place + 1,
                "score": _short(pick.score),
                "achievability": {
                    "pass_rate": _short(pick.rate),
                    "std": _short(stds[place]),
                    "attempts": int(belief.attempted[pick.index]),
                },
                "novelty": {"std": _short(novelty), "std_after_attempt": _short(left)},
                "relevance": {
                    "uplift": _short(pick.target[0]),
                    "std": _short(relevance_stds[place]),
                    "information": _short(pick.target[1]),
                    "nearest_target": curriculum.targets[int(nearest[place])].id,
                    "likeness": _short(float(best[place])),
                },
            }
        )
    return reasons


def describe(pick: Pick, why: dict[str, Any], curriculum: TextCurriculum) -> list[str]:
    """Two lines for a person."""
    reach, novelty, relevance = why["achievability"], why["novelty"], why["relevance"]
    target = next(t for t in curriculum.targets if t.id == relevance["nearest_target"])
    attempts = f"{reach['attempts']} attempts" if reach["attempts"] else "not attempted"
    return [
        f"{why['rank']:>4}. {_one_line(pick.task.prompt, PROMPT_SHOWN)}  [{pick.task.id}]",
        f"      score {why['score']:.2f}: achievability {reach['pass_rate']:.2f} ± {reach['std']:.2f} ({attempts}); "
        f"novelty {novelty['std']:.2f}, an attempt leaves {novelty['std_after_attempt']:.2f}; relevance "
        f"{relevance['uplift']:+.2f} ± {relevance['std']:.2f}, information {relevance['information']:.2f}, "
        f"most like {_one_line(target.prompt, 40)!r} ({relevance['likeness']:.2f})",
    ]


def _short(number: float) -> float:
    return round(float(number), 4)


def _one_line(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
