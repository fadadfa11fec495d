"""Kinds of tasks, for the report: by what the corpus says of them, else by likeness."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from torch import Tensor

from discover_rl.report.practice import TaskGroup
from discover_rl.text.tasks import Task

FIELDS = (
    ("family", "level"),
    ("family", "difficulty"),
    ("family", "settings"),
    ("family",),
    ("level",),
    ("difficulty",),
)
"""Fields that say what kind a task is of, the most telling first."""
MOST, CLUSTERS, SHOWN = 40, 10, 36


def group_tasks(
    tasks: Sequence[Task], vectors: Float[Tensor, "cand goal"], targets: Float[Tensor, "desired goal"]
) -> tuple[list[TaskGroup], list[str]]:
    """Kinds of tasks, and to which each task belongs.

    The kinds are the values of ``family``, ``level`` and the like, where each task has them, or of any other field that
    all tasks have with 2 to 40 values; without such a field tasks are clustered by their embeddings (k-means), and a
    cluster is called by the task in its middle.

    Args:
        tasks: The corpus.
        vectors: Their embeddings, of length 1.
        targets: Those of the targets.

    Returns:
        The kinds, the likest to the targets first, and the name of its kind for each task.
    """
    names = _by_fields(tasks) or _clustered(tasks, vectors)
    likeness = (vectors @ targets.T).mean(1).tolist()
    members: dict[str, list[float]] = {}
    for name, value in zip(names, likeness, strict=True):
        members.setdefault(name, []).append(value)
    groups = [TaskGroup(name, len(found), sum(found) / len(found)) for name, found in members.items()]
    return sorted(groups, key=lambda group: (-group.likeness, group.name)), names


def _by_fields(tasks: Sequence[Task]) -> list[str]:
    own = [key for key, value in tasks[0].fields.items() if isinstance(value, str | int | bool)]
    for fields in (*FIELDS, *((key,) for key in own if key not in ("pass_rate", "attempts"))):
        if not all(key in task.fields for task in tasks for key in fields):
            continue
        names = [_name([_said(task.fields[key]) for key in fields]) for task in tasks]
        if 2 <= len(set(names)) <= MOST:
            return names if fields[0] == "family" else [f"{fields[0]} {name}" for name in names]
    return []


def _name(parts: Sequence[str]) -> str:
    """Family and level; a level that begins with the name of its family stands alone."""
    return parts[-1] if parts[-1].startswith(parts[0]) else " ".join(parts)


def _said(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_said(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _clustered(tasks: Sequence[Task], vectors: Float[Tensor, "cand goal"]) -> list[str]:
    points = vectors.double().cpu().numpy()
    count = min(CLUSTERS, len(np.unique(points, axis=0)))
    centres, label = kmeans2(points, count, minit="++", rng=np.random.default_rng(0))
    names = {}
    for one in np.unique(label).tolist():
        inside = np.flatnonzero(label == one)
        middle = inside[np.linalg.norm(points[inside] - centres[one], axis=1).argmin()]
        prompt = " ".join(tasks[int(middle)].prompt.split())
        names[one] = prompt if len(prompt) <= SHOWN else prompt[: SHOWN - 1] + "…"
    twice = len(set(names.values())) < len(names)
    return [f"{names[one]} ({one})" if twice else names[one] for one in label.tolist()]
