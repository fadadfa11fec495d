"""The curriculum inside TRL's ``GRPOTrainer``, for models that want several GPUs, accelerate and vLLM (extra ``trl``).

    adapter = CurriculumForTRL(curriculum, Verified())
    trainer = adapter.trainer_class()(
        model=..., args=GRPOConfig(num_generations=8, ...), train_dataset=adapter.dataset(),
        reward_funcs=adapter.reward,
    )
    trainer.train()

TRL's data loader asks for a batch before the one in hand is scored: batch k is chosen when rewards are known up to
batch k - 2. The curriculum takes account of what is out (it is not chosen again, and its deviations count as known),
and rewards go to the oldest batch that still waits for their task. With several processes the first one chooses and
learns: the others get its choice, and all rewards are gathered before it is told. Save its state only.
"""

from collections.abc import Iterator
from typing import Any

import torch

from discover_rl.text.curriculum import Batch, TextCurriculum
from discover_rl.text.rewards import Reward, Verified


class CurriculumForTRL:
    """A dataset, a sampler and a reward function around one curriculum.

    Args:
        curriculum: Its batch size must be that of prompts in a generation batch of TRL:
            ``per_device_train_batch_size · num_processes · steps_per_generation / num_generations``.
        reward: Scores attempts.
        chats: Whether prompts are given as a chat turn, so that TRL applies the model's chat template.
    """

    def __init__(self, curriculum: TextCurriculum, reward: Reward | None = None, chats: bool = False) -> None:
        self.curriculum, self.score, self.chats = curriculum, reward or Verified(), chats
        self._pending: dict[str, list[int]] = {}  # batches in which a task is out, the oldest first
        self._tasks = {task.id: task for task in curriculum.tasks}

    def dataset(self) -> Any:  # noqa: ANN401 - a datasets.Dataset
        """All tasks of the corpus, in its order, for ``train_dataset``."""
        from datasets import Dataset

        prompts = [[{"role": "user", "content": t.prompt}] if self.chats else t.prompt for t in self.curriculum.tasks]
        return Dataset.from_dict({"prompt": prompts, "task_id": [task.id for task in self.curriculum.tasks]})

    def sampler(self, generations: int, repeats: int) -> Iterator[int]:
        """Places in the dataset without end: each task ``generations`` times, each batch ``repeats`` times.

        Args:
            generations: TRL's ``num_generations``.
            repeats: TRL's ``num_iterations · steps_per_generation``: how often a generation batch is gone through.
        """
        while True:
            batch = _from_first_process(next(self.curriculum) if _is_first() else None)
            for pick in batch.picks:
                self._pending.setdefault(pick.task.id, []).append(batch.number)
            for _ in range(repeats):
                for pick in batch.picks:
                    yield from [pick.index] * generations

    def reward(self, prompts: list[Any], completions: list[Any], task_id: list[str], **other: Any) -> list[float]:  # noqa: ANN401
        """A reward function for ``reward_funcs``; it also tells the curriculum, once a batch is scored in full.

        Args:
            prompts: As TRL gives them.
            completions: Texts, or turns of a chat.
            task_id: Column of the dataset.
            other: Other columns; unused.
        """
        del prompts, other
        texts = [c if isinstance(c, str) else str(c[-1]["content"]) for c in completions]
        own = [float(self.score([self._tasks[k]], [[t]])[0, 0]) for k, t in zip(task_id, texts, strict=True)]
        ids, rewards = _gathered(task_id), _gathered(own)
        grouped: dict[str, list[float]] = {}
        for key, value in zip(ids, rewards, strict=True):
            grouped.setdefault(key, []).append(value)
        by_batch: dict[int | None, dict[str, list[float]]] = {}
        for key, values in grouped.items():
            waiting = self._pending.get(key)
            by_batch.setdefault(waiting.pop(0) if waiting else None, {})[key] = values
        if _is_first():
            for number, part in by_batch.items():
                self.curriculum.update(list(part), list(part.values()), number)
        return own

    def trainer_class(self) -> type:
        """``GRPOTrainer`` with the curriculum for a sampler.

        Raises:
            ValueError: If TRL is not installed.
        """
        try:
            from trl.trainer.grpo_trainer import GRPOTrainer
        except ImportError as error:
            raise ValueError("the curriculum in TRL needs the extra 'trl': pip install 'discover-rl[trl]'") from error
        adapter = self

        class CurriculumGRPOTrainer(GRPOTrainer):
            """Goes through the tasks in the order of the curriculum."""

            def _get_train_sampler(self, dataset: Any = None) -> Any:  # noqa: ANN401 - a torch Sampler
                del dataset
                args: Any = self.args  # a GRPOConfig
                prompts = args.generation_batch_size // args.num_generations
                wanted = adapter.curriculum.config.batch_size
                if prompts != wanted:
                    raise ValueError(
                        f"TRL takes {prompts} prompts in a generation batch (generation_batch_size="
                        f"{args.generation_batch_size} / num_generations={args.num_generations}), the curriculum gives "
                        f"{wanted}; set curriculum.batch_size={prompts}"
                    )
                return _Endless(adapter, args.num_generations, args.num_iterations * args.steps_per_generation)

        return CurriculumGRPOTrainer


class _Endless(torch.utils.data.Sampler):
    """As many indices as the trainer asks for; its length is that of the dataset, so give ``max_steps``."""

    def __init__(self, adapter: CurriculumForTRL, generations: int, repeats: int) -> None:
        self.adapter, self.generations, self.repeats = adapter, generations, repeats

    def __iter__(self) -> Iterator[int]:
        return self.adapter.sampler(self.generations, self.repeats)

    def __len__(self) -> int:
        return len(self.adapter.curriculum.tasks) * self.generations * self.repeats


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _is_first() -> bool:
    return not _is_distributed() or torch.distributed.get_rank() == 0


def _from_first_process(batch: Batch | None) -> Batch:
    if not _is_distributed():
        assert batch is not None
        return batch
    box = [batch]
    torch.distributed.broadcast_object_list(box, src=0)
    assert box[0] is not None
    return box[0]


def _gathered(values: list[Any]) -> list[Any]:
    if not _is_distributed():
        return values
    boxes: list[list[Any] | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(boxes, values)
    return [value for box in boxes if box is not None for value in box]
