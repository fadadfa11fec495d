"""One model, prepared once, and one arm of the experiment after another, each from that same start."""

import dataclasses
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from discover_rl.report.atomic import write_atomically
from discover_rl.text.curricula import recipe
from discover_rl.text.curriculum import TextCurriculum
from discover_rl.text.embed import HiddenStates, centred, embed
from discover_rl.text.experiment.levels import PROBE, TARGETS, TEST, WARM, corpus_for, of_levels, read
from discover_rl.text.models import load_language_model, save_language_model
from discover_rl.text.policy import PLAIN_TEMPLATE, Policy
from discover_rl.text.rewards import Verified
from discover_rl.text.tasks import Task
from discover_rl.text.ttc import TextTrainer, learn_format
from discover_rl.text.ttc_config import TTCConfig
from discover_rl.text.weights import Weights

ANSWER_TOKENS = 10
BASE_TASKS, BASE_SAMPLES = 48, 4  # of each level, for its pass rate before any practice
DIRECT, EASIER = "direct", "easier"  # arms of the pilot: the target's own level, and the levels below it
WARM_MODEL, EMBEDDINGS, BASE = "warm", "embeddings.safetensors", "base.json"


@dataclass(frozen=True)
class Settings:
    """What all runs of an experiment share.

    Attributes:
        model: See ``load_language_model``.
        levels: File that ``levels`` wrote.
        work: Folder of what is prepared once: the warm model, embeddings.
        out: Folder of the results.
        device: Of a worker.
        steps: Batches practised in a run.
        batch_size: Tasks in a batch.
        attempts: At each task.
        micro_batch: Attempts in one backward pass.
        eval_interval: Batches between two tests.
        eval_tasks: Test tasks.
        eval_samples: Sampled attempts at each, beside the greedy one.
        warmup_steps: Supervised steps on the easiest levels, before everything.
        warmup_lr: Learning rate of these.
    """

    model: str
    levels: str
    work: str
    out: str
    device: str = "cuda"
    steps: int = 80
    batch_size: int = 32
    attempts: int = 8
    micro_batch: int = 128
    eval_interval: int = 20
    eval_tasks: int = 256
    eval_samples: int = 4
    warmup_steps: int = 60
    warmup_lr: float = 5e-5


def comparable(settings: Settings) -> dict[str, Any]:
    """The settings in which runs that stand in one table must agree."""
    names = ("steps", "batch_size", "attempts", "eval_interval", "eval_tasks", "eval_samples")
    return {name: getattr(settings, name) for name in names}


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        target: Key of ``TARGETS``.
        arm: Name of a curriculum, ``direct`` or ``easier``.
        lr: Learning rate.
        seed: Of everything drawn.
        stage: ``pilot`` or ``main``.
    """

    target: str
    arm: str
    lr: float
    seed: int
    stage: str

    @property
    def name(self) -> str:
        """Its file."""
        return f"{self.stage}-{self.target}-{self.arm}-{self.lr:g}-{self.seed}".replace(" ", "_")

    def path(self, out: Path) -> Path:
        """Where its result is written."""
        return out / "runs" / f"{self.name}.json"


@dataclass
class Bench:
    """What a worker keeps between runs.

    Attributes:
        settings: Of the experiment.
        tasks: All of them.
        policy: The model.
        start: Its weights before any practice.
        vectors: Embedding of each task, by id.
    """

    settings: Settings
    tasks: list[Task]
    policy: Policy
    start: dict[str, Tensor]
    vectors: dict[str, Tensor] = field(default_factory=dict)


def prepare(settings: Settings) -> dict[str, Any]:
    """Teach the model the format on the easiest levels, measure every level, embed every task; once.

    Returns:
        ``levels`` (pass rate and greedy success of each before practice), ``warmup_loss``, ``seconds``.
    """
    work = Path(settings.work)
    if all((work / name).exists() for name in (WARM_MODEL, EMBEDDINGS, BASE)):
        return json.loads((work / BASE).read_text())
    start = time.monotonic()
    tasks = read(Path(settings.levels))
    device = torch.device(settings.device)
    torch.manual_seed(0)
    model, tokenizer = load_language_model(settings.model, device)
    policy = Policy(model, tokenizer, PLAIN_TEMPLATE, ANSWER_TOKENS)
    easiest = [task for task in tasks if task.fields["split"] == WARM]
    loaded = time.monotonic() - start
    loss = learn_format(policy, Weights(model), easiest, settings.warmup_steps, settings.warmup_lr)
    work.mkdir(parents=True, exist_ok=True)
    save_language_model(model, tokenizer, work / WARM_MODEL)
    warmed = time.monotonic() - start
    size = 128 if device.type == "cuda" else 32
    vectors = embed([task.prompt for task in tasks], HiddenStates(model, tokenizer, batch_size=size), work)
    write_atomically(work / EMBEDDINGS, save({"vectors": vectors.half().contiguous()}))
    embedded = time.monotonic() - start
    levels, judge = {}, Verified()
    for level in dict.fromkeys(task.fields["level"] for task in tasks):
        some = [task for task in tasks if task.fields["level"] == level and task.fields["split"] != WARM][:BASE_TASKS]
        texts = policy.attempt(some, 1 + BASE_SAMPLES, 0, greedy=1).texts
        rewards = judge(some, texts)
        answers = Counter(task.answer for task in tasks if task.fields["level"] == level)
        levels[level] = {
            "pass_rate": float(rewards[:, 1:].mean()),
            "greedy": float(rewards[:, 0].mean()),
            "most_frequent_answer": answers.most_common(1)[0][1] / sum(answers.values()),
            "example": [some[0].prompt, str(some[0].answer), *texts[0]],
        }
    seconds = {"load": loaded, "warm_up": warmed - loaded, "embed": embedded - warmed}
    base = {"levels": levels, "warmup_loss": loss, "seconds": {**seconds, "all": time.monotonic() - start}}
    write_atomically(work / BASE, json.dumps(base, indent=1).encode())
    return base


def open_bench(settings: Settings) -> Bench:
    """What was prepared, loaded for runs."""
    work, tasks = Path(settings.work), read(Path(settings.levels))
    model, tokenizer = load_language_model(str(work / WARM_MODEL), torch.device(settings.device))
    policy = Policy(model, tokenizer, PLAIN_TEMPLATE, ANSWER_TOKENS)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rows = load((work / EMBEDDINGS).read_bytes())["vectors"].float()
    return Bench(settings, tasks, policy, start, {task.id: row for task, row in zip(tasks, rows, strict=True)})


def run(bench: Bench, job: Job) -> dict[str, Any]:
    """One run from the common start; its result is written, and returned.

    All arms of a seed practise equally many attempts, and are tested with the same tasks and the same random numbers.
    """
    settings, target = bench.settings, TARGETS[job.target]
    started = time.monotonic()
    practised = {
        DIRECT: lambda: of_levels(bench.tasks, [target.level]),
        "oracle": lambda: of_levels(bench.tasks, [target.level]),
        EASIER: lambda: of_levels(bench.tasks, target.easier),
    }.get(job.arm, lambda: corpus_for(bench.tasks, target))()
    probes = of_levels(bench.tasks, [target.level], PROBE)
    test = of_levels(bench.tasks, [target.level], TEST)[: settings.eval_tasks]
    for name, parameter in bench.policy.model.named_parameters():
        parameter.data, parameter.grad = bench.start[name].clone(), None
    found = recipe("uniform" if job.arm in (DIRECT, EASIER) else job.arm, settings.batch_size, settings.attempts)
    vectors = centred(*(torch.stack([bench.vectors[task.id] for task in part]) for part in (practised, probes)))
    curriculum = TextCurriculum(practised, probes, found.selector, vectors, found.config, job.seed)
    config = TTCConfig(
        lr=job.lr,
        seed=job.seed,
        steps=settings.steps,
        attempts=settings.attempts,
        eval_samples=settings.eval_samples,
        eval_tasks=settings.eval_tasks,
        micro_batch=settings.micro_batch,
        max_new_tokens=ANSWER_TOKENS,
        bf16=True,
    )
    trainer = TextTrainer(config, bench.policy, curriculum, Verified(), test)
    evaluations, history, levels = [_test(trainer, 0)], [], Counter()
    for step in range(1, settings.steps + 1):
        row = trainer.step() | curriculum.metrics()
        history.append({key: round(row[key], 5) for key in HISTORY if key in row})
        if step % settings.eval_interval == 0 or step == settings.steps:
            evaluations.append(_test(trainer, step))
    for index in curriculum.belief.attempted.nonzero().flatten().tolist():
        count = int(curriculum.belief.attempted[index])
        levels[curriculum.tasks[index].fields["level"]] += count // settings.attempts
    result = {
        "job": dataclasses.asdict(job),
        "settings": comparable(settings),
        "seconds": round(time.monotonic() - started, 2),
        "attempts": settings.steps * settings.batch_size * settings.attempts,
        "tasks": len(curriculum.tasks),
        "device": torch.cuda.get_device_name() if bench.policy.device.type == "cuda" else "cpu",
        "evaluations": evaluations,
        "history": history,
        "levels": dict(levels.most_common()),
    }
    path = job.path(Path(settings.out))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result).encode())
    return result


HISTORY = (
    "rollout/reward",
    "text/mixed_groups",
    "text/distinct_answers",
    "text/completion_tokens",
    "text/calibration_error",
    "goal/alpha",
    "train/grad_norm",
)
"""What is kept of every step."""


def _test(trainer: TextTrainer, step: int) -> dict[str, Any]:
    greedy, sampled = trainer.test_rewards(seed=1_000_000 * (1 + trainer.config.seed))
    return {
        "step": step,
        "pass_rate": float(sampled.mean()),
        "greedy_rate": float(greedy.mean()),
        "greedy": [int(value > 0.5) for value in greedy],
        "solved": [int(value) for value in (sampled > 0.5).sum(1)],
        "samples": sampled.shape[1],
    }


def quiet() -> None:
    """One thread, and no advice of libraries: many workers share a machine."""
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
