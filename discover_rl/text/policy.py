"""A language model as a policy: prompts in, attempts out, and the log probability of each token."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from discover_rl.text.tasks import Task

PLAIN_TEMPLATE = "Q: {prompt}\nA:"


class Attempts(NamedTuple):
    """What a model wrote for some prompts; row = task · attempts + attempt.

    Attributes:
        tokens: Prompts, padded on the left, then completions, padded on the right.
        attended: Which of them are no padding.
        written: Which tokens of the completions the model wrote, the closing one included.
        texts: The completions, by task and attempt.
    """

    tokens: Int[Tensor, "row length"]
    attended: Int[Tensor, "row length"]
    written: Bool[Tensor, "row time"]
    texts: list[list[str]]


class Policy:
    """A causal language model that attempts tasks.

    Args:
        model: From transformers, perhaps with a LoRA adapter by peft.
        tokenizer: Its tokenizer.
        template: ``auto``, the tokenizer's chat template or, without one, ``Q: {prompt}`` and ``A:``; ``chat``; or a
            text with ``{prompt}`` in it.
        max_new_tokens: Length of an attempt.
        temperature: Of sampling.

    Raises:
        ValueError: If the template has no place for the prompt, or chat is asked of a model without chat template.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        template: str = "auto",
        max_new_tokens: int = 64,
        temperature: float = 1.0,
    ) -> None:
        has_chat = getattr(tokenizer, "chat_template", None) is not None
        if template == "chat" and not has_chat:
            raise ValueError(
                "template=chat, but the model's tokenizer has no chat template; use template=auto, or write one with "
                "{prompt} in it"
            )
        if template not in ("auto", "chat") and "{prompt}" not in template:
            raise ValueError(f"template is {template!r}; allowed: auto, chat, or a text with {{prompt}} in it")
        self.model, self.tokenizer = model, tokenizer
        self.template = PLAIN_TEMPLATE if template == "auto" and not has_chat else template
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.device = next(model.parameters()).device

    @property
    def chats(self) -> bool:
        """Whether prompts go through the chat template."""
        return self.template in ("auto", "chat")

    def prompt(self, task: Task) -> str:
        """What the model reads."""
        if self.chats:
            turns = [{"role": "user", "content": task.prompt}]
            return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self.template.replace("{prompt}", task.prompt)

    def answer_in(self, completion: str) -> str:
        """The answer in a completion: without a chat template, its first line."""
        text = completion.strip()
        return text if self.chats else text.partition("\n")[0].strip()

    @torch.no_grad()
    def attempt(self, tasks: Sequence[Task], attempts: int, seed: int, greedy: int = 0) -> Attempts:
        """Let the model attempt each task some times.

        Args:
            tasks: The tasks.
            attempts: How often each.
            seed: Of the sampling; the state of torch's generators is left alone.
            greedy: In how many of the attempts at each, the first ones, the likeliest token is taken always.
        """
        given = self._tokens([self.prompt(task) for task in tasks], left=True)
        read, attended = given["input_ids"], given["attention_mask"]
        training = self.model.training
        self.model.eval()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            completion = self._complete(read, attended, attempts, greedy)
        self.model.train(training)
        ends = (completion == self.tokenizer.eos_token_id).long()
        written = ends.cumsum(1) - ends == 0  # up to the first end, that one included
        texts = self.tokenizer.batch_decode(
            completion.masked_fill(~written, self.tokenizer.pad_token_id), skip_special_tokens=True
        )
        texts = [self.answer_in(text) for text in texts]
        grouped = [texts[i : i + attempts] for i in range(0, len(texts), attempts)]
        tokens = torch.cat([read.repeat_interleave(attempts, 0), completion], 1)
        attended = torch.cat([attended.repeat_interleave(attempts, 0), written.long()], 1)
        return Attempts(tokens, attended, written, grouped)

    def _complete(
        self, read: Int[Tensor, "batch width"], attended: Int[Tensor, "batch width"], attempts: int, greedy: int
    ) -> Int[Tensor, "row time"]:
        """Tokens of the attempts. The attempts at a task share what was computed of its prompt.

        That, and greedy attempts beside sampled ones, are what ``generate`` of transformers has no call for.
        """
        positions = (attended.cumsum(1) - 1).clamp_min(0)
        output = self.model(
            input_ids=read, attention_mask=attended, position_ids=positions, use_cache=True, logits_to_keep=1
        )
        cache = output.past_key_values
        cache.batch_repeat_interleave(attempts)
        logits = output.logits[:, -1].repeat_interleave(attempts, 0)
        attended, position = (x.repeat_interleave(attempts, 0) for x in (attended, positions[:, -1:]))
        surely = torch.arange(attempts, device=self.device).repeat(len(read)) < greedy
        done = torch.zeros_like(surely)
        columns: list[Tensor] = []
        while True:
            token = logits.argmax(1)
            if greedy < attempts:
                chances = torch.softmax(logits.float() / self.temperature, 1)
                token = torch.where(surely, token, torch.multinomial(chances, 1).squeeze(1))
            token = token.masked_fill(done, self.tokenizer.pad_token_id)
            columns.append(token)
            done |= token == self.tokenizer.eos_token_id
            if len(columns) == self.max_new_tokens or bool(done.all()):
                return torch.stack(columns, 1)
            attended = torch.nn.functional.pad(attended, (0, 1), value=1)
            position = position + 1
            output = self.model(
                input_ids=token[:, None],
                attention_mask=attended,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]

    def log_probs(
        self, tokens: Int[Tensor, "row length"], attended: Int[Tensor, "row length"], count: int
    ) -> Float[Tensor, "row time"]:
        """Log probability of each of the last ``count`` tokens, at the temperature of sampling."""
        padding = int((attended.sum(0) == 0).cumprod(0).sum())  # common to all rows, on the left
        tokens, attended = tokens[:, padding:], attended[:, padding:]
        positions = (attended.cumsum(1) - 1).clamp_min(0)
        output = self.model(
            input_ids=tokens, attention_mask=attended, position_ids=positions, logits_to_keep=count + 1, use_cache=False
        )
        logits = output.logits[:, -count - 1 : -1].float() / self.temperature
        wanted = tokens[:, -count:]
        return logits.gather(2, wanted[..., None]).squeeze(2) - logits.logsumexp(2)

    def answer_loss(self, tasks: Sequence[Task]) -> Float[Tensor, ""]:
        """Mean negative log likelihood of a token of the answers, for a warm-up to the format."""
        prompts = [self.prompt(task) for task in tasks]
        space = "" if self.chats else " "
        answers = [f"{space}{task.answer}{self.tokenizer.eos_token}" for task in tasks]
        tails = [self.tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
        heads = [self.tokenizer(prompt, add_special_tokens=not self.chats)["input_ids"] for prompt in prompts]
        width, count = max(map(len, heads)), max(map(len, tails))
        pad = self.tokenizer.pad_token_id
        rows = [[pad] * (width - len(h)) + h + t + [pad] * (count - len(t)) for h, t in zip(heads, tails, strict=True)]
        seen = [
            [0] * (width - len(h)) + [1] * (len(h) + len(t)) + [0] * (count - len(t))
            for h, t in zip(heads, tails, strict=True)
        ]
        tokens, attended = (torch.tensor(x, device=self.device) for x in (rows, seen))
        mask = attended[:, -count:].bool()
        return -(self.log_probs(tokens, attended, count) * mask).sum() / mask.sum()

    def _tokens(self, texts: list[str], left: bool) -> Any:  # noqa: ANN401 - a BatchEncoding
        side = self.tokenizer.padding_side
        self.tokenizer.padding_side = "left" if left else "right"
        try:
            given = self.tokenizer(
                texts, return_tensors="pt", padding=True, add_special_tokens=not self.chats, return_token_type_ids=False
            )
        finally:
            self.tokenizer.padding_side = side
        return given.to(self.device)
