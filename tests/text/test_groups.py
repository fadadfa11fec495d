"""Kinds of tasks for the report."""

import torch

from discover_rl.text.groups import group_tasks
from discover_rl.text.tasks import Task


def tasks(*fields):
    return [Task(str(i), f"prompt {i}", fields=each) for i, each in enumerate(fields)]


VECTORS = torch.eye(4)
TARGETS = torch.tensor([[0.0, 0.8, 0.6, 0.0]])


def test_family_and_level_name_the_kinds_and_the_likest_stands_first():
    given = tasks(*({"family": f, "level": n} for f, n in (("sum", 1), ("sum", 2), ("word", 1), ("word", 1))))
    groups, names = group_tasks(given, VECTORS, TARGETS)
    assert names == ["sum 1", "sum 2", "word 1", "word 1"]
    assert [(g.name, g.tasks, round(g.likeness, 2)) for g in groups] == [
        ("sum 2", 1, 0.8),
        ("word 1", 2, 0.3),
        ("sum 1", 1, 0.0),
    ]


def test_what_all_tasks_say_names_the_kinds():
    assert group_tasks(tasks(*({"digits": n} for n in (1, 1, 2, 3))), VECTORS, TARGETS)[1] == [
        "digits 1", "digits 1", "digits 2", "digits 3",
    ]  # fmt: skip
    settings = ({"family": "sum", "settings": {"terms": n, "digits": 2}} for n in (1, 2, 2, 2))
    assert group_tasks(tasks(*settings), VECTORS, TARGETS)[1][0] == "sum terms=1 digits=2"
    named = ({"family": "sum", "level": f"sum of {n}"} for n in (1, 2, 2, 2))
    assert group_tasks(tasks(*named), VECTORS, TARGETS)[1][0] == "sum of 1"


def test_otherwise_tasks_that_are_alike_stand_together():
    """A field that some lack, one with a single value and one that differs everywhere say nothing."""
    fields = [{"digits": 1} if i < 30 else {} for i in range(60)]
    given = tasks(*({**each, "same": 1, "number": i, "pass_rate": i % 2} for i, each in enumerate(fields)))
    vectors = torch.nn.functional.normalize(torch.eye(3).repeat(20, 1) + 0.01 * torch.rand(60, 3), dim=1)
    groups, names = group_tasks(given, vectors, torch.eye(3)[:1])
    assert len(groups) <= 10 and sum(group.tasks for group in groups) == 60
    for name in set(names):  # no kind mixes what is not alike
        assert len({i % 3 for i, other in enumerate(names) if other == name}) == 1
    assert names[0].startswith("prompt ")
    assert {name for i, name in enumerate(names) if i % 3 == 0} == {g.name for g in groups if g.likeness > 0.9}
