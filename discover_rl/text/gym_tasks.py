"""Tasks from reasoning-gym: over a hundred families with verifiers, at any difficulty."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from discover_rl.config import did_you_mean
from discover_rl.text.tasks import Task

VERIFY = f"{__name__}.score"
FULL_MARKS = 0.99  # some families give 0.01 to any text at all


def make_tasks(family: str, count: int, seed: int = 0, **settings: Any) -> list[Task]:  # noqa: ANN401 - of the family
    """Different tasks of one family, each question once.

    Small settings have few distinct questions; then there are fewer than asked for. Split by question, not by seed:
    another seed draws the same questions again.

    Args:
        family: E.g. ``chain_sum``.
        count: How many at most.
        seed: Of the questions.
        settings: Of the family, e.g. ``min_terms=2, max_terms=2, min_digits=1, max_digits=1``.

    Raises:
        ValueError: If reasoning-gym is missing, or knows no such family or setting.
    """
    dataset = _dataset(family, json.dumps({"size": 4 * count, "seed": seed, **settings}, sort_keys=True))
    tasks: dict[str, Task] = {}
    for number in range(4 * count):
        entry = dataset[number]
        if entry["question"] not in tasks:
            kept = json.loads(json.dumps(entry["metadata"], default=str))
            fields = {"family": family, "settings": settings, "gym": {"seed": seed, "size": 4 * count, "index": number}}
            name = f"{family}-{_mark(settings)}-{seed}-{number}"
            fields["metadata"] = kept
            tasks[entry["question"]] = Task(name, entry["question"], str(entry["answer"]), VERIFY, fields)
        if len(tasks) == count:
            break
    return list(tasks.values())


def score(text: str, task: Task) -> float:
    """The family's own verdict on an answer: 1 where it gives full marks.

    Args:
        text: The answer.
        task: From ``make_tasks``.

    Raises:
        ValueError: If the task is not from there.
    """
    place = task.fields.get("gym")
    if not isinstance(place, Mapping):
        raise ValueError(f"task {task.id!r} is not from make_tasks: it lacks the field 'gym'")
    given = {"size": place["size"], "seed": place["seed"], **task.fields["settings"]}
    dataset = _dataset(task.fields["family"], json.dumps(given, sort_keys=True))
    return float(dataset.score_answer(text, dataset[place["index"]]) >= FULL_MARKS)


@cache
def _dataset(family: str, settings: str) -> Any:  # noqa: ANN401 - of reasoning-gym
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError("reasoning-gym tasks need the extra 'text': pip install 'discover-rl[text]'") from error
    if family not in DATASETS:
        raise ValueError(f"reasoning-gym has no family {family!r}{did_you_mean(family, DATASETS)}")
    try:
        return reasoning_gym.create_dataset(family, **json.loads(settings))
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"reasoning-gym, {family}: {error}") from error


def _mark(settings: Mapping[str, Any]) -> str:
    return "-".join(f"{key}{value}" for key, value in sorted(settings.items())) or "default"
