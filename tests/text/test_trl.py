import re
from pathlib import Path
from typing import Any

import pytest
import torch

from discover_rl.text.curriculum import CurriculumConfig, TextCurriculum
from discover_rl.text.trl import CurriculumForTRL

pytest.importorskip("trl")


class Ones:
    def __call__(self, tasks, texts):
        return torch.tensor([[text.count("1") / max(len(text), 6) for text in group] for group in texts])


@pytest.fixture
def adapter(corpus, targets):
    def make(batch_size, chats=False):
        settings = CurriculumConfig(batch_size=batch_size)
        return CurriculumForTRL(TextCurriculum(corpus, targets, config=settings), Ones(), chats)

    return make


def test_the_sampler_repeats_tasks_and_batches_as_trl_expects(adapter):
    one = adapter(3)
    stream = one.sampler(generations=2, repeats=2)
    first = [next(stream) for _ in range(12)]
    assert first[:6] == first[6:]
    assert first[0:6:2] == first[1:6:2]
    assert len(set(first)) == 3
    second = [next(stream) for _ in range(12)]
    assert set(first).isdisjoint(second)  # chosen before the first is scored


def test_rewards_find_their_batch_a_step_behind(adapter):
    one = adapter(2)
    stream, ids = one.sampler(2, 1), one.dataset()["task_id"]
    first, second = ([ids[next(stream)] for _ in range(4)] for _ in range(2))
    assert one.reward([], ["11", "1", "0", "0"], task_id=list(first)) == pytest.approx([2 / 6, 1 / 6, 0, 0])
    assert len(one.curriculum.open) == 1
    one.reward([], [[{"role": "assistant", "content": "111111"}]] * 4, task_id=list(second))
    assert len(one.curriculum.open) == 0
    assert int(one.curriculum.belief.attempted.sum()) == 8


def test_prompts_may_be_chat_turns(adapter, corpus):
    assert adapter(2, chats=True).dataset()[0]["prompt"] == [{"role": "user", "content": corpus[0].prompt}]


@pytest.fixture
def grpo(tiny, tmp_path):
    def make(one, **changes):
        from trl.trainer.grpo_config import GRPOConfig

        model, tokenizer = tiny()
        given: dict[str, Any] = {
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "steps_per_generation": 1,
        } | changes
        args = GRPOConfig(
            str(tmp_path), use_cpu=True, bf16=False, max_steps=3, max_completion_length=4, report_to=[],
            logging_steps=1, save_strategy="no", gradient_checkpointing=False, disable_tqdm=True, learning_rate=1e-2,
            **given,
        )  # fmt: skip
        return one.trainer_class()(
            model=model, processing_class=tokenizer, args=args, train_dataset=one.dataset(), reward_funcs=one.reward
        )

    return make


def test_grpo_trains_on_what_the_curriculum_chooses(adapter, grpo):
    one = adapter(2)
    trainer = grpo(one)
    trainer.train()
    assert one.curriculum.number >= 3
    assert int(one.curriculum.belief.attempted.sum()) == 3 * 8
    assert 3 <= int((one.curriculum.belief.attempted > 0).sum()) <= 6
    assert len(one.curriculum.open) == one.curriculum.number - 3
    assert [row for row in trainer.state.log_history if "reward" in row]


def test_the_snippet_of_the_readme_trains(tiny_folder, tmp_path, corpus, targets, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "GRPOConfig" in part)
    small = "max_steps=1, use_cpu=True, bf16=False, max_completion_length=2, report_to=[], disable_tqdm=True"
    for old, new in (("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_folder)), ("max_steps=100", small)):
        assert code.count(old) == 1
        code = code.replace(old, new)
    names: dict[str, Any] = {"curriculum": TextCurriculum(corpus, targets)}
    exec(code, names)
    assert int(names["curriculum"].belief.attempted.sum()) == 8 * 8


def test_another_batch_size_is_said(adapter, grpo):
    with pytest.raises(ValueError, match=r"TRL takes 2 prompts in a generation batch .* set curriculum.batch_size=2"):
        grpo(adapter(3)).train()
