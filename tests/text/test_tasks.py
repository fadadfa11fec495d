import json
from pathlib import Path

import pytest

from discover_rl.text.tasks import Task, clean_corpus, fingerprint, load_verifier, read_tasks, write_records


@pytest.fixture
def written(tmp_path):
    def write(*lines):
        path = tmp_path / "tasks.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return write


def test_what_a_line_may_hold(written):
    path = written(
        {"prompt": "2 + 3?", "answer": 5, "family": "sums", "level": 1},
        "",
        {"id": "b", "prompt": "Is it so?", "answer": True},
        {"prompt": "Sort ab.", "verify": "math.dist", "answer": "ab"},
    )
    one, two, three = read_tasks(path)
    assert (one.id, one.prompt, one.answer, one.verify) == ("1", "2 + 3?", "5", None)
    assert one.fields == {"family": "sums", "level": 1}
    assert (two.id, two.answer) == ("b", "true")
    assert (three.id, three.verify) == ("4", "math.dist")


def test_written_tasks_are_read_again(written, tmp_path):
    tasks = read_tasks(written({"prompt": "Wie groß?", "answer": "1,5", "n": [1]}, {"prompt": "b", "answer": "c"}))
    again = tmp_path / "again.jsonl"
    again.write_bytes(write_records(task.record() for task in tasks))
    assert read_tasks(again) == tasks
    assert "groß" in again.read_text()


def test_targets_need_no_answer(written):
    assert read_tasks(written({"prompt": "a"}), scored=False)[0].answer is None


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["{"], "line 1: not a JSON object (Expecting property name enclosed in double quotes at column 2)"),
        (["", "[1]"], 'line 2: expected a JSON object like {"prompt": "What is 2 + 3?", "answer": "5"}, got [1]'),
        ([{"promt": "a"}], "line 1: the field 'prompt' is missing; did you mean 'promt'?"),
        ([{"question": "a", "x": 1}], "line 1: the field 'prompt' is missing; it has question, x"),
        ([{"prompt": " "}], "line 1: 'prompt' must be a text that is not empty, got \" \""),
        ([{"prompt": [{"role": "user"}]}], "'prompt' must be a text that is not empty, got [{"),
        ([{"prompt": "a"}], "line 1: a practice task needs 'answer', or 'verify' with the dotted path"),
        ([{"prompt": "a", "answer": ["b"]}], "line 1: 'answer' must be a text or a number, got [\"b\"]"),
        ([{"prompt": "a", "verify": 3}], "line 1: 'verify' must be the dotted path of a function, got 3"),
        ([{"prompt": "a", "answer": "b", "id": 7}, {"prompt": "c", "answer": "d", "id": "7"}], "id '7' stands in line"),
        (["", " "], "holds no task; write one JSON object a line"),
        ([{"prompt": "a", "verify": "math.dits"}], "math has no function 'dits'; did you mean 'dist'?"),
        ([{"prompt": "a", "verify": "no_such.module.f"}], "no_such.module cannot be imported: No module named"),
        ([{"prompt": "a", "verify": "f"}], "verify is 'f'; expected the dotted path of a function"),
    ],
)
def test_a_mistake_is_said_with_its_line(written, lines, sentence):
    with pytest.raises(ValueError, match=r".") as info:
        read_tasks(written(*lines))
    assert sentence in str(info.value)


def test_files_that_are_none_are_said(tmp_path):
    with pytest.raises(ValueError, match="there is no such file; give JSON lines"):
        read_tasks(tmp_path / "none.jsonl")
    path = Path(tmp_path / "binary.jsonl")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_tasks(path)


def test_leaked_targets_and_duplicates_are_dropped_and_counted():
    targets = [Task("t", "What is  2 + 2?")]
    tasks = [
        Task("1", "what is 2+2?", "4"),  # the target, written otherwise
        Task("2", "What is 3 + 3?", "6"),
        Task("3", "What is 3+3?", "6"),
        Task("4", "What is\n3 + 3?", "7"),  # the same question, another answer
        Task("5", "What is 33?", "33"),
    ]
    corpus = clean_corpus(tasks, targets)
    assert [task.id for task in corpus.tasks] == ["2", "5"]
    assert (corpus.leaked, corpus.duplicates, corpus.conflicts) == (1, 2, ["4"])
    assert corpus.describe() == (
        "dropped 1 task whose prompt is a target and 2 tasks whose prompt stood there already "
        "(1 of them with another answer, e.g. id '4'); 2 tasks left"
    )
    assert clean_corpus(tasks[1:2], targets).describe() == ""


def test_nothing_left_is_said():
    with pytest.raises(ValueError, match="all 2 tasks of the corpus are targets too"):
        clean_corpus([Task("1", "a", "b"), Task("2", "A", "b")], [Task("t", "a")])
    with pytest.raises(ValueError, match="there are no targets"):
        clean_corpus([Task("1", "a", "b")], [])
    with pytest.raises(ValueError, match="the corpus holds no task"):
        clean_corpus([], [Task("1", "a", "b")])


def test_a_verifier_is_found_by_dot_or_colon():
    assert load_verifier("os.path.join") is load_verifier("os.path:join")


def test_the_fingerprint_tells_lists_apart():
    one, two = Task("1", "a"), Task("2", "b")
    prints = {fingerprint(tasks) for tasks in ([one, two], [two, one], [one], [Task("1", "ab")])}
    assert len(prints) == 4
    assert fingerprint([one, two]) == fingerprint([Task("1", "a", "answer"), two])
