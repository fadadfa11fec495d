"""Goal spaces: what of an observation counts as achieved, and when a goal counts as reached."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class GoalSpace(Protocol):
    """The contract of a goal space. Every method is batched over any leading axes.

    Two methods are optional, see ``goal_distance`` and ``describe_goal``: ``distance(achieved, desired)``, in the units
    of the goal space, and ``describe(goal)``, one goal in words. A class is checked against all of this when an
    environment is built, see ``check_goal_space``.

    A constructor with a parameter ``observation_dim`` is given the width of the observation by the training loop.

    Attributes:
        dim: Number of goal coordinates.
        capturable: Optional, True unless said otherwise: whether the methods may run within a CUDA graph. They may
            unless they read something back from the device.
        additive: Optional, True unless said otherwise: whether the difference of two goals, added to a third, makes a
            goal again, as with places; ``after_goal=explore`` needs it.
    """

    dim: int

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The goal that is achieved in a state with this observation."""
        ...

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """Whether ``achieved`` counts as having reached ``desired``. The sparse reward is 1 where it does."""
        ...


def goal_distance(
    space: GoalSpace, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
) -> Float[Tensor, "*lead"]:
    """Distance between goals by the space's own measure, Euclidean if it has none; for reports, not for learning."""
    measure = getattr(space, "distance", None)
    return measure(achieved, desired) if measure is not None else (achieved - desired).square().sum(-1).sqrt()


def describe_goal(space: GoalSpace, goal: Float[Tensor, "goal"]) -> str:
    """One goal in the space's own words, its coordinates if it has none."""
    words = getattr(space, "describe", None)
    return words(goal) if words is not None else ", ".join(f"{value:.2f}" for value in goal.tolist())


class BallGoals:
    """What spaces share whose goals are reached within a Euclidean radius.

    Args:
        dim: Number of goal coordinates.
        radius: Success radius in the units of the goal. It stands here and nowhere else.
        names: A name for each goal coordinate, for reports.

    Raises:
        ValueError: If the radius is not positive, or the names do not fit.
    """

    def __init__(self, dim: int, radius: float, names: Sequence[str] | None = None) -> None:
        if not radius > 0:
            raise ValueError(f"goal space: radius must be positive, got {radius}")
        if names is not None and len(names) != dim:
            raise ValueError(f"goal space: {dim} coordinates but {len(names)} names")
        self.dim, self.radius = dim, float(radius)
        self.names = list(names) if names is not None else [f"g{i}" for i in range(dim)]

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


class Coordinates:
    """Some coordinates of the observation.

    Args:
        indices: Which, counted from 0, or from the end if negative.
        names: A name for each of them, for reports.

    Raises:
        ValueError: If there is no index, or the names do not fit.
    """

    def __init__(self, indices: Sequence[int], names: Sequence[str] | None = None) -> None:
        if not indices:
            raise ValueError("goal space: indices is empty; name at least one observation coordinate")
        self.indices = list(indices)
        self.names = list(names) if names is not None else [f"x{i}" for i in self.indices]
        self.dim = count = len(self.indices)
        if len(self.names) != count:
            raise ValueError(f"goal space: {count} indices but {len(self.names)} names")
        # not from a negative index on: the slice -2:0 is empty
        contiguous = self.indices[0] >= 0 and self.indices == list(range(self.indices[0], self.indices[0] + count))
        self._slice = slice(self.indices[0], self.indices[0] + count) if contiguous else None

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


class BoxGoals(Coordinates, BallGoals):
    """Some coordinates of the observation, reached within a Euclidean radius.

    Args:
        indices: Which coordinates of the observation form the goal.
        radius: Success radius in the units of those coordinates.
        names: A name for each goal coordinate, for reports.

    Raises:
        ValueError: If there is no index, the radius is not positive, or the names do not fit.
    """

    def __init__(self, indices: Sequence[int], radius: float, names: Sequence[str] | None = None) -> None:
        Coordinates.__init__(self, indices, names)
        BallGoals.__init__(self, self.dim, radius, self.names)
