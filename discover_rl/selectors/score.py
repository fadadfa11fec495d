"""The arithmetic that selectors share: scaling terms, masking candidates, picking goals."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.selectors.candidates import Choice

PICKS = ("top", "pools")


def standardise(x: Float[Tensor, "*lead cand"], valid: Bool[Tensor, "*lead cand"]) -> Float[Tensor, "*lead cand"]:
    """Zero mean and unit deviation over the valid candidates; zeros where they are all equal."""
    weight = valid.float()
    count = weight.sum(-1, keepdim=True).clamp_min(1)
    # where, not a product: what stands at an invalid candidate may be inf or nan
    mean = torch.where(valid, x, 0).sum(-1, keepdim=True) / count
    centred = torch.where(valid, x, 0) - mean
    deviation = ((centred.square() * weight).sum(-1, keepdim=True) / count).sqrt()
    smallest = 1e-6 * (1 + mean.abs())  # below it a deviation is rounding of the mean
    return torch.where(deviation > smallest, centred / deviation.clamp_min(1e-6), torch.zeros_like(centred))


def pick(score: Float[Tensor, "*lead cand"], valid: Bool[Tensor, "*lead cand"], num_envs: int, how: str) -> Choice:
    """Choose the best valid candidates for ``num_envs`` episodes.

    Args:
        score: Higher is better.
        valid: Which candidates may be chosen; an episode for which none is left goes to its target.
        num_envs: Episodes.
        how: ``top``, the best ``num_envs`` of one shared ranking; ``pools``, episode e takes the best of its
            own pool, candidates e, e + num_envs, e + 2·num_envs, ... A random pool each spreads the goals of
            a round along the score's slope instead of crowding them in one place.

    Raises:
        ValueError: If there are fewer candidates than episodes.
    """
    if score.shape[-1] < num_envs:
        raise ValueError(
            f"selector: {score.shape[-1]} candidates for {num_envs} environments; raise num_candidates to "
            f"at least {num_envs}"
        )
    masked = torch.where(valid, score, -torch.inf)
    if how == "top":
        best, index = masked.topk(num_envs, dim=-1)
    else:
        rounds = score.shape[-1] // num_envs
        pools = masked[..., : rounds * num_envs].unflatten(-1, (rounds, num_envs))
        best, row = pools.max(dim=-2)
        index = row * num_envs + torch.arange(num_envs, device=score.device)
    return Choice(index, best == -torch.inf)


def last_share(share: Float[Tensor, "*lead"], num_envs: int) -> Bool[Tensor, "*lead env"]:
    """The last ``share`` of the episodes (rounded, at least one unless 0)."""
    count = torch.where(share > 0, (share * num_envs).round().clamp(1, num_envs), 0.0)
    return torch.arange(num_envs, device=share.device) >= num_envs - count[..., None]


def command_target(choice: Choice, share: Float[Tensor, "*lead"]) -> Choice:
    """Send the last ``share`` of the episodes to their targets."""
    last = last_share(share, choice.index.shape[-1])
    return Choice(choice.index, choice.use_target | last, choice.uncounted)
