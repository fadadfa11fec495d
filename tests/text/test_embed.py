import pytest
import torch

from discover_rl.text.embed import Words, centred, embed, embed_tasks
from discover_rl.text.tasks import Task


class Counting:
    key = "counting"

    def __init__(self):
        self.calls = 0

    def __call__(self, texts):
        self.calls += 1
        return torch.tensor([[float(len(text)), 1.0, 3.0] for text in texts])


def test_words_put_tasks_of_a_kind_together(corpus, targets):
    tasks, wanted = embed_tasks(corpus, targets, Words())
    nearest = (tasks @ tasks.T).fill_diagonal_(-1).argmax(1)
    kinds = [task.fields.get("digits", 0) for task in corpus]
    right = sum(kinds[i] == kinds[int(n)] for i, n in enumerate(nearest))
    assert right >= 0.9 * len(corpus)
    assert float((wanted @ tasks[:60].T).mean()) > float((wanted @ tasks[60:].T).max())


def test_words_look_through_digits_and_case_and_no_text_touches_its_neighbour():
    one, two, three, alone = Words()(["What is 12 + 7?", "what IS 34 + 9?", "Spell maze.", "What is 12 + 7?"])
    assert torch.allclose(one, two)
    assert torch.allclose(one, alone)
    assert float(one @ three) < 0.3
    assert torch.allclose(Words()(["ä ö", "z"] * 3000).norm(dim=1), torch.ones(6000), atol=1e-5)


def test_centring_by_hand():
    tasks, targets = torch.tensor([[3.0, 1.0], [1.0, 1.0]]), torch.tensor([[2.0, 4.0], [2.0, 1.0]])
    moved, wanted = centred(tasks, targets)
    assert moved.tolist() == [[1.0, 0.0], [-1.0, 0.0]]
    assert wanted.tolist() == [[0.0, 1.0], [0.0, 0.0]]  # the last lies at the mean: it is like nothing


def test_embeddings_are_computed_once(cache):
    embedder = Counting()
    first = embed(["a", "bcd"], embedder)
    assert torch.equal(embed(["a", "bcd"], embedder), first)
    assert embedder.calls == 1
    embed(["a", "bcde"], embedder)
    embed(["bcd", "a"], embedder)
    assert embedder.calls == 3
    other = Counting()
    other.key = "another"
    embed(["a", "bcd"], other)
    assert other.calls == 1
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_cache_is_computed_anew(cache):
    embedder = Counting()
    embed(["a"], embedder)
    (path,) = cache.iterdir()
    path.write_bytes(b"nothing")
    embed(["a"], embedder)
    assert embedder.calls == 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert embed(["a"], Counting(), tmp_path / "file" / "below").shape == (1, 3)


def test_a_vector_that_is_not_finite_is_said():
    class Bad(Counting):
        def __call__(self, texts):
            return torch.full((len(texts), 2), torch.nan)

    with pytest.raises(ValueError, match="the embedding of 'hello' is not finite"):
        embed(["hello"], Bad())


def test_a_corpus_of_one_kind_leaves_strangers_strange(make_sums, tmp_path):
    stranger = Task("stranger", "Spell goal backwards")
    tasks, targets = embed_tasks([*make_sums(1, 30), *make_sums(2, 30), stranger], make_sums(3, 4), Words(), tmp_path)
    likeness = (tasks @ targets.T).mean(1)
    assert abs(float(likeness[-1])) < 0.05 < 0.1 < float(likeness[:-1].min())


def test_an_embedder_is_centred_unless_it_says_otherwise(tmp_path):
    class Fixed:
        key = "fixed"

        def __call__(self, texts):
            return torch.tensor([[3.0, 1.0], [3.0, -1.0], [3.0, 1.0]])[: len(texts)]

    class Plain(Fixed):
        centre = False

    given = [Task("a", "a"), Task("b", "b")], [Task("c", "c")]
    tasks, _ = embed_tasks(*given, Fixed(), tmp_path / "one")
    torch.testing.assert_close(tasks, torch.tensor([[0.0, 1.0], [0.0, -1.0]]), atol=2e-3, rtol=0)
    tasks, _ = embed_tasks(*given, Plain(), tmp_path / "two")
    torch.testing.assert_close(tasks[0], torch.tensor([3.0, 1.0]) / 10**0.5, atol=2e-3, rtol=0)
