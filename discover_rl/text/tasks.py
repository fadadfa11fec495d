"""Practice tasks and targets: JSON lines in, duplicates and leaked targets out."""

import hashlib
import importlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from discover_rl.config import did_you_mean

Verifier = Callable[[str, "Task"], float]
"""Scores the text that a model wrote for a task, in [0, 1]."""


@dataclass(frozen=True)
class Task:
    """One prompt, and how an attempt at it is scored.

    Attributes:
        id: Unique within a corpus.
        prompt: What the model is asked.
        answer: The text that is right; None where a verifier decides or nobody knows.
        verify: Dotted path of a ``Verifier``, e.g. ``my_package.checks.parses``; None compares with the answer.
        fields: Everything else that the line held.
    """

    id: str
    prompt: str
    answer: str | None = None
    verify: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The task as one JSON object, as ``read_tasks`` reads it."""
        own = {"id": self.id, "prompt": self.prompt, "answer": self.answer, "verify": self.verify}
        return {**{key: value for key, value in own.items() if value is not None}, **self.fields}


class Corpus(NamedTuple):
    """Practice tasks that are all different and none of them a target.

    Attributes:
        tasks: What is left.
        duplicates: Tasks dropped because an earlier one has the same prompt.
        leaked: Tasks dropped because their prompt is that of a target.
        conflicts: Ids of the duplicates whose answer differs from that of the task kept.
    """

    tasks: list[Task]
    duplicates: int
    leaked: int
    conflicts: list[str]

    def describe(self) -> str:
        """What was dropped, as a sentence; empty if nothing was."""
        parts = []
        if self.leaked:
            parts.append(f"{counted(self.leaked)} whose prompt is a target")
        if self.duplicates:
            said = f"{counted(self.duplicates)} whose prompt stood there already"
            if self.conflicts:
                said += f" ({len(self.conflicts)} of them with another answer, e.g. id {self.conflicts[0]!r})"
            parts.append(said)
        return f"dropped {' and '.join(parts)}; {counted(len(self.tasks))} left" if parts else ""


def read_tasks(path: Path, scored: bool = True) -> list[Task]:
    """Read one task a line: a JSON object with ``prompt`` and, where ``scored``, ``answer`` or ``verify``.

    ``id`` defaults to the number of the line. An answer may be a number or a truth value; it becomes text.

    Args:
        path: The file.
        scored: Whether attempts must be scorable, as those at practice tasks must.

    Raises:
        ValueError: If a line is not such an object, an id is taken, a verifier cannot be imported, or there is no
            task at all; the line is named.
        OSError: If the file cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; give JSON lines with a field 'prompt'")
    tasks: list[Task] = []
    seen: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error.reason} at byte {error.start})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            given = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not a JSON object ({error.msg} at column {error.colno})") from error
        task = task_from_record(given, where, str(number), scored)
        if task.id in seen:
            raise ValueError(f"{where}: id {task.id!r} stands in line {seen[task.id]} already; ids must be unique")
        seen[task.id] = number
        tasks.append(task)
    if not tasks:
        raise ValueError(f"{path} holds no task; write one JSON object a line, e.g. {EXAMPLE}")
    for verify in {task.verify for task in tasks if task.verify is not None}:
        load_verifier(verify)
    return tasks


EXAMPLE = '{"prompt": "What is 2 + 3?", "answer": "5"}'
_OWN = ("id", "prompt", "answer", "verify")


def task_from_record(given: Any, where: str, default_id: str, scored: bool = True) -> Task:  # noqa: ANN401 - any JSON
    """The task that a JSON object describes.

    Args:
        given: The object.
        where: Where it stands, for messages.
        default_id: Its id if it names none.
        scored: Whether it must have an answer or a verifier.

    Raises:
        ValueError: If it does not describe one.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected a JSON object like {EXAMPLE}, got {json.dumps(given)[:40]}")
    prompt = given.get("prompt")
    if "prompt" not in given:
        hint = did_you_mean("prompt", given) or f"; it has {', '.join(given) or 'none'}"
        raise ValueError(f"{where}: the field 'prompt' is missing{hint}")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"{where}: 'prompt' must be a text that is not empty, got {json.dumps(prompt)[:40]}")
    answer, verify = given.get("answer"), given.get("verify")
    if isinstance(answer, bool | int | float):
        answer = json.dumps(answer)
    if answer is not None and not isinstance(answer, str):
        raise ValueError(f"{where}: 'answer' must be a text or a number, got {json.dumps(answer)[:40]}")
    if verify is not None and not isinstance(verify, str):
        raise ValueError(f"{where}: 'verify' must be the dotted path of a function, got {json.dumps(verify)[:40]}")
    if scored and answer is None and verify is None:
        raise ValueError(f"{where}: a practice task needs 'answer', or 'verify' with the dotted path of a function")
    identity = given.get("id")
    fields = {key: value for key, value in given.items() if key not in _OWN}
    return Task(default_id if identity is None else str(identity), prompt, answer, verify, fields)


def as_tasks(given: Sequence[Task | Mapping[str, Any] | str], what: str, scored: bool) -> list[Task]:
    """Tasks from tasks, mappings or plain prompts.

    Args:
        given: The tasks.
        what: What they are called, for messages.
        scored: Whether they must have an answer or a verifier.

    Raises:
        ValueError: If one does not describe a task, or an id stands there twice.
    """
    tasks = []
    for number, item in enumerate(given, start=1):
        if isinstance(item, Task):
            tasks.append(item)
        else:
            record = {"prompt": item} if isinstance(item, str) else dict(item)
            tasks.append(task_from_record(record, f"{what}, number {number}", str(number), scored))
    (double, times), *_ = Counter(task.id for task in tasks).most_common(1) or [("", 0)]
    if times > 1:
        raise ValueError(f"{what}: the id {double!r} stands there {times} times; ids must be unique")
    return tasks


def write_records(records: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines, one object each."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def clean_corpus(tasks: Sequence[Task], targets: Sequence[Task]) -> Corpus:
    """Drop duplicates and tasks whose prompt is that of a target: practising the test would prove nothing.

    Prompts are compared without regard to case, white space and the form of Unicode characters.

    Raises:
        ValueError: If nothing is left, or there are no targets.
    """
    if not targets:
        raise ValueError("there are no targets; give at least one prompt that the model should learn to solve")
    if not tasks:
        raise ValueError("the corpus holds no task; give practice tasks with 'prompt' and 'answer'")
    wanted = {_canonical(target.prompt) for target in targets}
    kept: dict[str, Task] = {}
    leaked, conflicts, duplicates = 0, [], 0
    for task in tasks:
        text = _canonical(task.prompt)
        if text in wanted:
            leaked += 1
        elif text in kept:
            duplicates += 1
            if (task.answer, task.verify) != (kept[text].answer, kept[text].verify):
                conflicts.append(task.id)
        else:
            kept[text] = task
    if not kept:
        raise ValueError(
            f"all {len(tasks)} tasks of the corpus are targets too; nothing is left to practise: "
            "give other tasks than the targets"
        )
    return Corpus(list(kept.values()), duplicates, leaked, conflicts)


def counted(count: int, what: str = "task") -> str:
    """``1 task``, ``2 tasks``, or of what else."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _canonical(prompt: str) -> str:
    return "".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def load_verifier(path: str) -> Any:  # noqa: ANN401 - a Verifier, but only a call can tell
    """Import the function that a dotted path names, ``package.module.function``.

    Raises:
        ValueError: If there is none, with what was found instead.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    if not module_name:
        raise ValueError(f"verify is {path!r}; expected the dotted path of a function, e.g. my_package.checks.parses")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's may raise anything when it is imported
        raise ValueError(f"verify is {path!r}, but {module_name} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        hint = did_you_mean(name, [key for key, value in vars(module).items() if callable(value)])
        raise ValueError(f"verify is {path!r}, but {module_name} has no function {name!r}{hint}")
    return function


def fingerprint(tasks: Sequence[Task]) -> str:
    """Sixteen hex digits that tell apart lists of tasks, by ids and prompts in their order."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps([task.id, task.prompt]).encode())
    return digest.hexdigest()[:16]
