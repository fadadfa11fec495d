"""Where tasks lie: embeddings, computed once and cached.

The default for training is the model's own hidden states; ``words`` needs no model at all, ``minilm`` a small package,
and any Hugging Face name or folder of an encoder or a language model will do.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from discover_rl.report.atomic import write_atomically
from discover_rl.text.tasks import Task

NGRAMS = (3, 4, 5)  # lengths of the character sequences
WORD_DIM = 512
HASHES = 1 << 20
TEXTS_AT_ONCE = 4096


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        key: Tells apart embedders whose vectors differ; part of the name of a cached file.
    """

    @property
    def key(self) -> str:
        """Tells apart embedders whose vectors differ."""
        ...

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "text goal"]:
        """One vector a text."""
        ...


class Words:
    """Weighted counts of character sequences, projected to a few hundred numbers: seconds for 100,000 texts.

    TF-IDF over sequences of three to five characters, all digits alike (2 + 31 is like 4 + 57), folded by signed
    hashing (Weinberger et al. 2009, arXiv 0902.2206). It sees wording and length, not meaning.
    """

    key = f"words-1-{WORD_DIM}"
    centre = False  # texts without a word in common are at right angles already; see ``embed_tasks``

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "text goal"]:
        """One vector a text, of unit norm before centring."""
        chunks = [texts[i : i + TEXTS_AT_ONCE] for i in range(0, len(texts), TEXTS_AT_ONCE)]
        documents = np.zeros(HASHES)
        for chunk in chunks:
            documents += np.bincount(_counts(chunk)[1], minlength=HASHES)
        rarity = np.log((1 + len(texts)) / (1 + documents)) + 1
        mixed = _mix(np.arange(HASHES, dtype=np.uint64))
        column = (mixed % WORD_DIM).astype(np.int64)
        signed = np.where((mixed >> np.uint64(40)) & np.uint64(1), rarity, -rarity)
        parts = []
        for chunk in chunks:
            row, sequence, count = _counts(chunk)
            weight = (1 + np.log(count)) * signed[sequence]
            size = len(chunk) * WORD_DIM
            parts.append(np.bincount(row * WORD_DIM + column[sequence], weight, size).reshape(len(chunk), WORD_DIM))
        vectors = torch.from_numpy(np.concatenate(parts)).float()
        return torch.nn.functional.normalize(vectors, dim=1)


def _counts(
    texts: Sequence[str],
) -> tuple[Int[np.ndarray, "pair"], Int[np.ndarray, "pair"], Int[np.ndarray, "pair"]]:
    """Which text holds which (hashed) character sequence how often."""
    raw = [f" {text.casefold()} ".encode() for text in texts]
    letters = np.frombuffer(b"".join(raw), dtype=np.uint8)
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in raw])
    digits = (letters >= ord("0")) & (letters <= ord("9"))
    letters = np.where(digits, np.uint8(ord("0")), letters)
    pairs = [_sequences(letters, owner, length) for length in NGRAMS]
    both, count = np.unique(np.concatenate(pairs), return_counts=True)
    return both // HASHES, both % HASHES, count


def _sequences(letters: UInt8[np.ndarray, "char"], owner: Int[np.ndarray, "char"], length: int) -> Int[np.ndarray, "_"]:
    windows = max(0, len(letters) - length + 1)
    rolled = np.full(windows, length, dtype=np.uint64)
    for offset in range(length):
        rolled = rolled * np.uint64(1099511628211) + letters[offset : offset + windows]
    whole = owner[:windows] == owner[length - 1 : length - 1 + windows]
    hashed = (_mix(rolled[whole]) % np.uint64(HASHES)).astype(np.int64)
    return owner[:windows][whole] * HASHES + hashed


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit of ``x``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class HiddenStates:
    """Last hidden states of a model, averaged over the tokens of a text.

    For an encoder of the MiniLM kind that is what sentence-transformers computes.

    Args:
        model: From transformers; a language model is taken without its head.
        tokenizer: Its tokenizer.
        max_length: Tokens after which a text is cut off.
        batch_size: Texts at once.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int = 1024, batch_size: int = 32) -> None:  # noqa: ANN401
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft wraps it once more
        self.model, self.tokenizer = getattr(whole, "base_model", whole), tokenizer
        self.batch_size = batch_size
        self.max_length = min(max_length, getattr(model.config, "max_position_embeddings", max_length))
        self.key = f"states-1-{self.max_length}-{_weights_digest(model)}"

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "text goal"]:
        """One vector a text; texts of like length go together."""
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        for first in range(0, len(order), self.batch_size):
            batch = [texts[i] for i in order[first : first + self.batch_size]]
            given = _right_padded(self.tokenizer, batch, self.max_length).to(device)
            states = self.model(**given).last_hidden_state.float()
            mask = given["attention_mask"][..., None]
            parts.append(((states * mask).sum(1) / mask.sum(1).clamp_min(1)).cpu())
        self.model.train(training)
        vectors = torch.cat(parts)
        return vectors[torch.tensor(order).argsort()]


def _right_padded(tokenizer: Any, texts: list[str], max_length: int) -> Any:  # noqa: ANN401
    side, pad = tokenizer.padding_side, tokenizer.pad_token
    tokenizer.padding_side = "right"
    if pad is None:  # its value is masked; any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    try:
        return tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max_length,
            return_token_type_ids=False,
        )
    finally:
        tokenizer.padding_side, tokenizer.pad_token = side, pad


def _weights_digest(model: Any) -> str:  # noqa: ANN401
    """Changes with any retraining: some numbers of every parameter, spread evenly over it."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        digest.update(flat[:: max(1, len(flat) // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where embeddings are kept: ``DISCOVER_CACHE``, or ``discover_rl`` in the user's cache folder."""
    if given := os.environ.get("DISCOVER_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "discover_rl"


def embed(texts: Sequence[str], embedder: Embedder, folder: Path | None = None) -> Float[Tensor, "text goal"]:
    """Vectors of the texts, from the cache if they are there; rounded to half precision, so both give the same.

    Args:
        texts: In the order of the answer.
        embedder: What computes them.
        folder: Of the cache; ``cache_folder()`` if None.

    Raises:
        ValueError: If a vector is not finite.
    """
    digest = hashlib.sha256(embedder.key.encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    path = (folder or cache_folder()) / f"embeddings-{digest.hexdigest()[:24]}.safetensors"
    if path.is_file():
        try:
            return load(path.read_bytes())["embeddings"].float()
        except (SafetensorError, KeyError):
            path.unlink()  # damaged: computed anew
    vectors = embedder(texts)
    if not vectors.isfinite().all():
        bad = int((~vectors.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"the embedding of {texts[bad][:60]!r} is not finite; use another model, or embed=words")
    vectors = torch.nn.functional.normalize(vectors, dim=1).half()  # well within the range of half precision
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({"embeddings": vectors.contiguous()}))
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return vectors.float()


def centred(
    tasks: Float[Tensor, "cand goal"], targets: Float[Tensor, "desired goal"]
) -> tuple[Float[Tensor, "cand goal"], Float[Tensor, "desired goal"]]:
    """Both without the mean of the tasks, at unit norm.

    The states of a language model all point nearly the same way (mean cosine .75 between unrelated tasks), which
    would make the kernel almost constant.
    """
    mean = tasks.mean(0)

    def scaled(vectors: Tensor) -> Tensor:
        moved = vectors - mean
        return torch.where(moved.norm(dim=1, keepdim=True) > 1e-3, torch.nn.functional.normalize(moved, dim=1), 0.0)

    return scaled(tasks), scaled(targets)


def embed_tasks(
    tasks: Sequence[Task], targets: Sequence[Task], embedder: Embedder, folder: Path | None = None
) -> tuple[Float[Tensor, "cand goal"], Float[Tensor, "desired goal"]]:
    """Embeddings of practice tasks and targets, by their prompts; centred unless the embedder has ``centre = False``.

    Centring a corpus that is nearly all of one kind makes everything else alike: a target that is a little longer than
    the tasks and a task that has nothing to do with it both lie away from the mean. Where unrelated texts are at right
    angles without it, it only does harm.
    """
    vectors = embed([task.prompt for task in [*tasks, *targets]], embedder, folder)
    parts = vectors[: len(tasks)], vectors[len(tasks) :]
    return centred(*parts) if getattr(embedder, "centre", True) else parts
