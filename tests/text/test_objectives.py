import math

import pytest
import torch

from discover_rl.text.objectives import advantages, entropic_advantage, policy_loss

BINARY = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], [0.0] * 8])


def test_group_advantages_by_hand():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    assert advantages(rewards, "dr_grpo").tolist() == [[0.5, -0.5, -0.5, 0.5], [0.0] * 4]
    deviation = math.sqrt(1 / 3)
    expected = 0.5 / (deviation + 1e-4)
    assert advantages(rewards, "grpo")[0].tolist() == pytest.approx([expected, -expected, -expected, expected])
    assert not advantages(rewards, "grpo")[1].any()


@pytest.mark.parametrize(("row", "right", "wrong"), [(0, 10.8, -0.61), (1, 3.8, -0.77), (2, 1.3, -1.0)])
def test_the_published_numbers_of_binary_groups(row, right, wrong):
    advantage = entropic_advantage(BINARY)[row]
    assert float(advantage[0]) == pytest.approx(right, abs=0.06)
    assert float(advantage[-1]) == pytest.approx(wrong, abs=0.006)


def test_the_weights_diverge_by_ln_2_whatever_the_scale():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(5, 16, generator=generator)
    one, other = entropic_advantage(rewards), entropic_advantage(1000 * rewards - 7)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    # from A_i + 1 = e_i / mean of the others back to the weights q_i: q = (A+1) / (n - 1 + A + 1)
    q = (one.double() + 1) / (15 + one.double() + 1)
    torch.testing.assert_close(q.sum(1), torch.ones(5).double(), atol=1e-5, rtol=0)
    divergence = (q * (16 * q).clamp_min(1e-300).log()).sum(1)
    torch.testing.assert_close(divergence, torch.full((5,), math.log(2)).double(), atol=1e-4, rtol=0)


def test_equal_rewards_and_single_attempts_teach_nothing():
    assert not entropic_advantage(BINARY)[3].any()
    assert not entropic_advantage(torch.ones(2, 1)).any()
    assert float(advantages(BINARY, "entropic").max()) == 5.0


def test_on_policy_the_gradient_is_the_policy_gradient():
    log_probs = torch.randn(3, 4, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    advantage = torch.tensor([1.0, -2.0, 0.5])
    policy_loss(log_probs, log_probs.detach(), advantage, mask).sum().backward()
    torch.testing.assert_close(log_probs.grad, -(advantage[:, None] * mask))


def test_clipping_stops_where_it_should_and_is_wider_upwards():
    old = torch.zeros(4, 1)
    ratio = torch.tensor([[1.25], [1.35], [0.7], [1.35]])
    log_probs = ratio.log().requires_grad_()
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    policy_loss(log_probs, old, advantage, torch.ones(4, 1, dtype=torch.bool)).sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.flatten().tolist() == pytest.approx([-1.25, 0.0, 0.0, 1.35])


def test_staying_near_costs_nothing_where_the_two_agree():
    log_probs, mask = torch.full((1, 2), -1.0), torch.ones(1, 2, dtype=torch.bool)
    none = torch.zeros(1)
    assert float(policy_loss(log_probs, log_probs, none, mask, reference=log_probs, kl=0.5)) == 0
    away = policy_loss(log_probs, log_probs, none, mask, reference=log_probs - 1, kl=0.5)
    assert float(away) == pytest.approx(2 * 0.5 * (math.exp(-1) + 1 - 1))
