import math

import pytest
import torch

from discover_rl.selectors import Discover, adapt_alpha

CPU = torch.device("cpu")


def adapt(alpha, rate, controller, step, **settings):
    beta = torch.ones(len(alpha))
    result, beta = adapt_alpha(torch.tensor(alpha), beta, torch.tensor(rate), controller, step, **settings)
    assert beta.tolist() == [1.0] * len(alpha)  # unless it is let go
    return pytest.approx(result.tolist(), abs=1e-6)


def test_proportional_moves_by_step_times_the_error():
    # 0.4 + 0.1·(0.5 - 0.2) = 0.43; 0.4 + 0.1·(0.5 - 1) = 0.35; at the target rate it stays
    assert adapt([0.4, 0.4, 0.4], [0.2, 1.0, 0.5], "proportional", 0.1) == [0.43, 0.35, 0.4]


def test_proportional_aims_at_the_target_rate_given():
    # 0.4 + 0.5·(0.8 - 0.6) = 0.5
    assert adapt([0.4], [0.6], "proportional", 0.5, target_rate=0.8) == [0.5]


def test_band_moves_one_step_outside_and_none_inside():
    rates = [0.0, 0.29, 0.31, 0.5, 0.69, 0.71, 1.0]
    assert adapt([0.5] * 7, rates, "band", 0.05) == [0.55, 0.55, 0.5, 0.5, 0.5, 0.45, 0.45]


@pytest.mark.parametrize(("target_rate", "band"), [(0.5, 0.2), (0.5, 0.25), (0.5, 0.0), (0.75, 0.125)])
def test_the_edges_of_the_dead_band_belong_to_it(target_rate, band):
    edges = [target_rate - band, target_rate + band]
    settings = {"target_rate": target_rate, "band": band}
    assert adapt([0.5, 0.5], edges, "band", 0.05, **settings) == [0.5, 0.5]
    beyond = [edges[0] - 0.001, edges[1] + 0.001]
    assert adapt([0.5, 0.5], beyond, "band", 0.05, **settings) == [0.55, 0.45]


@pytest.mark.parametrize("controller", ["band", "proportional"])
def test_alpha_is_clipped_to_zero_and_one(controller):
    # without the clip: -0.48, 1.48 and, from within, 0.5
    assert adapt([0.02, 0.98, 0.5], [1.0, 0.0, 0.5], controller, 1.0) == [0.0, 1.0, 0.5]


def test_fixed_never_moves():
    assert adapt([0.25, 0.25], [0.0, 1.0], "fixed", 0.5) == [0.25, 0.25]


def test_each_run_has_its_own_alpha():
    selector = Discover(controller="band", alpha_start=0.5, alpha_step=0.05, alpha_max=1.0, target_rate=0.5)
    state = selector.init((3,), CPU)
    assert state.alpha.tolist() == [0.5, 0.5, 0.5]
    state = selector.update(state, torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3))
    assert state.alpha.tolist() == pytest.approx([0.55, 0.5, 0.45])


@pytest.mark.parametrize(("rate", "end"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_rate_that_stays_extreme_drives_alpha_to_the_end_and_keeps_it_there(rate, end):
    selector = Discover(controller="proportional", alpha_start=0.5, alpha_step=0.01, alpha_max=1.0, target_rate=0.5)
    state = selector.init((1,), CPU)
    for _ in range(150):  # 100 rounds of 0.01·0.5 reach the end
        state = selector.update(state, torch.tensor([rate]), torch.zeros(1))
    assert state.alpha.tolist() == [end]


def test_alpha_goes_no_higher_than_its_maximum():
    assert adapt([0.28, 0.3], [0.0, 0.0], "band", 0.05, alpha_max=0.3) == [0.3, 0.3]


def test_beta_takes_over_where_alpha_is_at_zero_and_gives_back_what_it_took():
    alpha, beta = torch.tensor([0.03]), torch.ones(1)
    path = []
    for rate in (1.0, 1.0, 1.0, 0.0, 0.0, 0.0):
        alpha, beta = adapt_alpha(alpha, beta, torch.tensor([rate]), "band", 0.05, beta_max=10.0)
        path.append((alpha.item(), beta.item()))
    # ease 0.03 -> -0.02 -> -0.07 -> -0.12 and back; beta = exp(-2·ease) below 0
    down = [(0.0, math.exp(0.04)), (0.0, math.exp(0.14)), (0.0, math.exp(0.24))]
    assert path == [pytest.approx(point, abs=1e-5) for point in [*down, down[1], down[0], (0.03, 1.0)]]


def test_beta_stays_within_its_range():
    selector = Discover(beta_max=3.0, beta_min=1.0, alpha_max=0.5)
    state = selector.init((2,), CPU)
    for _ in range(100):
        state = selector.update(state, torch.tensor([1.0, 0.0]), torch.zeros(2))
    assert state.beta.tolist() == pytest.approx([3.0, 1.0])
    assert state.alpha.tolist() == pytest.approx([0.0, selector.alpha_max])


def test_beta_falls_below_one_where_even_the_largest_alpha_asks_too_much():
    alpha, beta = torch.tensor([0.93]), torch.ones(1)
    path = []
    for rate in (0.0, 0.0, 0.0, 1.0, 1.0, 1.0):
        alpha, beta = adapt_alpha(alpha, beta, torch.tensor([rate]), "band", 0.05, beta_min=0.8)
        path.append((alpha.item(), beta.item()))
    # ease 0.93 -> 0.98 -> 1.03 -> 1.08 and back; beta = exp(-2·(ease - 1)) above 1
    up = [(0.98, 1.0), (1.0, math.exp(-0.06)), (1.0, math.exp(-0.16))]
    assert path == [pytest.approx(point, abs=1e-5) for point in [*up, up[1], up[0], (0.93, 1.0)]]


def test_beta_falls_no_further_than_its_least():
    selector = Discover(beta_min=0.25, alpha_max=0.5)
    state = selector.init((1,), CPU)
    for _ in range(100):
        state = selector.update(state, torch.zeros(1), torch.zeros(1))
    assert (state.alpha.item(), state.beta.item()) == pytest.approx((0.5, 0.25))
