"""A Gaussian posterior over all tasks at once, conditioned on one task after another: SIFT, exact and incremental.

SIFT (Hübotter et al. 2024, arXiv 2410.08020) takes the task that most reduces the variance at the targets:
argmax_x Σ_j k_n(x, x*_j)² / (k_n(x, x) + λ), then conditions the kernel on it, and so on. The kernel is linear in the
embeddings, k_0(a, b) = a·b, so all that must be kept is the covariance of the weights; a step costs O(cand · goal).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class TaskKernel:
    """k_n over tasks and targets.

    Args:
        tasks: Embeddings of the candidates; their dtype is that of everything over candidates.
        targets: Embeddings of the targets.
        covariance: Of the weights, for a kernel that is conditioned already; the identity if None.

    Attributes:
        variance: k_n(x, x) of each task.
        to_targets: k_n(x, x*) of each task and target.
        covariance: Of the weights, in float64: it is updated thousands of times.
    """

    def __init__(
        self,
        tasks: Float[Tensor, "cand goal"],
        targets: Float[Tensor, "desired goal"],
        covariance: Float[Tensor, "goal goal"] | None = None,
    ) -> None:
        self.tasks, self.targets = tasks, targets
        if covariance is None:
            self.covariance = torch.eye(tasks.shape[1], dtype=torch.float64)
            self.variance = tasks.square().sum(1)
            self.to_targets = tasks @ targets.T
        else:
            self.covariance = covariance.double().clone()
            spread = tasks @ self.covariance.to(tasks.dtype)
            self.variance = (spread * tasks).sum(1)
            self.to_targets = spread @ targets.T

    def gain(self, noise: float, towards: Bool[Tensor, "cand desired"] | None = None) -> Float[Tensor, "cand"]:
        """How much attempting each task would reduce the variance at the targets, on average.

        Args:
            noise: λ, the variance of the noise in units of the kernel.
            towards: At which targets each task may reduce it; at all if None.
        """
        shared = self.to_targets.square() if towards is None else self.to_targets.square() * towards
        return shared.mean(1) / (self.variance + noise)

    def with_task(self, index: int) -> Float[Tensor, "cand"]:
        """k_n(x, x_i) of all x with task i."""
        return self.tasks @ (self.covariance @ self.tasks[index].double()).to(self.tasks.dtype)

    def condition(self, index: int, noise: float) -> None:
        """Condition on an attempt at task ``index``: k(a, b) - k(a, x)·k(x, b) / (k(x, x) + λ).

        Args:
            index: Which task.
            noise: λ.
        """
        task = self.tasks[index].double()
        weights = self.covariance @ task  # covariance of the weights with the task's value
        scale = float(task @ weights) + noise
        reach = self.tasks @ weights.to(self.tasks.dtype)
        to_targets = self.targets @ weights.to(self.targets.dtype)
        self.variance = (self.variance - reach.square() / scale).clamp_min(0)
        self.to_targets.addr_(reach, to_targets, alpha=-1 / scale)
        self.covariance.addr_(weights, weights, alpha=-1 / scale)


def sift(
    tasks: Float[Tensor, "cand goal"],
    targets: Float[Tensor, "desired goal"],
    count: int,
    noise: float = 0.1,
    repeats: bool = False,
) -> Int[Tensor, "chosen"]:
    """The first ``count`` tasks that SIFT chooses, in its order.

    Args:
        tasks: Embeddings of the candidates.
        targets: Embeddings of the targets.
        count: How many.
        noise: λ: great values give nearest neighbours, small ones stress diversity; TTC-RL has 0.1.
        repeats: Whether a task may be chosen again; where it may, little is gained by it.

    Raises:
        ValueError: If there are fewer tasks than asked for, or λ is not positive.
    """
    if not noise > 0:
        raise ValueError(f"noise must be positive, got {noise}")
    if count > len(tasks) and not repeats:
        raise ValueError(f"{count} tasks asked for, but there are only {len(tasks)}; ask for fewer")
    kernel = TaskKernel(tasks, targets)
    free = torch.ones(len(tasks), dtype=torch.bool)
    chosen = []
    for _ in range(count):
        best = int(torch.where(free, kernel.gain(noise), -torch.inf).argmax())
        chosen.append(best)
        free[best] = repeats
        kernel.condition(best, noise)
    return torch.tensor(chosen, dtype=torch.int64)
