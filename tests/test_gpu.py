"""What only a CUDA device can show: the kernels compiled, CUDA graphs, a checkpoint that goes back to the device."""

import pytest
import torch

from discover_envs.point_maze import PointMaze
from discover_rl.agents import TD3, TD3Config
from discover_rl.agents.td3_update import PlainUpdate
from discover_rl.build import make_environment
from discover_rl.config import HindsightConfig
from discover_rl.run_folder import CHECKPOINT
from discover_rl.train import Trainer, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

NETWORKS = ("actor", "critics", "target_actor", "target_critics")


def on_cuda(tiny, rounds=4, fused=True, **changes):
    agent = TD3Config(hidden_sizes=[64, 64], num_critics=3, actor_critics=2, fused=fused)
    return tiny(rounds, agent=agent, device="cuda", tf32=False, **changes)


def close(one, other, start, bound=1e-3):
    """Whether two snapshots agree: draws to the bit, networks by the way that they have gone since the start."""
    assert one.keys() == other.keys()
    for name in one:
        if name.startswith("generator/") or name == "rounds":
            assert torch.equal(one[name], other[name]), name
    for name in NETWORKS:
        way, distance = (one[name] - start[name]).norm(), (one[name] - other[name]).norm()
        assert way > 0, name
        assert distance < bound * way, (name, float(distance / way))
    torch.testing.assert_close(one["rows"], other["rows"], rtol=0, atol=1e-2)


# -- kernels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden_sizes", "widths", "batch_size", "num_runs", "policy_delay", "relative"),
    [
        ([256, 256, 256], (4, 2, 2), 256, 1, 2, False),
        ([256, 256, 256], (4, 2, 2), 256, 10, 2, False),
        ([256, 256, 256], (29, 8, 2), 256, 5, 2, True),
        ([512, 512], (29, 8, 2), 256, 2, 1, False),
        ([128, 128], (70, 17, 5), 64, 3, 3, True),
        ([64, 64], (12, 3, 4), 48, 2, 2, False),
    ],
    ids=str,
)
# in float32 the plain update is itself 1.4e-3 away from what it comes to in float64; in TF32 the two differ as far as
# either differs from float32
@pytest.mark.parametrize(("precision", "bound"), [("highest", 5e-3), ("high", 0.2)])
def test_the_compiled_kernels_compute_what_the_plain_update_computes(
    twins, matmul_precision, hidden_sizes, widths, batch_size, num_runs, policy_delay, relative, precision, bound
):
    pytest.importorskip("triton")
    matmul_precision(precision)
    settings = {"policy_delay": policy_delay, "gamma": 0.9, "tau": 0.3, "relative_gradients": relative}
    config = TD3Config(hidden_sizes=hidden_sizes, **settings)
    # Adam's first steps are signs of gradients, also of those that are nothing but rounding; later ones are not
    pair = twins(config, num_runs, widths, warm=True)
    minibatches = pair.batches(3 * policy_delay, batch_size)
    for call in range(3):
        pair.update(minibatches, call * policy_delay)
    apart = pair.apart()
    worst = max(apart, key=apart.__getitem__)
    assert apart[worst] < bound, worst
    plain_steps, fused_steps = pair.steps()
    assert fused_steps == plain_steps
    fused = pair.fused.metrics()
    for tag, value in pair.plain.metrics().items():
        torch.testing.assert_close(fused[tag], value, rtol=bound, atol=1e-5)


def test_trainers_with_and_without_the_kernels_agree_on_their_first_updates(tiny, held, matmul_precision):
    pytest.importorskip("triton")
    fused, plain = (Trainer(on_cuda(tiny, fused=fused, cudagraphs=False)) for fused in (True, False))
    start = held(plain)
    for trainer, is_plain in ((fused, False), (plain, True)):
        for _ in range(2):  # learning starts in the second
            trainer.train_round()
        trainer.log_row()
        assert isinstance(trainer.agent, TD3)
        assert isinstance(trainer.agent.learner, PlainUpdate) == is_plain
    close(held(plain), held(fused), start, bound=1e-2)


# -- graphs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
def test_captured_training_is_uncaptured_training(tiny, held, matmul_precision, monkeypatch, fused):
    if fused:
        pytest.importorskip("triton")
    monkeypatch.setattr("discover_rl.rounds.MAX_BATCHES", 2)  # two calls of the learner a round
    captured, plain = (Trainer(on_cuda(tiny, fused=fused, cudagraphs=graphs)) for graphs in (True, False))
    start = held(plain)
    for trainer in (captured, plain):
        for _ in range(6):  # three warm up, the fourth captures
            trainer.train_round()
            trainer.log_row()
    for trainer, wanted in ((captured, True), (plain, False)):
        parts = trainer._choose_goals, trainer.roll_out.whole, trainer._update, trainer._adapt
        assert [part.graph is not None for part in parts] == [wanted] * 4
    close(held(plain), held(captured), start)


# -- learning beside the rollout -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["captured", "around a simulation", "step by step"])
@pytest.mark.parametrize("fused", [True, False])
def test_learning_beside_the_rollout_is_learning_before_it(
    tiny, held, matmul_precision, monkeypatch, simulated, fused, kind
):
    if fused:
        pytest.importorskip("triton")
    monkeypatch.setattr(PointMaze, "capturable", kind == "captured", raising=False)
    if kind == "around a simulation":
        monkeypatch.setattr("discover_rl.algorithm.make_environment", lambda *args: simulated(make_environment(*args)))
    # episodes that end in the middle of a round and go on to other targets: the wrong moment's would be seen
    changes = {
        "learn_beside_rollout": True,
        "target": {"low": [0.6, 0.6], "high": [2.0, 2.0]},
        "hindsight": HindsightConfig(0.5, 0.3, 0.1),
        "gradient_steps": 640,  # longer than the rollout
        "batch_size": 256,
    }
    beside, before = (Trainer(on_cuda(tiny, fused=fused, **changes)) for _ in range(2))
    before._rollout_stream = None
    start = held(before)
    for trainer in (beside, before):
        trainer.env.terminate_on_success = True
        for _ in range(8):
            trainer.train_round()
            trainer.log_row()
        assert trainer._update.graph is not None
        assert (trainer.roll_out.whole.graph is not None) == (kind == "captured")
        assert (trainer.roll_out.between.graph is not None) == (kind == "around a simulation")
    close(held(before), held(beside), start)


@pytest.mark.parametrize("captured", [True, False])
def test_learning_beside_the_rollout_lags_a_round_on_cuda_too(tiny, held, matmul_precision, captured):
    config = on_cuda(tiny, cudagraphs=captured, learn_beside_rollout=True)
    trainer = Trainer(config)
    for round_ in range(6):
        trainer.train_round()
        row = trainer.log_row()  # fails if a loss is not finite
        assert row["train/n_updates"] == 4 * round_
    assert trainer.agent.state()["adam/critics/step"].item() == 4 * 5
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.agent.parameters().values())


# -- resume --------------------------------------------------------------------------------------------------


def test_training_on_after_a_resume_equals_training_through(tiny, held, matmul_precision, tmp_path):
    pytest.importorskip("triton")
    start = held(Trainer(on_cuda(tiny)))
    through = train(on_cuda(tiny, 8), tmp_path / "through")
    train(on_cuda(tiny, 4), tmp_path / "halves")
    assert (tmp_path / "halves" / CHECKPOINT).is_file()
    second = train(on_cuda(tiny, 8), tmp_path / "halves", resume=True)
    assert second.rounds == 8
    assert all(tensor.is_cuda for tensor in (second.agent.parameters() | second.agent.state()).values())
    close(held(through), held(second), start)
