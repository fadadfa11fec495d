"""Tasks of the experiment: families of reasoning-gym at several levels, each cut by text into parts that do not meet.

``python -m discover_rl.text.experiment.levels FILE`` writes them, so that the experiment itself needs no reasoning-gym.
"""

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from discover_rl.report.atomic import write_atomically
from discover_rl.text.gym_tasks import make_tasks
from discover_rl.text.tasks import Task, clean_corpus, read_tasks, write_records

WARM, TRAIN, PROBE, TEST = "warm", "train", "probe", "test"
WARM_TASKS, PROBE_TASKS, TEST_TASKS = 48, 32, 256
DRAWN = 1200  # of each level, before duplicates and what does not belong are dropped
LONGEST_PROMPT, LONGEST_ANSWER = 260, 12  # characters
SEED = 20
NOT_TENS = [n for n in range(11, 100) if n % 10]
Question = tuple[str, str]
"""What is asked, and the answer."""


@dataclass(frozen=True)
class Level:
    """One family at one difficulty.

    Attributes:
        name: The level's.
        family: Of reasoning-gym.
        settings: Of the family.
        most: Tasks for practice.
        warm: Whether the format is learnt on it before everything else: the easiest level of its family.
        target: Whether it may be a target, so that tasks for probing and for the test are set aside.
        questions: All of the level, where the family's settings cannot say what they are.
    """

    name: str
    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    most: int = 150
    warm: bool = False
    target: bool = False
    questions: Sequence[Question] = ()


def _products(small: Iterable[int], large: Iterable[int]) -> list[Question]:
    """Products of two factors in the words of reasoning-gym, whose own factors always have the same number of digits."""
    words = "Solve the following multiplication: {} * {}. Give only the result as your final answer."
    pairs = [pair for a in small for b in large for pair in {(a, b), (b, a)}]
    return [(words.format(a, b), str(a * b)) for a, b in pairs]


def _sums(small: Iterable[int], large: Iterable[int]) -> list[Question]:
    """Sums and differences of two numbers in the words of reasoning-gym; see ``_products``."""
    words = "State the final answer to the following arithmetic problem: {} {} {} ="
    pairs = [pair for a in small for b in large for pair in ((a, b), (b, a))]
    plus = [(words.format(a, "+", b), str(a + b)) for a, b in pairs]
    return plus + [(words.format(a, "-", b), str(a - b)) for a, b in pairs]


def _sum(terms: int, least: int, most: int) -> dict[str, Any]:
    return {"min_terms": terms, "max_terms": terms, "min_digits": least, "max_digits": most}


def _calculation(terms: int) -> dict[str, Any]:
    plain = {"operators": ["+", "-", "*"], "allow_parentheses": False, "allow_negation": False}
    return {**_sum(terms, 1, 1), **plain}


def _legs(animals: int) -> dict[str, Any]:
    return {"min_animals": animals, "max_animals": animals, "max_instances": 9}


def _decimals(terms: int, digits: int) -> dict[str, Any]:
    return {**_sum(terms, digits, digits), "min_decimal_places": 1, "max_decimal_places": 1}


def _words(letters: int) -> dict[str, Any]:
    return {"min_word_len": letters, "max_word_len": letters}


LEVELS = (
    Level("chain_sum 2x1", "chain_sum", _sum(2, 1, 1), 120, warm=True),
    Level("chain_sum 1+2", "chain_sum", most=250, questions=_sums(range(1, 10), range(10, 100))),
    Level("chain_sum 3x1", "chain_sum", _sum(3, 1, 1), 250, target=True),
    Level("chain_sum 2x2", "chain_sum", _sum(2, 2, 2), 250, target=True),
    Level("chain_sum 4x1", "chain_sum", _sum(4, 1, 1), 100),
    Level("products 1x1", "products", {"min_digits": 1, "max_digits": 1}, 60, warm=True),
    Level("products 1xtens", "products", most=100, questions=_products(range(2, 10), range(10, 100, 10))),
    Level("products 1x2", "products", most=250, target=True, questions=_products(range(2, 10), NOT_TENS)),
    Level("products 2x2", "products", {"min_digits": 2, "max_digits": 2}, 100),
    Level("basic_arithmetic 2", "basic_arithmetic", _calculation(2), 200, warm=True),
    Level("basic_arithmetic 3", "basic_arithmetic", _calculation(3), 250, target=True),
    Level("basic_arithmetic 4", "basic_arithmetic", _calculation(4), 100),
    Level("leg_counting 1", "leg_counting", _legs(1), 200, warm=True),
    Level("leg_counting 2", "leg_counting", _legs(2), 250, target=True),
    Level("leg_counting 3", "leg_counting", _legs(3), 100),
    Level("decimal_chain_sum 2x1", "decimal_chain_sum", _decimals(2, 1), 250, warm=True),
    Level("decimal_chain_sum 2x2", "decimal_chain_sum", _decimals(2, 2), 250, target=True),
    Level("decimal_chain_sum 3x2", "decimal_chain_sum", _decimals(3, 2), 100),
    Level("simple_equations 6", "simple_equations", {"min_terms": 2, "max_terms": 2, "max_value": 6}, warm=True),
    Level("simple_equations 20", "simple_equations", {"min_terms": 2, "max_terms": 2, "max_value": 20}),
    Level("base_conversion 30", "base_conversion", {"max_base": 3, "min_value": 1, "max_value": 30}, 50),
    Level("lcm 10", "lcm", {"max_value": 10}, 80),
    Level("gcd 12", "gcd", {"max_value": 12}, 80, warm=True),
    Level("gcd 50", "gcd", {"min_value": 13, "max_value": 50}),
    Level("letter_counting 2", "letter_counting", {"min_words": 1, "max_words": 2}, warm=True),
    Level("letter_counting 6", "letter_counting", {"min_words": 4, "max_words": 6}),
    Level("count_bits 255", "count_bits", {"max_n": 255}),
    Level("spell_backward 3", "spell_backward", _words(3), warm=True),
    Level("spell_backward 4", "spell_backward", _words(4)),
    Level("spell_backward 5", "spell_backward", _words(5), target=True),
    Level("weekday", "calendar_arithmetic", {"tasks": ["weekday_of_date"]}),
    Level("leap_year", "calendar_arithmetic", {"tasks": ["is_leap_year"]}),
    Level("family_relationships", "family_relationships", {"min_family_size": 4, "max_family_size": 4}),
    Level("number_sequence", "number_sequence", {"min_value": 0, "max_value": 20, "max_complexity": 1}),
    Level("simple_geometry", "simple_geometry", {"min_sides": 3, "max_sides": 3}),
    Level("fractions", "fraction_simplification", {"max_value": 20, "max_factor": 10, "styles": ["plain"]}),
    Level("syllogism", "syllogism"),
    Level("prime_factorization", "prime_factorization", {"max_value": 100}, 80),
    Level("complex_arithmetic", "complex_arithmetic"),
)


@dataclass(frozen=True)
class Target:
    """What a model should learn to solve.

    Attributes:
        level: The targets' level, which the corpus does not have.
        easier: Levels of the same family below it.
        excluded: Levels at least as hard and so much alike that they too are kept out of the corpus.
        null: Whether nothing is expected to help: no curriculum should seem to gain on it.
    """

    level: str
    easier: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    null: bool = False


TARGETS = {
    target.level: target
    for target in (
        Target("products 1x2", ("products 1x1", "products 1xtens"), ("products 2x2",)),
        Target("chain_sum 2x2", ("chain_sum 2x1", "chain_sum 1+2", "chain_sum 3x1"), ("chain_sum 4x1",)),
        Target(
            "chain_sum 3x1",
            ("chain_sum 2x1", "chain_sum 1+2", "chain_sum 2x2"),
            ("chain_sum 4x1", "basic_arithmetic 3", "basic_arithmetic 4"),
        ),
        Target(
            "basic_arithmetic 3",
            ("basic_arithmetic 2",),
            ("basic_arithmetic 4", "chain_sum 3x1", "chain_sum 4x1"),
        ),
        Target("leg_counting 2", ("leg_counting 1",), ("leg_counting 3",)),
        Target("decimal_chain_sum 2x2", ("decimal_chain_sum 2x1",), ("decimal_chain_sum 3x2",)),
        Target("spell_backward 5", ("spell_backward 3", "spell_backward 4"), null=True),
    )
}
NULL_TARGET = "spell_backward 5"


def build() -> list[Task]:
    """All tasks, each text once, with the fields ``level``, ``family`` and ``split``.

    The answer alone scores them. A level that may be a target is cut into tasks to probe it with, which a curriculum
    sees without their answers, test tasks, and the rest, which only the oracle practises while it is the target.
    """
    draw = random.Random(SEED)
    tasks: list[Task] = []
    for level in LEVELS:
        drawn = [
            (question, answer)
            for question, answer in level.questions or _drawn(level)
            if len(question) <= LONGEST_PROMPT and len(answer) <= LONGEST_ANSWER
        ]
        draw.shuffle(drawn)
        splits = [WARM] * (WARM_TASKS * level.warm)
        splits += ([TEST] * TEST_TASKS + [PROBE] * PROBE_TASKS) * level.target
        splits += [TRAIN] * level.most
        for number, ((question, answer), split) in enumerate(zip(drawn, splits, strict=False)):
            fields = {"level": level.name, "family": level.family, "split": split}
            tasks.append(Task(f"{level.name} {number}", question, answer, None, fields))
    return clean_corpus(tasks, [Task("none", "no task is this")]).tasks


def _drawn(level: Level) -> list[Question]:
    return [(task.prompt, str(task.answer)) for task in make_tasks(level.family, DRAWN, SEED, **level.settings)]


def of_levels(tasks: Sequence[Task], levels: Sequence[str], split: str = TRAIN) -> list[Task]:
    """The tasks of these levels in that part."""
    return [task for task in tasks if task.fields["level"] in levels and task.fields["split"] == split]


def corpus_for(tasks: Sequence[Task], target: Target) -> list[Task]:
    """What may be practised for a target: everything but its own level and what is as hard and alike."""
    without = {target.level, *target.excluded}
    return [task for task in tasks if task.fields["split"] == TRAIN and task.fields["level"] not in without]


def read(path: Path) -> list[Task]:
    """The tasks from a file that this module wrote.

    Raises:
        ValueError: If the file is missing or not of that kind.
    """
    tasks = read_tasks(path)
    if any(key not in task.fields for task in tasks for key in ("level", "split")):
        raise ValueError(
            f"{path}: tasks need the fields level and split; make it with python -m {__spec__.name} {path}"
        )
    return tasks


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m discover_rl.text.experiment.levels FILE")
    made = build()
    write_atomically(Path(sys.argv[1]), write_records(task.record() for task in made))
    print(f"{len(made):,} tasks of {len(LEVELS)} levels in {sys.argv[1]}")
