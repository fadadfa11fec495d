"""The controller of alpha, which balances achievability against relevance; at its ends beta takes over."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

CONTROLLERS = ("proportional", "band", "fixed")
RATE = 2.0  # log(beta) per unit of alpha: with the usual step of 0.05, beta moves by 10 % a round


def adapt_alpha(
    alpha: Float[Tensor, "*lead"],
    beta: Float[Tensor, "*lead"],
    success_rate: Float[Tensor, "*lead"],
    controller: str,
    step: float,
    target_rate: float = 0.5,
    band: float = 0.2,
    alpha_max: float = 1.0,
    beta_max: float | Float[Tensor, "*lead"] = 1.0,
    beta_min: float = 1.0,
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
    """Make goals easier or harder so that about half of the chosen ones are achieved.

    The two levers lie on one line from hard to easy: beta, the factor on novelty, falls from ``beta_max`` to 1
    while alpha is 0, then alpha rises to ``alpha_max``, and with it there beta falls on to ``beta_min``. With alpha
    alone the controller is helpless in a dead end, where all goals are achieved at alpha = 0, and wherever the most
    novel goals are flukes that cannot be repeated, so that none is achieved even at ``alpha_max``.

    Args:
        alpha: Values in [0, alpha_max].
        beta: Values in [beta_min, beta_max]; more than 1 only where alpha is 0, less only where it is alpha_max.
        success_rate: Share of the chosen goals achieved in the last round, in [0, 1].
        controller: ``proportional``, step · (target_rate - success_rate) (Diaz-Bone et al. 2025, arXiv
            2505.19850); ``band``, ± step outside target_rate ± band and still inside (their released code);
            ``fixed``, nothing moves.
        step: Step size, in units of alpha.
        target_rate: Success rate aimed at.
        band: Half width of the dead band.
        alpha_max: Largest alpha.
        beta_max: Largest beta; 1 never raises it.
        beta_min: Smallest beta, above 0; 1 never lowers it.

    Returns:
        The new alpha and beta.
    """
    if controller == "fixed":
        return alpha, beta
    error = target_rate - success_rate
    if controller == "band":
        error = error.sign() * (error.abs() > band)
    hardest = -torch.as_tensor(beta_max).log() / RATE
    easiest = alpha_max - math.log(beta_min) / RATE
    ease = torch.maximum(alpha - beta.log() / RATE + step * error, hardest).clamp_max(easiest)
    alpha = ease.clamp(0.0, alpha_max)
    return alpha, torch.exp(-RATE * (ease - alpha))
