"""A small corpus of sums and words, whose difficulty is known."""

import pytest

from discover_rl.text.tasks import Task


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("DISCOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sums(digits, count, seed=0):
    import random

    draw = random.Random(f"{digits}-{seed}")
    found = {}
    while len(found) < count:
        a, b = (draw.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        found[f"What is {a} + {b}?"] = str(a + b)
    return [Task(f"sum{digits}-{seed}-{i}", p, a, fields={"digits": digits}) for i, (p, a) in enumerate(found.items())]


@pytest.fixture
def make_sums():
    return sums


@pytest.fixture
def corpus():
    """Sums of one, two and four digits, and words to spell backwards."""
    words = ["curriculum", "target", "novel", "maze", "text", "selector", "pass", "rate", "belief", "kernel"]
    spelling = [Task(f"word-{w}", f"Spell the word '{w}' backwards, please.", w[::-1]) for w in words]
    return [*sums(1, 20), *sums(2, 20), *sums(4, 20), *spelling]


@pytest.fixture
def targets():
    return [Task(f"t{i}", task.prompt) for i, task in enumerate(sums(3, 6, seed=1))]
