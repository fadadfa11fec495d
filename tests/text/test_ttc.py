import dataclasses
import json

import pytest
import torch

from discover_rl.checkpoint import CheckpointError
from discover_rl.cli import main
from discover_rl.report import read_metrics
from discover_rl.text.curriculum import CurriculumConfig, TextCurriculum, practice
from discover_rl.text.embed import HiddenStates, Words
from discover_rl.text.models import load_embedder, load_language_model
from discover_rl.text.policy import Policy
from discover_rl.text.rewards import Verified
from discover_rl.text.tasks import Task, write_records
from discover_rl.text.ttc import CONFIG, MODEL, TextTrainer, add_lora, choose_folder
from discover_rl.text.ttc_config import TTCConfig

CPU = torch.device("cpu")


class Ones:
    """Share of the characters that are a 1: something a random model can improve on."""

    def __call__(self, tasks, texts):
        return torch.tensor([[text.count("1") / max(len(text), 6) for text in group] for group in texts])


def config(**changes):
    return TTCConfig(**{"batch_size": 4, "attempts": 8, "max_new_tokens": 6, "lr": 0.02, "steps": 4, **changes})


@pytest.fixture
def trainer(tiny, corpus, targets):
    def make(lora=0, reward=None, test=(), selector=None, curriculum=None, **changes):
        model, tokenizer = tiny()
        if lora:
            model = add_lora(model, lora)
        given = config(**changes)
        policy = Policy(model, tokenizer, max_new_tokens=given.max_new_tokens, template="{prompt}=")
        settings = CurriculumConfig(batch_size=given.batch_size, **(curriculum or {}))
        chooser = TextCurriculum(corpus, targets, selector, Words(), settings)
        return TextTrainer(given, policy, chooser, reward or Ones(), test)

    return make


@pytest.mark.parametrize("changes", [{"objective": "grpo"}, {"objective": "entropic"}, {"updates": 2}], ids=str)
def test_the_reward_rises(trainer, changes):
    one = trainer(**{"attempts": 16, "lr": 0.04, "batch_size": 2, **changes})
    rewards = [one.step()["rollout/reward"] for _ in range(14)]
    assert sum(rewards[-4:]) / 4 > 3 * sum(rewards[:3]) / 3


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_a_lora_adapter_learns_while_the_model_stays(trainer, kl):
    one = trainer(lora=4, kl=kl)
    assert all("lora_" in name for name in one.weights.kept)
    frozen = {n: p.clone() for n, p in one.policy.model.named_parameters() if "lora_" not in n}
    before = {n: p.clone() for n, p in one.weights.kept.items()}
    for _ in range(2):
        one.step()
    assert any(not torch.equal(p, before[n]) for n, p in one.weights.kept.items())
    assert all(torch.equal(p, frozen[n]) for n, p in one.policy.model.named_parameters() if n in frozen)


def test_staying_near_holds_the_model_back(trainer):
    free, held = trainer(), trainer(kl=20.0)
    for _ in range(4):
        free.step()
        held.step()
    tokens = torch.tensor([[5, 6, 7, 8, 9, 10]])
    logits = [m.policy.model(tokens).logits.log_softmax(-1) for m in (trainer(), free, held)]
    away = [float((logits[0].exp() * (logits[0] - other)).sum()) for other in logits[1:]]
    assert away[1] < away[0] / 2


def test_micro_batches_change_nothing(trainer):
    # Adam moves weights by lr however small the gradient: a small one, or it magnifies how sums are rounded
    whole, parts = trainer(micro_batch=64, lr=2e-3), trainer(micro_batch=3, lr=2e-3)
    for _ in range(2):
        whole.step()
        parts.step()
    for name, parameter in whole.weights.kept.items():
        torch.testing.assert_close(parameter, parts.weights.kept[name], atol=1e-5, rtol=1e-3)


def test_log_probs_are_those_of_single_sequences_without_padding(tiny):
    model, tokenizer = tiny()
    policy = Policy(model, tokenizer, max_new_tokens=5, template="{prompt}=")
    tasks = [Task("a", "12+3"), Task("b", "what is this?")]
    attempts = policy.attempt(tasks, 2, seed=1)
    assert attempts.tokens.shape == (4, len("what is this?=") + 5)
    together = policy.log_probs(attempts.tokens, attempts.attended, 5)
    for row in range(4):
        own = attempts.tokens[row][attempts.attended[row].bool()]
        written = int(attempts.written[row].sum())
        logits = model(own[None]).logits[0].log_softmax(-1)
        alone = logits[-written - 1 : -1].gather(1, own[-written:, None]).squeeze(1)
        torch.testing.assert_close(together[row, :written], alone, atol=1e-4, rtol=1e-4)


def test_attempts_depend_on_their_seed_alone(tiny):
    policy = Policy(*tiny(), max_new_tokens=5)
    tasks = [Task("a", "1")]
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one, other = policy.attempt(tasks, 4, 7), policy.attempt(tasks, 4, 8)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.tokens, policy.attempt(tasks, 4, 7).tokens)
    assert one.texts != other.texts
    assert policy.attempt(tasks, 1, 7, greedy=1).texts == policy.attempt(tasks, 1, 8, greedy=1).texts


def test_groups_without_difference_are_left_out(trainer):
    class Same:
        def __call__(self, tasks, texts):
            return torch.ones(len(tasks), len(texts[0]))

    one = trainer(reward=Same())
    before = {name: parameter.clone() for name, parameter in one.weights.kept.items()}
    assert one.step()["train/grad_norm"] == 0
    assert all(torch.equal(parameter, before[name]) for name, parameter in one.weights.kept.items())


def test_targets_are_practised_by_majority_vote(trainer):
    selector = practice(target_share=0.5, mastered_share=0.5)
    one = trainer(selector=selector, curriculum={"practise_targets": True, "explore": 0.0}, reward=Verified())
    one.step()
    assert float(one.curriculum.state.mastery) > 0  # some attempt always agrees with itself


def test_the_warm_up_teaches_the_format(trainer):
    one = trainer(warmup_steps=60, warmup_lr=0.01)
    answers = [task for task in one.curriculum.tasks if task.fields.get("digits") == 1]
    before = float(one.policy.answer_loss(answers).detach())
    one.warm_up()
    assert float(one.policy.answer_loss(answers).detach()) < before / 2
    texts = one.policy.attempt(answers[:8], 4, 0).texts
    assert sum(text.isdigit() for group in texts for text in group) > 24


def test_killed_and_resumed_it_is_the_same_run(trainer, tmp_path):
    test = [Task("x", "1+1", "2")]
    whole, first = trainer(steps=6, test=test), trainer(steps=3, test=test, save_interval=1)
    whole.run(tmp_path / "whole", False)
    first.run(tmp_path / "parts", False)
    second = trainer(steps=6, test=test)
    second.run(tmp_path / "parts", True)
    for name, parameter in whole.weights.kept.items():
        assert torch.equal(parameter, second.weights.kept[name]), name
    one, other = (read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "parts"))
    assert one["time/total_timesteps"].tolist() == other["time/total_timesteps"].tolist() == [0, *range(32, 193, 32)]
    assert one["goal/alpha"].tolist()[1:] == other["goal/alpha"].tolist()[1:]
    with pytest.raises(CheckpointError, match="start afresh with resume=never"):
        trainer(lora=2).restore(tmp_path / "parts" / "checkpoint.safetensors")


def test_a_gradient_that_is_not_finite_is_left_out_and_several_in_a_row_are_said(trainer):
    one = trainer()
    weight = next(iter(one.weights.kept.values()))
    sound, attempts = weight.detach().clone(), trainer().policy.attempt(one.curriculum.tasks[:4], 8, 0)

    def learn(value):
        with torch.no_grad():
            weight.copy_(value)
        return one.learn(attempts, torch.rand(4, 8))["train/skipped_batches"]

    broken = torch.full_like(sound, torch.inf)
    assert [learn(value) for value in (broken, broken, sound, broken, broken)] == [1, 1, 0, 1, 1]
    with pytest.raises(FloatingPointError, match="not finite in 3 batches in a row, after 0 steps; lower lr"):
        learn(broken)


# -- the verb ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, corpus, make_sums, tiny_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_bytes(write_records(task.record() for task in corpus))
    (tmp_path / "targets.jsonl").write_bytes(write_records({"prompt": t.prompt} for t in make_sums(3, 6, 1)))
    (tmp_path / "test.jsonl").write_bytes(write_records(t.record() for t in make_sums(3, 6, 2)))
    return ["model=tiny", "targets=targets.jsonl", "corpus=corpus.jsonl", "test=test.jsonl"]


SMALL = ["batch_size=2", "attempts=4", "max_new_tokens=4", "steps=3", "eval_interval=2", "device=cpu", "eval_samples=2"]


def test_the_verb_trains_saves_and_goes_on(files, capsys, tmp_path):
    main(["ttc", *files, *SMALL, "lora_rank=2", "lr=0.01"])
    out = capsys.readouterr().out
    assert "prompts are written as 'Q: {prompt}\\nA:'" in out
    assert "success on the test tasks: " in out
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.startswith("ttc-tiny-discover-seed0-")
    metrics = read_metrics(run_dir / "metrics.csv")
    assert metrics["time/total_timesteps"].tolist() == [0, 8, 16, 24]
    for tag in ("goal/alpha", "goal/achievability", "rollout/reward", "eval/success_rate", "text/mixed_groups"):
        assert tag in metrics, tag
    assert list((run_dir / "tensorboard").glob("seed_0/events*"))
    assert (run_dir / "adapter" / "adapter_config.json").is_file()
    model, tokenizer = load_language_model(str(run_dir / "model"), CPU)
    assert Policy(model, tokenizer, max_new_tokens=3).attempt([Task("a", "1+1")], 2, 0).texts
    main(["ttc", *files, *SMALL[:3], *SMALL[4:], "steps=4", "lora_rank=2", "lr=0.01"])
    assert f"going on from runs/{run_dir.name}\n" in capsys.readouterr().out
    main(["ttc", *files, *SMALL[:3], *SMALL[4:], "steps=4", "lora_rank=2", "lr=0.01"])
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {run_dir.name, f"{run_dir.name}-2"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=./nowhere"], "model './nowhere': there is no such folder"),
        (["attempts=1"], "attempts must be at least 2, got 1"),
        (["objective=ppo"], "objective is 'ppo'; allowed: grpo, dr_grpo, entropic"),
        (["template=chat"], "template=chat, but the model's tokenizer has no chat template"),
        (["template=hello"], "template is 'hello'; allowed: auto, chat, or a text with {prompt} in it"),
        (["curriculum=oracle"], "curriculum=oracle practises tasks like the targets: name their file, oracle=FILE"),
        (["test=corpus.jsonl"], "70 of 70 test tasks are practice tasks too"),
        (["reward=best"], "reward is 'best'; allowed: verified, majority"),
        (["batch_size=99"], "70 different tasks, fewer than curriculum.batch_size=99"),
    ],
    ids=range(9),
)
def test_mistakes_are_said_in_one_sentence(files, capsys, arguments, sentence, tmp_path):
    given = dict(argument.split("=", 1) for argument in [*files, *SMALL, *arguments])
    with pytest.raises(SystemExit) as stop:
        main(["ttc", *(f"{key}={value}" for key, value in given.items())])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_help_needs_no_model(capsys):
    main(["ttc", "--help"])
    assert "objective=dr_grpo            ``grpo``, ``dr_grpo`` or ``entropic``." in capsys.readouterr().out


def test_a_finished_run_is_left_alone_and_settings_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = config(model="m"), config(model="m", lr=0.5)
    assert choose_folder(one)[0] != choose_folder(other)[0]
    assert choose_folder(one)[0] == choose_folder(config(model="m", steps=99, eval_interval=3))[0]
    run_dir, _ = choose_folder(one)
    run_dir.mkdir(parents=True)
    (run_dir / CONFIG).write_text(json.dumps(dataclasses.asdict(one)))
    assert choose_folder(one) == (run_dir, False)  # killed before its first checkpoint
    (run_dir / MODEL).mkdir()
    assert choose_folder(one) == (run_dir.with_name(f"{run_dir.name}-2"), False)  # its checkpoint was deleted


# -- embeddings by a model -----------------------------------------------------------------------------------


def test_hidden_states_do_not_depend_on_company_or_padding(tiny):
    states = HiddenStates(*tiny(), batch_size=2)
    texts = ["a", "what is 12 + 3?", "1+1", "x y z"]
    together = states(texts)
    for text, vector in zip(texts, together, strict=True):
        torch.testing.assert_close(states([text])[0], vector, atol=1e-5, rtol=1e-4)
    model, tokenizer = tiny()
    mean = (
        model.model(**tokenizer("1+1", return_tensors="pt", return_token_type_ids=False)).last_hidden_state[0].mean(0)
    )
    torch.testing.assert_close(together[2], mean, atol=1e-5, rtol=1e-4)
    assert states.key == HiddenStates(*tiny()).key
    assert states.key != HiddenStates(*tiny(seed=1)).key


def test_a_saved_model_is_an_embedder_too(tiny_folder, tiny):
    by_name = load_embedder(str(tiny_folder), CPU)
    torch.testing.assert_close(by_name(["1+1"]), HiddenStates(*tiny())(["1+1"]), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="model 'nowhere/at/all': there is no such folder"):
        load_embedder("nowhere/at/all", CPU)
