import pytest
import torch

from discover_rl.text.belief import BeliefConfig, LogitShift, PassRates, mixed_chance, worth_practising

PLAIN = {"sampling_noise": False, "forget": 1.0, "achievability": "pass_rate"}


def unit(seed, *shape):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def seen(index, rates, attempts=8):
    return torch.tensor(index), torch.tensor(rates, dtype=torch.float64), torch.full((len(index),), attempts)


def estimates(belief):
    return belief.estimates(belief.kernel(), belief.mean(belief.tasks))


def test_without_attempts_all_is_prior():
    belief = PassRates(unit(0, 10, 4), unit(1, 2, 4), BeliefConfig(prior_mean=0.3, achievability="pass_rate"))
    start, target = estimates(belief)
    torch.testing.assert_close(start.mean, torch.full((10,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(start.std, torch.full((10,), 0.35, dtype=torch.float64))
    k = belief.tasks @ belief.targets.T
    gain = k.clamp_min(0).square().mean(1)  # what is left to learn is the same everywhere
    torch.testing.assert_close(target.mean, gain / gain.max())
    torch.testing.assert_close(target.std, 0.35 * (k.clamp_min(0).square().mean(1) / 1.1).sqrt())
    published = PassRates(belief.tasks, belief.targets, BeliefConfig(opposites=True))
    torch.testing.assert_close(estimates(published)[1].std, 0.35 * (k.square().mean(1) / 1.1).sqrt())


def test_the_posterior_is_that_of_a_gaussian_process_with_a_common_level():
    tasks, config = unit(0, 12, 5), BeliefConfig(prior_mean=0.4, prior_std=0.3, level_std=0.2, noise=0.15, **PLAIN)
    belief = PassRates(tasks, unit(1, 2, 5), config)
    index, rates, attempts = seen([2, 5, 7, 2], [0.9, 0.1, 0.4, 0.7])
    belief.observe(index, rates, attempts)
    # the textbook, in rates: covariance of values prior_std²·z·z' + level_std²; level's own uncertainty left out of std
    full = 0.09 * tasks @ tasks.T + 0.04
    noisy = full[index][:, index] + 0.15 * 0.09 * torch.eye(4, dtype=torch.float64)
    expected = 0.4 + full[:, index] @ torch.linalg.solve(noisy, rates - 0.4)
    start, _ = estimates(belief)
    torch.testing.assert_close(start.mean, expected)
    own = 0.09 * tasks @ tasks.T
    noisy = own[index][:, index] + 0.15 * 0.09 * torch.eye(4, dtype=torch.float64)
    variance = own.diagonal() - (own[:, index] @ torch.linalg.inv(noisy) @ own[index]).diagonal()
    torch.testing.assert_close(start.std, variance.sqrt())


def test_what_is_learnt_of_one_task_holds_for_its_like():
    tasks = torch.tensor([[1.0, 0], [0.96, 0.28], [0, 1.0], [-1.0, 0]], dtype=torch.float64)
    belief = PassRates(tasks, tasks[1:2], BeliefConfig(achievability="pass_rate"))
    belief.observe(*seen([0], [1.0]))
    start, target = estimates(belief)
    assert start.mean[0] > start.mean[1] > start.mean[2] > start.mean[3]
    assert start.std[0] < start.std[1] < start.std[2]
    assert float(start.mean[2]) > 0.5  # the common level has risen
    assert target.mean[3] == 0 < target.mean[2]  # the opposite of the target does not help it


def test_more_attempts_say_more_and_sure_results_are_not_free_of_noise():
    def std(rate, attempts):
        belief = PassRates(torch.eye(2).double(), torch.eye(2).double(), BeliefConfig())
        belief.observe(*seen([0], [rate], attempts))
        return float(estimates(belief)[0].std[0])

    assert std(0.5, 64) < std(0.5, 4)
    assert std(1.0, 4) < std(0.5, 4)
    assert std(1.0, 1) > 0.35 * (0.1 / 1.1) ** 0.5  # more than the floor λ alone would leave


def test_attempts_are_forgotten_towards_the_prior():
    belief = PassRates(
        torch.eye(3).double(), torch.eye(3).double(), BeliefConfig(forget=0.5, achievability="pass_rate")
    )
    belief.observe(*seen([0], [1.0]))
    known = float(estimates(belief)[0].std[0])
    for _ in range(30):
        belief.observe(*seen([1], [0.5]))
    start, _ = estimates(belief)
    assert known < 0.2 < float(start.std[0])
    torch.testing.assert_close(start.std[0], torch.tensor(0.35, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(start.mean[0], torch.tensor(belief.level, dtype=torch.float64), atol=1e-6, rtol=0)
    assert belief.attempted.tolist() == [8, 240, 0]


def test_it_follows_a_model_that_learns():
    tasks = unit(0, 40, 4)
    belief = PassRates(tasks, tasks[:1], BeliefConfig(forget=0.8))
    for rate in [0.1] * 20 + [0.9] * 20:
        belief.observe(*seen([0, 1, 2, 3], [rate] * 4))
    assert 0.8 < float(belief.mean(tasks[:4]).mean()) < 1
    assert 0.7 < belief.level < 1


def test_unseen_tasks_are_predicted():
    tasks, w = unit(0, 400, 16), torch.linspace(-0.4, 0.4, 16).double()
    true = (0.5 + tasks @ w).clamp(0, 1)
    generator = torch.Generator().manual_seed(0)
    belief = PassRates(tasks, tasks[:4], BeliefConfig(forget=1.0, achievability="pass_rate"))
    rates = torch.binomial(torch.full((100,), 8.0, dtype=torch.float64), true[:100], generator=generator) / 8
    belief.observe(torch.arange(100), rates, torch.full((100,), 8))
    start, _ = estimates(belief)
    error = start.mean[100:] - true[100:]
    assert float(torch.corrcoef(torch.stack([start.mean[100:], true[100:]]))[0, 1]) > 0.8
    assert 0.5 < float(error.square().mean().sqrt() / start.std[100:].mean()) < 1.5  # the deviations are honest


def test_learnability_is_greatest_at_one_half():
    belief = PassRates(torch.eye(3).double(), torch.eye(3).double(), BeliefConfig(achievability="learnability"))
    start, _ = belief.estimates(belief.kernel(), torch.tensor([0.1, 0.5, 1.2]).double())
    torch.testing.assert_close(start.mean, torch.tensor([0.36, 1.0, 0.0]).double(), atol=1e-6, rtol=0)


def test_neither_mastered_nor_hopeless_tasks_promise_uplift():
    belief = PassRates(torch.eye(3).double(), torch.eye(3).double(), BeliefConfig(noise=0.1, attempts=2))
    start, target = belief.estimates(belief.kernel(), torch.tensor([1.0, 0.0, 0.25]).double())
    mixed = 2 * 0.25 * 0.75
    torch.testing.assert_close(start.mean, torch.tensor([0.0, 0.0, mixed]).double())
    torch.testing.assert_close(target.mean, torch.tensor([0.0, 0.0, 1.0]).double())
    _, nothing_left = belief.estimates(belief.kernel(), torch.ones(3).double())
    torch.testing.assert_close(nothing_left.mean, torch.zeros(3).double())


def test_relevance_is_what_is_left_to_learn_times_what_it_tells_of_the_targets():
    tasks, targets = unit(0, 20, 6), unit(1, 3, 6)
    belief = PassRates(tasks, targets, BeliefConfig())
    belief.observe(*seen([4, 9], [0.25, 0.75]))
    kernel, mean = belief.kernel(), belief.mean(tasks)
    for chosen in (3, 7):
        _, target = belief.estimates(kernel, mean)
        product = worth_practising(mean.clamp(0, 1), 8) * target.std.square()
        torch.testing.assert_close(target.mean, product / product.max())
        kernel.condition(chosen, 0.1)


def test_relevance_falls_with_practice_of_the_like_and_comes_back():
    tasks = torch.tensor([[1.0, 0, 0], [0.96, 0.28, 0], [0, 0, 1.0]], dtype=torch.float64)
    belief = PassRates(tasks, torch.tensor([[0.8, 0, 0.6]], dtype=torch.float64), BeliefConfig(forget=0.8))

    def relevance():
        return belief.estimates(belief.kernel(), torch.full((3,), 0.5).double())[1].mean

    before = relevance()
    assert before[0] == 1 > before[1] > before[2] > 0.5
    belief.observe(*seen([0, 0], [0.5, 0.5]))
    after = relevance()
    assert after[2] == 1 > 0.2 > float(after[:2].max())
    for _ in range(40):
        belief.observe(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    torch.testing.assert_close(relevance(), before, atol=1e-3, rtol=0)


@pytest.mark.parametrize("attempts", [2, 5, 8])
def test_the_chance_of_a_mixed_group_is_that_of_drawn_ones(attempts):
    rates = torch.tensor([0.05, 0.3, 0.9]).double()
    drawn = torch.rand(200_000, attempts, generator=torch.Generator().manual_seed(0)).double()
    for rate, chance in zip(rates, mixed_chance(rates, attempts), strict=True):
        solved = (drawn < rate).double().mean(1)
        assert float(((solved > 0) & (solved < 1)).double().mean()) == pytest.approx(float(chance), abs=0.005)


def test_the_state_comes_back_whole_and_another_corpus_is_refused():
    tasks = unit(0, 12, 5)
    one, other = (PassRates(tasks, tasks[:2], BeliefConfig()) for _ in range(2))
    one.observe(*seen([1, 2], [0.2, 0.9]))
    other.load(one.state())
    one.observe(*seen([3], [0.4]))
    other.observe(*seen([3], [0.4]))
    for a, b in zip(estimates(one), estimates(other), strict=True):
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.std, b.std)
    with pytest.raises(ValueError, match=r"attempted of shape \(12,\), this corpus needs \(11,\)"):
        PassRates(tasks[1:], tasks[:2], BeliefConfig()).load(one.state())
    with pytest.raises(ValueError, match="lacks 'precision'"):
        other.load({})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"achievability": "ease"}, "belief.achievability is 'ease'; allowed: pass_rate, learnability, mixed"),
        ({"attempts": 1}, "belief.attempts must be at least 2, got 1"),
        ({"noise": 0.0}, "belief.noise must be positive, got 0.0"),
        ({"forget": 0.0}, r"belief.forget must lie in \(0, 1\], got 0.0"),
        ({"prior_mean": 1.5}, r"belief.prior_mean must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_priors_are_said(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        BeliefConfig(**given)


def test_the_published_shift_by_hand():
    estimate = LogitShift(torch.tensor([0.5, 0.5, 0.8]))
    estimate.observe(torch.tensor([0]), torch.tensor([0.55]))
    step = torch.logit(torch.tensor(0.55))  # 0.2 < 0.5: not clipped
    expected = torch.sigmoid(torch.logit(torch.tensor([0.5, 0.8])) + step)
    torch.testing.assert_close(estimate.rates, torch.cat([torch.tensor([0.55]), expected]))
    estimate.observe(torch.tensor([1]), torch.tensor([1.0]))
    torch.testing.assert_close(estimate.rates[2], torch.sigmoid(torch.logit(expected[1]) + 0.5))
    assert estimate.rates[1] == 1
