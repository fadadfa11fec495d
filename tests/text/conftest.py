"""A small corpus of sums and words, whose difficulty is known."""

import pytest
import torch

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


def tiny_model(seed=0):
    """A random Llama of two layers and a tokenizer of single characters."""
    import string

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = string.ascii_letters + string.digits + " +-?:.'\n\\{}"
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *letters])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config), tokenizer


@pytest.fixture
def tiny():
    return tiny_model


@pytest.fixture
def tiny_folder(tmp_path):
    """The tiny model saved, as a user names it."""
    model, tokenizer = tiny_model()
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"
