import warnings

import pytest

from discover_rl.text.rewards import MajorityVote, Verified, final_answer, make_reward, same_answer
from discover_rl.text.tasks import Task


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("5", "5", True),
        (" 5. ", "5", True),
        ("5.0", "5", True),
        ("The answer is 1,234", "1234", True),
        ("2 + 3 = 5", "5", True),
        ("5 apples and 2 pears", "5", False),
        ("15", "5", False),
        ("-5", "5", False),
        (r"so \boxed{7} and then 9", "7", True),
        ("<answer> Paris </answer> or Rome", "paris", True),
        ("paris", "Paris.", True),
        ("It is Paris", "Paris", False),
        ("", "5", False),
    ],
)
def test_what_counts_as_the_answer(text, answer, right):
    assert same_answer(text, answer) is right


def test_the_last_marked_answer_counts():
    assert final_answer(r"\boxed{1} no, \boxed{2}") == "2"


def half(text, task):
    return task.fields["worth"] if "good" in text else 0


def broken(text, task):
    raise RuntimeError("no parse")


def outside(text, task):
    return 3


def verified(name, **fields):
    return Task("v", "p", verify=f"{__name__}.{name}", fields=fields)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This file under its name, as a user's module would be."""
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))


def test_answers_and_verifiers_side_by_side():
    rewards = Verified()([Task("a", "p", "5"), verified("half", worth=0.5)], [["5", "6"], ["good", "bad"]])
    assert rewards.tolist() == [[1.0, 0.0], [0.5, 0.0]]


def test_a_verifier_that_raises_scores_0_and_is_told_once():
    reward = Verified()
    with pytest.warns(UserWarning, match="broken raised RuntimeError: no parse \\(task 'v'\\); such attempts score 0"):
        assert reward([verified("broken")], [["a", "b"]]).tolist() == [[0.0, 0.0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reward([verified("broken")], [["a"]])
        assert (reward.failures, reward.calls) == (3, 3)
        with pytest.raises(ValueError, match="each of the first 100 attempts made its verifier raise"):
            reward([verified("broken")], [["a"] * 97])


def test_scores_out_of_range_and_tasks_without_answer_are_said():
    with pytest.raises(ValueError, match=r"outside scored 3.0 for task 'v'; rewards must lie in \[0, 1\]"):
        Verified()([verified("outside")], [["a"]])
    with pytest.raises(ValueError, match="has neither answer nor verifier; score it by reward=majority"):
        Verified()([Task("a", "p")], [["a"]])
    with pytest.raises(ValueError, match="reward is 'verifed'; did you mean 'verified'"):
        make_reward("verifed")


def test_the_majority_is_right_and_silence_never_is():
    tasks = [Task("a", "p")] * 3
    texts = [["4", "5", " 5.", "", ""], ["", "", "", "", "7"], ["1", "2", "3", "2", "1"]]
    assert MajorityVote()(tasks, texts).tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 1]]
    assert MajorityVote()(tasks[:1], [["", ""]]).tolist() == [[0, 0]]
