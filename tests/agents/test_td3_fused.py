"""The Triton kernels against their plain twin; without a GPU in Triton's interpreter, some seconds a case."""

import os
import re
from dataclasses import dataclass

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton and the kernels are imported, which is not before this
pytest.importorskip("triton")

from discover_rl.agents import TD3Config, td3_fused
from discover_rl.agents.td3_fused import FusedUpdate, fused_obstacle
from discover_rl.agents.td3_update import Minibatches, PlainUpdate


@dataclass
class Case:
    """A shape that the kernels must take: the fewer networks and rows, the shorter the test."""

    hidden_sizes: list[int]
    widths: tuple[int, int, int]  # observation, action, goal
    batch_size: int = 16
    num_runs: int = 1
    policy_delay: int = 1
    critics: tuple[int, int, int] = (2, 1, 1)  # all, for the target, for the actor
    small_blocks: bool = False
    warm: bool = True
    value_max: float = 1.0
    calls: int = 2
    saturation_penalty: float = 0.0
    relative_gradients: bool = False

    def config(self) -> TD3Config:
        num_critics, target_critics, actor_critics = self.critics
        return TD3Config(
            hidden_sizes=self.hidden_sizes,
            num_critics=num_critics,
            target_critics=target_critics,
            actor_critics=actor_critics,
            policy_delay=self.policy_delay,
            learning_rate=1e-3,
            gamma=0.9,
            tau=0.3,  # so that targets move by more than their rounding
            target_noise=0.3,
            actor_noise=0.3,
            saturation_penalty=self.saturation_penalty,
            relative_gradients=self.relative_gradients,
        )


TINY = Case([64], (2, 2, 1))
CASES = {
    "several runs": Case([64, 64], (2, 2, 2), num_runs=3, warm=False),
    "blocks smaller than a batch": Case([64, 64], (12, 3, 4), 32, 1, 2, (3, 2, 2), small_blocks=True),
    "wider layers": Case([128, 128], (29, 8, 2), 64, critics=(2, 2, 1)),
    "the widest tiles": Case([256, 256], (2, 2, 2), critics=(1, 1, 1), small_blocks=True, calls=1),
    "three layers, many actions": Case([64, 64, 64], (3, 17, 2), 16, 1, 3, (3, 3, 1), calls=1, saturation_penalty=0.5),
    "inputs of several tiles": Case([64, 64], (70, 2, 5), 128, warm=False),
    "gradients relative to Q": Case([64, 64], (2, 2, 2), critics=(3, 2, 2), relative_gradients=True),
    "one layer, a batch of no power of two": Case([64], (2, 2, 1), 48, 2, 2, value_max=10.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_kernels_compute_what_the_plain_update_computes(twins, monkeypatch, case):
    # blocks of rows are as large as they can be while there are still so many programs
    monkeypatch.setattr(td3_fused, "PROGRAMS", 10**9 if case.small_blocks else 1)
    config = case.config()
    pair = twins(config, case.num_runs, case.widths, case.warm, case.value_max)
    ((actor_steps, critic_steps), _) = pair.steps()
    minibatches = pair.batches(case.calls * case.policy_delay, case.batch_size)
    for call in range(case.calls):
        pair.update(minibatches, call * case.policy_delay)
    apart = pair.apart()
    worst = max(apart, key=apart.__getitem__)
    assert apart[worst] < 1e-3, worst
    assert pair.steps() == [(actor_steps + case.calls, critic_steps + case.calls * case.policy_delay)] * 2
    plain, fused = pair.plain.metrics(), pair.fused.metrics()
    assert fused.keys() == plain.keys()
    for tag, value in plain.items():
        torch.testing.assert_close(fused[tag], value, rtol=1e-4, atol=1e-6)


def test_runs_with_different_learning_rates(twins):
    pair = twins(TINY.config(), 3, TINY.widths)
    for networks in pair.networks:
        networks.learning_rates[1:] = torch.tensor([5e-4, 1e-4])
    pair.update(pair.batches(1, TINY.batch_size), 0)
    assert max(pair.apart().values()) < 1e-2  # the plain twin rounds twice where a step is shortened


def test_the_comparison_sees_every_part_that_is_left_behind(twins):
    config = TINY.config()
    pair = twins(config, TINY.num_runs, TINY.widths, TINY.warm)
    pair.fused = PlainUpdate(pair.networks[1], config, TINY.value_max)
    pair.update(pair.batches(1, TINY.batch_size), 0)
    assert max(pair.apart().values()) == 0
    parts = {name: part for name, part in pair.parts(1).items() if not name.endswith("/padding")}
    assert len(parts) == 8 * 4  # networks, targets and two moments of both; weights and biases of two layers
    for name, part in parts.items():
        kept = part.clone()
        part.copy_(pair.start[name])
        apart = pair.apart()
        assert apart.pop(name) == pytest.approx(1)
        assert max(apart.values()) == 0
        part.copy_(kept)
    pair.networks[1].actor[..., -1] = 0.5  # behind the last bias
    assert pair.apart()["actor/padding"] == 0.5


def test_batches_of_another_size_may_follow(twins):
    pair = twins(TINY.config(), TINY.num_runs, TINY.widths)
    for batch_size in (16, 48, 16):
        pair.update(pair.batches(1, batch_size), 0)
    assert max(pair.apart().values()) < 1e-3


def test_the_batches_of_one_run_never_reach_another(twins):
    config = TINY.config()
    pair = twins(config, 3, TINY.widths)
    pair.plain = FusedUpdate(pair.networks[0], config, TINY.value_max)
    batches, strange = pair.batches(1, 16, seed=0), pair.batches(1, 16, seed=1)
    mixed = Minibatches(*(torch.stack([a[0], b[1], a[2]]) for a, b in zip(batches, strange, strict=True)))
    pair.plain(batches, 0)
    pair.fused(mixed, 0)
    for name in ("actor", "critics", "target_actor", "target_critics"):
        one, other = (getattr(networks, name) for networks in pair.networks)
        assert torch.equal(one[[0, 2]], other[[0, 2]]), name
        assert not torch.equal(one[1], other[1]), name


def test_before_the_first_update_there_are_metrics_already(twins):
    pair = twins(TINY.config(), 3, TINY.widths)
    plain, fused = pair.plain.metrics(), pair.fused.metrics()
    assert fused.keys() == plain.keys()
    assert all(torch.equal(fused[tag], plain[tag]) for tag in plain)


@pytest.mark.parametrize(
    ("hidden_sizes", "batch_size", "obstacle"),
    [
        ([64], 16, None),
        ([256, 256, 256], 256, None),
        ([192, 192], 48, None),
        ([64, 128], 64, r"agent.hidden_sizes=\[64, 128\] are not all the same multiple of 64"),
        ([32, 32], 64, r"agent.hidden_sizes=\[32, 32\] are not all the same multiple of 64"),
        ([96], 64, r"agent.hidden_sizes=\[96\] are not all the same multiple of 64"),
        ([64], 24, r"batch_size=24 is no multiple of 16"),
        ([64], 8, r"batch_size=8 is no multiple of 16"),
    ],
)
def test_what_the_kernels_cannot_run_is_said(hidden_sizes, batch_size, obstacle):
    said = fused_obstacle(TD3Config(hidden_sizes=hidden_sizes), batch_size)
    assert said is None if obstacle is None else re.fullmatch(obstacle, said or "")
