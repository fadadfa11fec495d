"""The whole training on texts: ``TextTrainer.step`` is the algorithm, ``TextTrainer.run`` what surrounds it.

choose tasks -> let the model attempt them -> score -> learn -> adapt alpha -> log -> evaluate -> save
"""

import copy
import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.checkpoint import CheckpointError, load_checkpoint, load_note, save_checkpoint
from discover_rl.config import pick_device
from discover_rl.report import MetricsWriter, ProgressLine
from discover_rl.report.atomic import write_atomically
from discover_rl.report.practice import TARGETS, TEXT_CONFIG, PracticeLog, Practised
from discover_rl.text.curricula import recipe
from discover_rl.text.curriculum import Batch, Pick, TextCurriculum
from discover_rl.text.embed import HiddenStates
from discover_rl.text.groups import group_tasks
from discover_rl.text.models import load_embedder, load_language_model, save_language_model
from discover_rl.text.objectives import advantages, policy_loss
from discover_rl.text.policy import Attempts, Policy
from discover_rl.text.rewards import MajorityVote, Reward, Verified, make_reward
from discover_rl.text.tasks import Task, read_tasks
from discover_rl.text.ttc_config import FREE_KEYS, TTCConfig
from discover_rl.text.weights import Weights

CONFIG, CHECKPOINT, MODEL, ADAPTER = TEXT_CONFIG, "checkpoint.safetensors", "model", "adapter"
GRADIENT_NORM = 1.0
MOST_SPOILED = 3
EVAL_SEED = 2**31 - 1
WARMUP_BATCH = 16
LORA_ALPHA = 2  # of the adapter, in units of its rank


class TextTrainer:
    """A model, its curriculum and its learner.

    Args:
        config: How to train; files named there are not read.
        policy: The model.
        curriculum: Chooses what it practises.
        reward: Scores its attempts.
        test: Tasks with answers, for evaluation; may be empty.
    """

    def __init__(
        self, config: TTCConfig, policy: Policy, curriculum: TextCurriculum, reward: Reward, test: Sequence[Task]
    ) -> None:
        self.config, self.policy, self.curriculum, self.reward = config, policy, curriculum, reward
        self.test = list(test)[: config.eval_tasks]
        self.vote, self.judge = MajorityVote(), Verified()  # of attempts at targets, and of the evaluation
        self.weights = Weights(policy.model, torch.bfloat16 if config.bf16 else torch.float32)
        self.reference = self._reference()
        self.optimizer = self.weights.optimizer(config.lr)
        self.steps = 0
        self.spoiled = 0  # batches in a row whose gradient was not finite
        belief = curriculum.belief
        self.groups, self.group_of_task = group_tasks(curriculum.tasks, belief.tasks, belief.targets)
        self.practised: list[Practised] = []  # in the last batch
        self.warm = config.warmup_steps == 0

    def _reference(self) -> Any:  # noqa: ANN401 - a model, or None
        if not self.config.kl:
            return None
        if hasattr(self.policy.model, "disable_adapter"):
            return self.policy.model  # with its adapter switched off
        return copy.deepcopy(self.policy.model).requires_grad_(False).eval()

    # -- one step ----------------------------------------------------------------------------------------

    def step(self) -> dict[str, float]:
        """One batch of the algorithm; returns its metrics."""
        config = self.config
        batch = next(self.curriculum)
        seed = config.seed * 1_000_003 + self.steps
        attempts = self.policy.attempt(batch.tasks, config.attempts, seed)
        rewards = self._score(batch, attempts)
        self.curriculum.update(batch.ids, rewards, batch.number)
        self.practised = [
            self._practised(pick, rate) for pick, rate in zip(batch.picks, rewards.mean(1).tolist(), strict=True)
        ]
        row = self.learn(attempts, rewards)
        self.steps += 1
        picks = [pick for pick in batch.picks if pick.index >= 0]
        if picks:
            row["goal/achievability"] = _mean([pick.rate for pick in picks])
            row["goal/novelty"] = _mean([pick.start[1] for pick in picks])
            row["goal/relevance"] = _mean([pick.target[0] for pick in picks])
        row["rollout/reward"] = float(rewards.mean())
        row["text/distinct_answers"] = _mean([float(len(set(group))) for group in attempts.texts])
        row["text/completion_tokens"] = float(attempts.written.sum(1).float().mean())
        return row

    def _score(self, batch: Batch, attempts: Attempts) -> Float[Tensor, "batch attempt"]:
        """Rewards; attempts at targets, whose answers no one knows, by majority vote."""
        rows = [
            (self.vote if pick.index < 0 else self.reward)([pick.task], [texts])
            for pick, texts in zip(batch.picks, attempts.texts, strict=True)
        ]
        return torch.cat(rows).float()

    def _practised(self, pick: Pick, observed: float) -> Practised:
        group = self.group_of_task[pick.index] if pick.index >= 0 else TARGETS
        return Practised(pick.task.id, group, pick.rate, pick.start[1], observed, pick.counted)

    def learn(self, attempts: Attempts, rewards: Float[Tensor, "batch attempt"]) -> dict[str, float]:
        """Gradient steps on a batch; groups without a difference in reward are left out."""
        config, device = self.config, self.policy.device
        advantage = advantages(rewards, config.objective).flatten().to(device)
        rows = advantage.nonzero().flatten()
        self.policy.model.train()
        if not len(rows):
            return {"train/loss": 0.0, "train/grad_norm": 0.0, "train/skipped_batches": 0.0}
        tokens, attended, written = attempts.tokens[rows], attempts.attended[rows], attempts.written[rows]
        advantage, count = advantage[rows], written.shape[1]
        # all attempts count, also those left out, so that a step does not grow as signal gets rare
        total = attempts.written.numel() if config.objective == "dr_grpo" else int(attempts.written.sum())
        old = self._no_grad_log_probs(tokens, attended, count) if config.updates > 1 else None
        stay = self._reference_log_probs(tokens, attended, count) if self.reference is not None else None
        loss_sum, norm = 0.0, 0.0
        for _ in range(config.updates):
            loss_sum = 0.0
            for part in attended.sum(1).argsort().split(config.micro_batch):  # of like length, to pad little
                log_probs = self.policy.log_probs(tokens[part], attended[part], count)
                before = log_probs.detach() if old is None else old[part]
                near = None if stay is None else stay[part]
                loss = policy_loss(
                    log_probs,
                    before,
                    advantage[part],
                    written[part],
                    config.clip_low,
                    config.clip_high,
                    near,
                    config.kl,
                )
                loss = loss.sum() / total
                loss.backward()
                self.weights.take_gradients()
                loss_sum += float(loss.detach())
            norm = self.weights.step(self.optimizer, GRADIENT_NORM)  # changes nothing where it is not finite
            self._watch(norm)
            if not math.isfinite(norm):
                return {"train/loss": 0.0, "train/grad_norm": 0.0, "train/skipped_batches": 1.0}
        return {"train/loss": loss_sum, "train/grad_norm": norm, "train/skipped_batches": 0.0}

    def _watch(self, norm: float) -> None:
        """A batch that overflows in bfloat16 is left out; several in a row mean that the model is lost."""
        self.spoiled = 0 if math.isfinite(norm) else self.spoiled + 1
        if self.spoiled == MOST_SPOILED:
            raise FloatingPointError(
                f"the gradient is not finite in {MOST_SPOILED} batches in a row, after {self.steps} steps; "
                f"lower lr (now {self.config.lr}) or set bf16=false"
            )

    @torch.no_grad()
    def _no_grad_log_probs(self, tokens: Tensor, attended: Tensor, count: int) -> Float[Tensor, "row time"]:
        parts = torch.arange(len(tokens), device=tokens.device).split(self.config.micro_batch)
        return torch.cat([self.policy.log_probs(tokens[part], attended[part], count) for part in parts])

    def _reference_log_probs(self, tokens: Tensor, attended: Tensor, count: int) -> Float[Tensor, "row time"]:
        if self.reference is self.policy.model:
            with self.policy.model.disable_adapter():
                return self._no_grad_log_probs(tokens, attended, count)
        model, self.policy.model = self.policy.model, self.reference
        try:
            return self._no_grad_log_probs(tokens, attended, count)
        finally:
            self.policy.model = model

    def warm_up(self) -> float:
        """Supervised steps on answers of the corpus, which teach the format; returns the last loss.

        Raises:
            ValueError: If no task of the corpus has an answer.
        """
        known = [task for task in self.curriculum.tasks if task.answer is not None]
        if not known:
            raise ValueError("warmup_steps needs answers in the corpus, but its tasks have verifiers only; set it to 0")
        config = self.config
        loss = learn_format(self.policy, self.weights, known, config.warmup_steps, config.warmup_lr, config.seed)
        self.warm = True
        return loss

    def evaluate(self) -> dict[str, float]:
        """Success on the test tasks: mean over sampled attempts, and of the greedy one. Empty without test tasks."""
        if not self.test:
            return {}
        greedy, sampled = self.test_rewards()
        row = {"eval/success_rate_greedy": float(greedy.mean())}
        row["eval/success_rate"] = float(sampled.mean()) if sampled.numel() else row["eval/success_rate_greedy"]
        return row

    def test_rewards(self, seed: int = EVAL_SEED) -> tuple[Float[Tensor, "task"], Float[Tensor, "task attempt"]]:
        """Rewards of the greedy attempt at each test task, and of ``eval_samples`` sampled ones.

        Args:
            seed: Of the sampling.
        """
        attempts = self.policy.attempt(self.test, 1 + self.config.eval_samples, seed, greedy=1)
        rewards = self.judge(self.test, attempts.texts)
        return rewards[:, 0], rewards[:, 1:]

    # -- the run -----------------------------------------------------------------------------------------

    def run(self, run_dir: Path, resume: bool) -> dict[str, float]:
        """Train to the end, writing everything into ``run_dir``; returns the last evaluation.

        Raises:
            FloatingPointError: If a gradient is not finite; the last checkpoint is kept.
            OSError: If a file cannot be written; the last checkpoint is kept.
        """
        config = self.config
        if resume:
            self.restore(run_dir / CHECKPOINT)
        run_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(run_dir / CONFIG, json.dumps(dataclasses.asdict(config), indent=2).encode())
        per_step = config.batch_size * config.attempts
        goes_on = resume or not (run_dir / CHECKPOINT).is_file()
        practice = PracticeLog(run_dir, self.groups, self.steps * per_step if goes_on else None)
        start, evaluation = time.monotonic(), {}
        with (
            MetricsWriter(run_dir, [config.seed], self.steps * per_step if goes_on else None) as writer,
            ProgressLine(config.steps * per_step, self.steps * per_step, config.curriculum) as progress,
        ):
            if not self.warm:
                self.warm_up()
            if self.steps == 0:
                evaluation = self.evaluate()
                writer.write(0, evaluation)
            while self.steps < config.steps:
                row = self.step()
                late = config.minutes and time.monotonic() - start > 60 * config.minutes
                last = self.steps == config.steps or bool(late)
                if last or self.steps % config.eval_interval == 0:
                    evaluation = self.evaluate()
                    row |= evaluation
                row |= self.curriculum.metrics()
                row["time/time_elapsed"] = time.monotonic() - start
                writer.write(self.steps * per_step, row)
                practice.write(self.steps * per_step, self.practised)
                success = evaluation.get("eval/success_rate", math.nan)
                progress.update(
                    self.steps * per_step, success, row.get("goal/selected_success_rate"), row["goal/alpha"]
                )
                if last or self.steps % config.save_interval == 0:
                    self.save(run_dir)
                if late:
                    break
        self.save_model(run_dir)
        return evaluation

    def save(self, run_dir: Path) -> None:
        """Write everything that training goes on from.

        Raises:
            OSError: If it cannot be written; the old one is unchanged.
        """
        tensors = {f"model/{name}": weight for name, weight in self.weights.kept.items()}
        for name, weight in self.weights.kept.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                tensors[f"adam/{name}/{key}"] = value
        plain = {}
        for key, value in self.curriculum.state_dict().items():
            if isinstance(value, Tensor):
                tensors[f"curriculum/{key}"] = value
            else:
                plain[key] = value
        note = {"steps": self.steps, "warm": self.warm, "curriculum": plain}
        save_checkpoint(run_dir / CHECKPOINT, tensors, note)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: If it cannot be used.
        """
        tensors, note = load_checkpoint(path, torch.device("cpu"))
        try:
            with torch.no_grad():
                for name, weight in self.weights.kept.items():
                    weight.copy_(tensors[f"model/{name}"])
                    slots = {key: tensors.get(f"adam/{name}/{key}") for key in ("step", "exp_avg", "exp_avg_sq")}
                    if slots["exp_avg"] is not None:
                        fused = self.optimizer.defaults["fused"]  # then the count of steps lies with the weights
                        self.optimizer.state[weight] = {
                            k: v.to(weight.device) if fused or k != "step" else v
                            for k, v in slots.items()
                            if v is not None
                        }
            self.weights.use()
            state = {key.removeprefix("curriculum/"): v for key, v in tensors.items() if key.startswith("curriculum/")}
            self.curriculum.load_state_dict({**note["curriculum"], **state})
            self.steps, self.warm = note["steps"], note["warm"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"checkpoint {path}: {error}; start afresh with resume=never") from error

    def save_model(self, run_dir: Path) -> None:
        """Write the adapted model and its tokenizer in Hugging Face format; an adapter also by itself.

        Raises:
            OSError: If it cannot be written.
        """
        model = self.policy.model
        if hasattr(model, "merge_and_unload"):
            model.save_pretrained(run_dir / ADAPTER)
            model = copy.deepcopy(model).merge_and_unload()
        folder, fresh = run_dir / MODEL, run_dir / f".{MODEL}.tmp"
        shutil.rmtree(fresh, ignore_errors=True)
        save_language_model(model, self.policy.tokenizer, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def learn_format(
    policy: Policy, weights: Weights, tasks: Sequence[Task], steps: int, lr: float, seed: int = 0
) -> float:
    """Supervised steps on the answers of tasks, which teach a model the format; returns the last loss.

    Args:
        policy: The model.
        weights: Its weights.
        tasks: With answers.
        steps: How many, of 16 tasks each.
        lr: Learning rate.
        seed: Of the tasks drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = weights.optimizer(lr)
    policy.model.train()
    loss = math.nan
    for _ in range(steps):
        drawn = torch.randint(len(tasks), (WARMUP_BATCH,), generator=generator).tolist()
        step_loss = policy.answer_loss([tasks[i] for i in drawn])
        step_loss.backward()
        weights.take_gradients()
        weights.step(optimizer, GRADIENT_NORM)
        loss = float(step_loss.detach())
    return loss


def build(config: TTCConfig) -> TextTrainer:
    """Load files and models and put them together.

    Raises:
        ValueError: If something named there is missing or does not fit.
    """
    device = pick_device(config.device)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    found = recipe(config.curriculum, config.batch_size, config.attempts)
    reward = make_reward(config.reward)
    scored = config.reward == "verified"
    targets = read_tasks(Path(config.targets), scored=False)
    tasks = read_tasks(Path(config.oracle if found.on_targets else config.corpus), scored=scored)
    test = read_tasks(Path(config.test)) if config.test else [t for t in targets if t.answer or t.verify]
    _check_held_out(tasks, test)
    torch.manual_seed(config.seed)  # of the adapter's first weights
    model, tokenizer = load_language_model(config.model, device)
    embedder = HiddenStates(model, tokenizer) if config.embed == "model" else load_embedder(config.embed, device)
    curriculum = TextCurriculum(tasks, targets, found.selector, embedder, found.config, config.seed)
    if config.lora_rank:
        model = add_lora(model, config.lora_rank)
    policy = Policy(model, tokenizer, config.template, config.max_new_tokens, config.temperature)
    return TextTrainer(config, policy, curriculum, reward, test)


def _check_held_out(tasks: Sequence[Task], test: Sequence[Task]) -> None:
    practised = {task.prompt for task in tasks}
    leaked = [task.id for task in test if task.prompt in practised]
    if leaked:
        raise ValueError(
            f"{len(leaked)} of {len(test)} test tasks are practice tasks too (e.g. id {leaked[0]!r}); a test must be "
            "held out, so take them from one of the two files"
        )


def add_lora(model: Any, rank: int) -> Any:  # noqa: ANN401
    """The model with a trainable LoRA adapter on all its linear layers.

    Raises:
        ValueError: If peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError("lora_rank needs peft: pip install 'discover-rl[text]'") from error
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=LORA_ALPHA * rank, target_modules="all-linear"))


def choose_folder(config: TTCConfig) -> tuple[Path, bool]:
    """Where a run is written, and whether it goes on from a checkpoint there; as ``run_folder.choose_folder``."""
    own = {key: value for key, value in dataclasses.asdict(config).items() if key not in FREE_KEYS}
    mark = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
    name = Path(config.model).name or "model"
    first = Path(config.run_dir or f"runs/ttc-{name}-{config.curriculum}-seed{config.seed}-{mark}")
    for number in range(1, 10_000):
        run_dir = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not (run_dir / CONFIG).exists():
            return run_dir, False
        if config.resume == "never":
            continue
        before = json.loads((run_dir / CONFIG).read_text())
        if {key: value for key, value in before.items() if key not in FREE_KEYS} != own:
            continue
        if not (run_dir / CHECKPOINT).is_file():
            if (run_dir / MODEL).exists():
                continue  # trained to the end, its checkpoint deleted: not to be written over
            return run_dir, False
        if load_note(run_dir / CHECKPOINT)["steps"] < config.steps:
            return run_dir, True
    raise ValueError(f"{first}: ten thousand folders of this name exist; remove some")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
