"""The controller of alpha, which balances achievability against relevance."""

from jaxtyping import Float
from torch import Tensor

CONTROLLERS = ("proportional", "band", "fixed")


def adapt_alpha(
    alpha: Float[Tensor, "*lead"],
    success_rate: Float[Tensor, "*lead"],
    controller: str,
    step: float,
    target_rate: float = 0.5,
    band: float = 0.2,
) -> Float[Tensor, "*lead"]:
    """Move alpha so that about half of the chosen goals are achieved.

    Too few achieved: alpha up, easier goals. Too many: alpha down, more relevant goals.

    Args:
        alpha: Values in [0, 1].
        success_rate: Share of the chosen goals achieved in the last round, in [0, 1].
        controller: ``proportional``, alpha + step · (target_rate - success_rate) (Diaz-Bone et al. 2025, arXiv
            2505.19850); ``band``, ± step outside target_rate ± band and still inside (their released code);
            ``fixed``, alpha stays.
        step: Step size.
        target_rate: Success rate aimed at.
        band: Half width of the dead band.

    Returns:
        The new alpha, clipped to [0, 1].
    """
    if controller == "fixed":
        return alpha
    error = target_rate - success_rate
    if controller == "band":
        error = error.sign() * (error.abs() > band)
    return (alpha + step * error).clamp(0.0, 1.0)
