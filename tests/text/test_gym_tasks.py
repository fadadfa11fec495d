import json

import pytest

from discover_rl.text.gym_tasks import make_tasks, score
from discover_rl.text.rewards import Verified
from discover_rl.text.tasks import Task, read_tasks, write_records


def test_tasks_are_different_and_their_own_verifier_decides(tmp_path):
    tasks = make_tasks("chain_sum", 12, seed=1, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    assert len({task.prompt for task in tasks}) == len(tasks) == 12
    (tmp_path / "tasks.jsonl").write_bytes(write_records(task.record() for task in tasks))
    again = read_tasks(tmp_path / "tasks.jsonl")
    assert again == tasks
    rewards = Verified()(again, [[str(task.answer), str(int(str(task.answer)) + 1), "word"] for task in again])
    assert rewards.tolist() == [[1.0, 0.0, 0.0]] * 12


def test_few_distinct_questions_give_fewer_tasks():
    tasks = make_tasks("products", 150, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    assert 50 < len(tasks) < 110
    assert json.dumps([task.record() for task in tasks])


def test_mistakes_are_said():
    with pytest.raises(ValueError, match="no family 'chainsum'; did you mean 'chain_sum'"):
        make_tasks("chainsum", 3)
    with pytest.raises(ValueError, match=r"reasoning-gym, chain_sum: .*min_term"):
        make_tasks("chain_sum", 3, min_term=2)
    with pytest.raises(ValueError, match="task 'a' is not from make_tasks"):
        score("1", Task("a", "b", "c"))
