"""Tasks of the experiment: every level is there, parts do not meet, no corpus holds its target."""

import pytest

from discover_rl.text.experiment import levels
from discover_rl.text.experiment.levels import LEVELS, PROBE, TARGETS, TEST, TRAIN, WARM, corpus_for, of_levels, read
from discover_rl.text.tasks import write_records


@pytest.fixture(scope="module")
def tasks():
    pytest.importorskip("reasoning_gym")
    return levels.build()


def test_every_level_has_what_is_asked_of_it(tasks):
    for level in LEVELS:
        counts = {split: len(of_levels(tasks, [level.name], split)) for split in (WARM, TRAIN, PROBE, TEST)}
        assert counts[TRAIN] >= 30, level.name
        assert counts[WARM] == level.warm * levels.WARM_TASKS, level.name
        assert (counts[PROBE], counts[TEST]) == (level.target * 32, level.target * 256), level.name


def test_no_text_is_there_twice(tasks):
    assert len({"".join(task.prompt.casefold().split()) for task in tasks}) == len(tasks)
    assert all(task.answer is not None and task.verify is None for task in tasks)


@pytest.mark.parametrize("name", TARGETS)
def test_no_corpus_holds_its_target_or_what_is_as_hard(tasks, name):
    target = TARGETS[name]
    corpus = corpus_for(tasks, target)
    there = {task.fields["level"] for task in corpus}
    assert not there & {target.level, *target.excluded}
    assert set(target.easier) <= there
    assert {task.fields["split"] for task in corpus} == {TRAIN}


def test_answers_of_the_own_questions_are_right(tasks):
    for task in of_levels(tasks, ["products 1x2", "products 1xtens", "chain_sum 1+2"]):
        calculation = task.prompt.partition(": ")[2].replace("Give only the result as your final answer.", "")
        assert str(eval(calculation.strip().strip("=."))) == task.answer


def test_the_file_comes_back(tasks, tmp_path):
    (tmp_path / "levels.jsonl").write_bytes(write_records(task.record() for task in tasks[:50]))
    assert read(tmp_path / "levels.jsonl") == tasks[:50]
    (tmp_path / "other.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}')
    with pytest.raises(ValueError, match=r"need the fields level and split; make it with python -m discover_rl"):
        read(tmp_path / "other.jsonl")
