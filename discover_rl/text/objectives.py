"""Policy gradients from groups of attempts: advantages and the clipped loss."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OBJECTIVES = ("grpo", "dr_grpo", "entropic")
BETA_CAP = 1e6
BISECTIONS = 60


def advantages(
    rewards: Float[Tensor, "batch attempt"], objective: str, clip: float = 5.0
) -> Float[Tensor, "batch attempt"]:
    """How much better each attempt was than its group.

    Args:
        rewards: Of the attempts at each task.
        objective: ``grpo``, (r - mean) / deviation (Shao et al. 2024, arXiv 2402.03300); ``dr_grpo``, r - mean (Liu et
            al. 2025, arXiv 2503.20783); ``entropic``, see ``entropic_advantage``.
        clip: Largest entropic advantage.
    """
    if objective == "entropic":
        return entropic_advantage(rewards).clamp_max(clip)
    centred = rewards - rewards.mean(1, keepdim=True)
    if objective == "dr_grpo":
        return centred
    deviation = rewards.std(1, keepdim=True)
    return torch.where(deviation > 1e-6, centred / (deviation + 1e-4), 0.0)


def entropic_advantage(
    rewards: Float[Tensor, "batch attempt"], divergence: float = math.log(2)
) -> Float[Tensor, "batch attempt"]:
    """Weight of each attempt under exp(β·reward), against the mean of the others, minus 1.

    β is set for each group so that the KL divergence of the weights from uniform is ln 2: they rest on about half of
    the group, whatever the scale of the rewards (TTT-Discover, arXiv 2601.16175). Equal rewards give zeros. Where no β
    gets that far, for more than half are best, β is at its cap.
    """
    count = rewards.shape[1]
    if count < 2:
        return torch.zeros_like(rewards)
    gap = (rewards - rewards.amax(1, keepdim=True)).double()  # 0 is best

    def excess(beta: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        weights = torch.softmax(beta[:, None] * gap, 1)
        return (weights * (weights * count).clamp_min(1e-300).log()).sum(1) - divergence

    high = torch.ones(len(rewards), dtype=torch.float64, device=rewards.device)
    while bool(((excess(high) < 0) & (high < BETA_CAP)).any()):
        high = torch.where(excess(high) < 0, (2 * high).clamp_max(BETA_CAP), high)
    low = torch.zeros_like(high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = excess(middle) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    e = torch.exp(high[:, None] * gap)
    others = (e.sum(1, keepdim=True) - e) / (count - 1)
    advantage = e / others.clamp_min(1e-12) - 1
    equal = (gap == 0).all(1, keepdim=True)
    return torch.where(equal, 0.0, advantage).to(rewards.dtype)


def policy_loss(
    log_probs: Float[Tensor, "row time"],
    old_log_probs: Float[Tensor, "row time"],
    advantage: Float[Tensor, "row"],
    mask: Bool[Tensor, "row time"],
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    reference: Float[Tensor, "row time"] | None = None,
    kl: float = 0.0,
) -> Float[Tensor, "row"]:
    """Sum over the tokens of each attempt of the clipped surrogate, to be minimised.

    Args:
        log_probs: Of the tokens, by the model that learns.
        old_log_probs: By the model that wrote them.
        advantage: Of the attempts.
        mask: Tokens that count.
        clip_low: How far the ratio of the two may go down.
        clip_high: How far it may go up (clip-higher: DAPO, arXiv 2503.14476).
        reference: Log probabilities of the model to stay near to.
        kl: Weight of staying near, by the estimator exp(d) - d - 1 with d = reference - log_probs.
    """
    ratio = torch.exp(log_probs - old_log_probs)
    surrogate = torch.minimum(ratio * advantage[:, None], ratio.clamp(1 - clip_low, 1 + clip_high) * advantage[:, None])
    loss = -surrogate
    if reference is not None and kl:
        away = reference - log_probs
        loss = loss + kl * (away.exp() - away - 1)
    return (loss * mask).sum(1)
