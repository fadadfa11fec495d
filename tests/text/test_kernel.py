import time

import pytest
import torch

from discover_rl.text.kernel import TaskKernel, sift


def unit(seed, *shape):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def posterior(tasks, targets, chosen, noise):
    """The kernel over tasks and targets given noisy values at ``chosen``, by the textbook formula."""
    points = torch.cat([tasks, targets])
    k = points @ points.T
    if not chosen:
        return k
    seen = k[:, chosen]
    inner = k[chosen][:, chosen] + noise * torch.eye(len(chosen), dtype=torch.float64)
    return k - seen @ torch.linalg.solve(inner, seen.T)


def published_sift(tasks, targets, count, noise, repeats):
    """Step by step as published: the candidate after which the variance left at the targets is least."""
    n, chosen = len(tasks), []
    for _ in range(count):
        left = []
        for candidate in range(n):
            if candidate in chosen and not repeats:
                left.append(torch.inf)
                continue
            after = posterior(tasks, targets, [*chosen, candidate], noise)
            left.append(float(after.diagonal()[n:].sum()))
        chosen.append(min(range(n), key=left.__getitem__))
    return chosen


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("noise", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_picks_in_the_same_order_as_published(seed, noise, repeats):
    tasks, targets = unit(seed, 30, 6), unit(100 + seed, 1 + seed, 6)
    assert sift(tasks, targets, 12, noise, repeats).tolist() == published_sift(tasks, targets, 12, noise, repeats)


def test_with_repeats_a_single_good_task_is_chosen_again():
    tasks, targets = torch.eye(4)[:3].double(), torch.eye(4)[:1].double()
    assert sift(tasks, targets, 3, 0.5, repeats=True).tolist() == [0, 0, 0]
    assert sift(tasks, targets, 3, 0.5).tolist()[0] == 0


@pytest.mark.parametrize("started", [False, True])
def test_conditioning_is_the_textbook_posterior(started):
    tasks, targets, noise = unit(0, 20, 5), unit(1, 3, 5), 0.2
    kernel = TaskKernel(tasks, targets)
    for index in (3, 7, 3, 11):
        kernel.condition(index, noise)
        if started and index == 7:
            kernel = TaskKernel(tasks, targets, kernel.covariance)
    k = posterior(tasks, targets, [3, 7, 3, 11], noise)
    torch.testing.assert_close(kernel.variance, k.diagonal()[:20])
    torch.testing.assert_close(kernel.to_targets, k[:20, 20:])
    torch.testing.assert_close(kernel.with_task(5), k[:20, 5])
    torch.testing.assert_close(kernel.gain(noise), (k[:20, 20:] ** 2).mean(1) / (k.diagonal()[:20] + noise))


def test_near_duplicates_are_not_both_chosen_before_another_cluster():
    first, second = unit(2, 1, 8), unit(3, 1, 8)
    tasks = torch.cat([first + 1e-3 * unit(4, 5, 8), second + 1e-3 * unit(5, 5, 8)])
    targets = torch.cat([first, second])
    early = sift(tasks, targets, 2, 0.01)
    assert sorted((early >= 5).tolist()) == [False, True]


def test_great_noise_gives_nearest_neighbours():
    tasks, targets = unit(6, 40, 6), unit(7, 1, 6)
    nearest = (tasks @ targets.T).square().squeeze(1).argsort(descending=True)
    assert sift(tasks, targets, 8, 1e6).tolist() == nearest[:8].tolist()


def test_float32_stays_close_over_many_steps():
    tasks, targets = unit(8, 300, 32), unit(9, 4, 32)
    exact, rough = TaskKernel(tasks, targets), TaskKernel(tasks.float(), targets.float())
    for index in range(300):
        exact.condition(index, 0.1)
        rough.condition(index, 0.1)
    torch.testing.assert_close(rough.variance.double(), exact.variance, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(rough.to_targets.double(), exact.to_targets, atol=1e-5, rtol=1e-3)


def test_bad_arguments_are_said():
    tasks = unit(0, 3, 2)
    with pytest.raises(ValueError, match="4 tasks asked for, but there are only 3"):
        sift(tasks, tasks, 4)
    with pytest.raises(ValueError, match="noise must be positive, got 0"):
        sift(tasks, tasks, 1, noise=0.0)


def test_a_hundred_thousand_tasks_take_seconds():
    tasks, targets = unit(1, 100_000, 128).float(), unit(2, 16, 128).float()
    start = time.process_time()
    assert len(set(sift(tasks, targets, 50).tolist())) == 50
    assert time.process_time() - start < 30
