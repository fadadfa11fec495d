"""The second goal space of MuJoCo mazes: the whole state is the goal."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class FullStateGoals:
    """All coordinates of the observation: at the place within a radius, and in the pose within a tolerance.

    Args:
        radius: Radius round x and y, in metres.
        tolerance: Bound on the root mean square of the differences in all other coordinates, each over its scale.
        scales: Scale of each other coordinate.
        names: A name for each coordinate, for reports.
        device: Where goals live.
    """

    def __init__(
        self, radius: float, tolerance: float, scales: Sequence[float], names: Sequence[str], device: torch.device
    ) -> None:
        self.radius, self.tolerance, self.names = radius, tolerance, list(names)
        self.dim = 2 + len(scales)
        self._scales = torch.tensor(scales, device=device)

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The observation."""
        return observation

    def distance(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Float[Tensor, "*lead"]:
        """Distance in x and y, in metres."""
        return (achieved - desired)[..., :2].square().sum(-1).sqrt()

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """True within both bounds."""
        difference = achieved - desired
        near = difference[..., :2].square().sum(-1) <= self.radius**2
        pose = (difference[..., 2:] / self._scales).square().mean(-1)
        return near & (pose <= self.tolerance**2)

    def describe(self, goal: Float[Tensor, "goal"]) -> str:
        """``name=value`` for each coordinate."""
        return ", ".join(f"{name}={value:.2f}" for name, value in zip(self.names, goal.tolist(), strict=True))
