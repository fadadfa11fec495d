"""Goal spaces: what of an observation counts as achieved, and when a goal counts as reached."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class GoalSpace(Protocol):
    """The contract of a goal space. Every method is batched over any leading axes.

    Attributes:
        dim: Number of goal coordinates.
    """

    dim: int

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The goal that is achieved in a state with this observation."""
        ...

    def distance(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Float[Tensor, "*lead"]:
        """Distance between two goals, in the units of the goal space; for reports, not for learning."""
        ...

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """Whether ``achieved`` counts as having reached ``desired``. The sparse reward is 1 where it does."""
        ...

    def describe(self, goal: Float[Tensor, "goal"]) -> str:
        """One goal in words, for a person."""
        ...


class BoxGoals:
    """Some coordinates of the observation, reached within a Euclidean radius.

    Args:
        indices: Which coordinates of the observation form the goal.
        radius: Success radius in the units of those coordinates. It stands here and nowhere else.
        names: A name for each goal coordinate, for reports.

    Raises:
        ValueError: If there is no index, the radius is not positive, or the names do not fit.
    """

    def __init__(self, indices: Sequence[int], radius: float, names: Sequence[str] | None = None) -> None:
        if not indices:
            raise ValueError("goal space: indices is empty; name at least one observation coordinate")
        if not radius > 0:
            raise ValueError(f"goal space: radius must be positive, got {radius}")
        self.indices = list(indices)
        self.radius = float(radius)
        self.names = list(names) if names is not None else [f"x{i}" for i in self.indices]
        if len(self.names) != len(self.indices):
            raise ValueError(f"goal space: {len(self.indices)} indices but {len(self.names)} names")
        self.dim = len(self.indices)
        # not from a negative index on: the slice -2:0 is empty
        contiguous = self.indices[0] >= 0 and self.indices == list(range(self.indices[0], self.indices[0] + self.dim))
        self._slice = slice(self.indices[0], self.indices[0] + self.dim) if contiguous else None

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The named coordinates of the observation.

        Raises:
            ValueError: If the observation has fewer coordinates than the indices ask for.
        """
        if not max(self.indices) < observation.shape[-1] >= -min(self.indices):
            raise ValueError(f"goal space: indices {self.indices}, but observations have width {observation.shape[-1]}")
        if self._slice is not None:  # a view: no copy, no index tensor on the device
            return observation[..., self._slice]
        return torch.stack([observation[..., i] for i in self.indices], dim=-1)

    def distance(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Float[Tensor, "*lead"]:
        """Euclidean distance."""
        return (achieved - desired).square().sum(-1).sqrt()

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """True within the radius, its rim included."""
        return (achieved - desired).square().sum(-1) <= self.radius**2

    def describe(self, goal: Float[Tensor, "goal"]) -> str:
        """``name=value`` for each coordinate."""
        return ", ".join(f"{name}={value:.2f}" for name, value in zip(self.names, goal.tolist(), strict=True))
