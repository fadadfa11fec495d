import math

import pytest
import torch

from discover_rl.agents import value_in_steps


def steps(q, gamma, goal_is_terminal):
    return value_in_steps(torch.tensor(q, dtype=torch.float64), gamma, goal_is_terminal).tolist()


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("d", [0, 1, 6])
def test_values_are_minus_the_number_of_steps(gamma, d):
    # a goal that pays once: Q = γ^d; at every step: Q = γ^d / (1 - γ); what the transform adds is taken off first
    assert steps([gamma**d - 0.01], gamma, True) == pytest.approx([-d])
    assert steps([gamma**d / (1 - gamma) - 0.01], gamma, False) == pytest.approx([-d])


def test_values_by_hand_where_the_goal_pays_at_each_step():
    # γ = 0.5, so -log_γ(x) = log2(x). Q = 0.99: 0.5·(0.99 + 0.01) = 0.5, log2 = -1; Q = 0: 0.5·0.01, log2 = -7.64;
    # Q = -1: 0.5·0.001, log2 = -10.97
    assert steps([0.99, 0.0, -1.0], 0.5, False) == pytest.approx([-1, math.log2(0.005), math.log2(0.0005)])


def test_values_by_hand_where_the_goal_pays_once():
    # Q = 0.24: log2(0.25) = -2; Q = 0: log2(0.01) = -6.64; Q = -1: log2(0.001) = -9.97
    assert steps([0.24, 0.0, -1.0], 0.5, True) == pytest.approx([-2, math.log2(0.01), math.log2(0.001)])


@pytest.mark.parametrize("goal_is_terminal", [True, False])
def test_higher_values_are_fewer_steps_and_all_are_finite(goal_is_terminal):
    v = value_in_steps(torch.linspace(-5, 120, 1000), 0.99, goal_is_terminal)
    assert v.isfinite().all()
    assert (v.diff() >= 0).all()
    above_the_floor = torch.linspace(-5, 120, 1000)[:-1] > 0
    assert (v.diff()[above_the_floor] > 0).all()
