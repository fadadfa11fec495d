import dataclasses
import math

import pytest
import scipy.stats
import torch

from discover_rl.selectors import Candidates, Estimate, Mega, Omega, SelectorState, Uniform
from discover_rl.selectors.density import CHUNK, kde_log_density

CPU = torch.device("cpu")
ROOT = math.log(math.sqrt(2 * math.pi))  # 0.9189: log of the norm of a unit Gaussian


def line(*positions, runs=1, **fields):
    """Candidates on a line, all valid, the same for each run."""
    goals = torch.tensor(positions)[:, None].expand(runs, len(positions), 1)
    valid = torch.ones(runs, len(positions), dtype=torch.bool)
    return Candidates(goals, valid)._replace(**fields)


def estimate(*values, runs=1):
    mean = torch.tensor(values).expand(runs, len(values))
    return Estimate(mean, torch.zeros_like(mean))


# -- density ---------------------------------------------------------------------------------------------


def test_density_of_two_points_by_hand():
    # data ±1: mean 0, deviation sqrt(2), so ±1/sqrt(2) when standardised. Between them, bandwidth 1:
    # both kernels give exp(-(1/2)·(1/2)) / sqrt(2π), and so does their mean: log = -0.25 - 0.9189
    log_density = kde_log_density(torch.tensor([[0.0]]), torch.tensor([[-1.0], [1.0]]), 1.0)
    assert log_density.item() == pytest.approx(-0.25 - ROOT)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("bandwidth", [0.1, 0.7])
def test_density_equals_the_formula_written_as_loops(dim, bandwidth):
    generator = torch.Generator().manual_seed(dim)
    data = torch.randn(30, dim, generator=generator, dtype=torch.float64) * torch.arange(1, dim + 1) + 5
    query = data[:7] + 0.2
    scale = [data[:, d].std().item() for d in range(dim)]
    expected = []
    for q in query.tolist():
        total = 0.0
        for y in data.tolist():
            squares = sum(((q[d] - y[d]) / scale[d] / bandwidth) ** 2 for d in range(dim))
            total += math.exp(-squares / 2) / (bandwidth * math.sqrt(2 * math.pi)) ** dim
        expected.append(math.log(total / 30))
    assert kde_log_density(query, data, bandwidth).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 3e-3)])
def test_density_equals_scipys_beyond_one_chunk(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    data = 3 * torch.randn(400, 1, generator=generator, dtype=torch.float64) + 20
    query = data.mean() + data.std() * torch.linspace(-2, 2, CHUNK + 88, dtype=torch.float64)[:, None]
    # scipy's kernel deviation is factor x deviation of the data, and its density is per unit of the data
    oracle = scipy.stats.gaussian_kde(data[:, 0].numpy(), bw_method=0.25).logpdf(query[:, 0].numpy())
    ours = kde_log_density(query.to(dtype), data.to(dtype), 0.25).double() - data.std().log()
    torch.testing.assert_close(ours, torch.from_numpy(oracle), rtol=0, atol=tolerance)


def test_density_integrates_to_one():
    data = torch.tensor([[0.0], [1.0], [1.5], [8.0]], dtype=torch.float64)
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    query = (data.mean() + data.std() * grid)[:, None]
    density = kde_log_density(query, data, 0.1).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-6)


def test_density_of_stacked_runs_equals_each_alone():
    data = torch.randn(2, 3, 40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stacked = kde_log_density(data, data, 0.3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(stacked[i, j], kde_log_density(data[i, j], data[i, j], 0.3))


def test_density_survives_goals_that_are_all_equal():
    data = torch.full((1, 20, 2), 3.5)
    assert kde_log_density(data, data, 0.1).isfinite().all()


# -- uniform ---------------------------------------------------------------------------------------------


def test_uniform_weighs_by_inverse_density():
    runs = 4000
    # nine goals in one spot, 1/9 as heavy each as the one that stands alone: 9·(1/9) : 1, so one half is for it
    given = line(*[0.0] * 9, 10.0, runs=runs)
    choice = Uniform().select(Uniform().init((runs,), CPU), given, 1, torch.Generator().manual_seed(0))
    assert (choice.index == 9).float().mean().item() == pytest.approx(0.5, abs=0.04)  # 5 deviations of 0.008


def test_uniform_draws_without_replacement_and_only_valid_goals():
    given = line(*[float(i) for i in range(10)], runs=500)
    given.valid[:, ::2] = False
    choice = Uniform().select(Uniform().init((500,), CPU), given, 5, torch.Generator().manual_seed(0))
    assert not choice.use_target.any()
    assert choice.index.sort(-1).values.tolist() == [[1, 3, 5, 7, 9]] * 500


@pytest.mark.parametrize("selector", [Uniform, Mega, Omega])
@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan])
def test_a_bandwidth_that_is_not_positive_is_refused(selector, bandwidth):
    with pytest.raises(ValueError, match=r"selector.bandwidth must be positive, got"):
        selector(bandwidth=bandwidth)


# -- MEGA ------------------------------------------------------------------------------------------------

# three at 0, two at 5, one at 10: ever rarer
CLUSTERS = (0.0, 0.01, 0.02, 5.0, 5.01, 10.0)
VALUES = (-1.0, -1.0, -1.0, -3.0, -3.5, -50.0)


def mega(cutoff, given, num_envs=1, selector=None):
    cutoffs = torch.tensor(cutoff)
    state = SelectorState(torch.zeros_like(cutoffs), cutoffs, torch.ones_like(cutoffs), torch.zeros_like(cutoffs))
    return (selector or Mega()).select(state, given, num_envs, torch.Generator())


def test_mega_takes_the_rarest_that_is_achievable():
    given = line(*CLUSTERS, runs=3, start=estimate(*VALUES, runs=3))
    # cutoff -2 leaves 0..2, a value equal to the cutoff still counts, -50 lets in the one that stands alone
    choice = mega([-2.0, -3.0, -50.0], given)
    assert choice.index[0, 0] in (0, 1, 2)
    assert choice.index[1:, 0].tolist() == [3, 5]
    assert not choice.use_target.any()


def test_mega_waives_the_cutoff_where_nothing_is_achievable_and_only_there():
    given = line(*CLUSTERS, runs=2, start=estimate(*VALUES, runs=2))
    assert given.start is not None
    given = given._replace(start=given.start._replace(mean=torch.tensor([VALUES, (-100.0,) * 6])))
    assert mega([-3.0, -3.0], given).index.tolist() == [[3], [5]]
    given.valid[1, 5] = False  # waived, and still never an invalid one
    assert mega([-3.0, -3.0], given).index[1, 0] in (3, 4)
    given.valid[1] = False
    assert mega([-3.0, -3.0], given).use_target.tolist() == [[False], [True]]


def test_mega_gives_a_pool_without_achievable_goals_the_best_of_all():
    # pools of two environments: even and odd; only 1 (crowded) and 3 (rarer) are achievable
    given = line(*CLUSTERS, start=estimate(-9.0, -1.0, -9.0, -1.0, -9.0, -9.0))
    choice = mega([-3.0], given, num_envs=2)
    assert choice.index.tolist() == [[3, 3]]
    assert not choice.use_target.any()


def test_the_cutoff_moves_with_success_and_is_clipped():
    selector = Mega(cutoff_start=-3.0, cutoff_min=-5.0, cutoff_step=1.0)
    state = selector.init((6,), CPU)
    assert state.cutoff.tolist() == [-3.0] * 6
    state = state._replace(cutoff=torch.tensor([-4.0, -4.0, -4.0, -4.0, -3.0, -5.0]))
    # from 0.7 on down, to 0.3 up, between them not; never above the start, never under the minimum
    after = selector.update(state, torch.tensor([0.7, 0.3, 0.31, 0.69, 0.0, 1.0]), torch.zeros(6))
    assert after.cutoff.tolist() == [-5.0, -3.0, -4.0, -4.0, -3.0, -5.0]
    assert torch.equal(after.alpha, state.alpha)


def test_mega_asks_for_values():
    with pytest.raises(ValueError, match=r"Candidates.start must be filled"):
        mega([-3.0], line(*CLUSTERS))


@pytest.mark.parametrize(
    "settings",
    [
        {"cutoff_start": 1.0},
        {"cutoff_start": -10.0, "cutoff_min": -5.0},
        {"low": 0.7, "high": 0.7},
        {"low": -0.1},
        {"high": 1.1},
    ],
)
def test_bad_settings_of_mega_are_refused_in_words(settings):
    with pytest.raises(ValueError, match="must hold"):
        Mega(**settings)


# -- OMEGA -----------------------------------------------------------------------------------------------

# Data ±1 (standardised ±1/sqrt(2)) and bandwidth 1 throughout, so with x = target / sqrt(2)
#   KL = -log density = 0.9189 - log(mean of exp(-(x ∓ 0.7071)²/2))
OMEGA_CASES = [
    # target 0, in the midst of the data: KL = 0.25 + 0.9189 = 1.1689; 1.1689 - 3 < 1, so always the target
    (0.0, -3.0, 1.0),
    # the same without the bias: 1 / 1.1689
    (0.0, 0.0, 1 / (0.25 + ROOT)),
    # target 4: x = 2.8284, squared distances 4.5 and 12.5: KL = 2.25 + log 2 - log(1 + e^-4) + 0.9189 = 3.8439
    (4.0, 0.0, 1 / 3.8439),
    # target 20: squared distances 180.5 and 220.5: KL = 90.25 + log 2 + 0.9189 = 91.8621, minus 3
    (20.0, -3.0, 1 / 88.8621),
]


@pytest.mark.parametrize(("target", "bias", "probability"), OMEGA_CASES)
def test_omega_commands_the_target_with_its_probability(target, bias, probability):
    runs = 10_000
    given = line(-1.0, 1.0, runs=runs, start=estimate(-1.0, -1.0, runs=runs), desired=torch.full((runs, 1, 1), target))
    selector = Omega(bandwidth=1.0, bias=bias)
    choice = selector.select(selector.init((runs,), CPU), given, 2, torch.Generator().manual_seed(0))
    share = choice.use_target.float().mean().item()
    deviation = math.sqrt(probability * (1 - probability) / (2 * runs))
    assert share == pytest.approx(probability, abs=4 * deviation + 1e-9)
    # each episode draws for itself, also within a run: were they tied, `both` would be `share`
    both = choice.use_target.all(-1).float().mean().item()
    assert both == pytest.approx(probability**2, abs=0.02)


def test_omega_is_sure_of_a_target_in_dense_data_and_rarely_goes_to_one_far_away():
    data = torch.randn(1, 2000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 30.0])
    runs = 400
    given = Candidates(
        data.expand(runs, -1, -1)[:, :200],
        torch.ones(runs, 200, dtype=torch.bool),
        start=Estimate(torch.zeros(runs, 200), torch.zeros(runs, 200)),
    )
    selector = Omega()
    near, far = torch.zeros(runs, 1, 2), torch.full((runs, 1, 2), 300.0)
    state, generator = selector.init((runs,), CPU), torch.Generator().manual_seed(1)
    assert selector.select(state, given._replace(desired=near), 8, generator).use_target.all()
    assert selector.select(state, given._replace(desired=far), 8, generator).use_target.float().mean() < 0.01


def test_where_omega_does_not_command_the_target_it_is_mega():
    runs = 200
    given = line(*CLUSTERS, runs=runs, start=estimate(*VALUES, runs=runs), desired=torch.full((runs, 1, 1), 20.0))
    selector = Omega(bandwidth=0.5)
    choice = mega([-3.0] * runs, given, 2, selector)
    rival = mega([-3.0] * runs, given, 2, dataclasses.replace(Mega(), bandwidth=0.5))
    assert torch.equal(choice.index, rival.index)
    assert 0 < choice.use_target.float().mean() < 1


def test_omega_asks_for_targets():
    with pytest.raises(ValueError, match=r"Candidates.desired must be filled"):
        mega([-3.0], line(*CLUSTERS, start=estimate(*VALUES)), selector=Omega())
