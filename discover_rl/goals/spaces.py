"""Goal spaces that ship beside ``BoxGoals``; all are found under the entry-point group ``discover_rl.goal_spaces``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.goals.space import BallGoals, BoxGoals, Coordinates


class XYGoals(BoxGoals):
    """The first two coordinates of the observation: where a body is on a plane.

    Args:
        radius: Success radius.
    """

    def __init__(self, radius: float = 0.5) -> None:
        super().__init__([0, 1], radius, ["x", "y"])


class FullGoals(BallGoals):
    """The whole observation.

    Args:
        radius: Success radius, after ``scale``.
        scale: What each coordinate is divided by, since they differ in their units; all ones if empty.
        observation_dim: Width of the observation; filled in by the training loop.

    Raises:
        ValueError: If the scale does not fit the observation, or holds a number that is not positive.
    """

    def __init__(self, radius: float, scale: Sequence[float] = (), observation_dim: int = 0) -> None:
        scale = list(scale)
        if scale and (len(scale) != observation_dim or min(scale) <= 0):
            raise ValueError(
                f"goal space: scale needs {observation_dim} positive numbers, one for each coordinate of the "
                f"observation, got {scale}"
            )
        super().__init__(observation_dim, radius, [f"x{i}" for i in range(observation_dim)])
        self.scale, self.observation_dim = scale, observation_dim
        self._factor = DeviceCopies(1 / torch.tensor(scale)) if scale else None

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The observation, each coordinate divided by its scale."""
        return observation if self._factor is None else observation * self._factor.on(observation.device)


class LinearGoals(BallGoals):
    """A linear map of the observation, reached within a Euclidean radius: goal = matrix · observation + offset.

    Args:
        matrix: A row of numbers for each goal coordinate, one for each coordinate of the observation; or the path of
            a ``.npy`` file with such a matrix.
        radius: Success radius in the units of the goal.
        offset: Added to the goal; zeros if empty.

    Raises:
        ValueError: If the matrix is none, or the offset does not fit it.
    """

    def __init__(self, matrix: Sequence[Sequence[float]] | str, radius: float, offset: Sequence[float] = ()) -> None:
        numbers = _matrix(matrix)
        super().__init__(numbers.shape[0], radius)
        self.matrix, self.offset = matrix, list(offset)
        if self.offset and len(self.offset) != self.dim:
            raise ValueError(f"goal space: matrix has {self.dim} rows but offset has {len(self.offset)} numbers")
        self._map = DeviceCopies(torch.from_numpy(numbers.T.copy()))
        self._offset = DeviceCopies(torch.tensor(self.offset or [0.0] * self.dim))

    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The map of the observation.

        Raises:
            ValueError: If the matrix has another number of columns than the observation.
        """
        matrix = self._map.on(observation.device)
        if matrix.shape[0] != observation.shape[-1]:
            raise ValueError(
                f"goal space: matrix has {matrix.shape[0]} columns, but observations have width {observation.shape[-1]}"
            )
        return observation @ matrix + self._offset.on(observation.device)


class DiscreteGoals(Coordinates):
    """Some coordinates of the observation that are whole numbers (bits, cells, counts), reached when all are equal.

    Args:
        indices: Which coordinates of the observation form the goal.
        names: A name for each goal coordinate, for reports.

    Raises:
        ValueError: If there is no index, or the names do not fit.
    """

    additive = False  # two bits that are added make no bit

    def distance(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Float[Tensor, "*lead"]:
        """Number of coordinates that differ."""
        return ((achieved - desired).abs() >= 0.5).float().sum(-1)

    def success(
        self, achieved: Float[Tensor, "*lead goal"], desired: Float[Tensor, "*#lead goal"]
    ) -> Bool[Tensor, "*lead"]:
        """True where every coordinate is the same, up to rounding."""
        return ((achieved - desired).abs() < 0.5).all(-1)

    def describe(self, goal: Float[Tensor, "goal"]) -> str:
        """``name=value`` for each coordinate."""
        return ", ".join(f"{name}={round(value)}" for name, value in zip(self.names, goal.tolist(), strict=True))


class DeviceCopies:
    """A constant on whatever device it is wanted; copied there once, so that a captured call finds it in place.

    Args:
        tensor: The constant.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copies = {torch.device("cpu"): tensor.to(torch.float32)}

    def on(self, device: torch.device) -> Tensor:
        """The constant on this device."""
        if device not in self._copies:
            self._copies[device] = self._copies[torch.device("cpu")].to(device)
        return self._copies[device]


def _matrix(given: Sequence[Sequence[float]] | str) -> Float[np.ndarray, "goal obs"]:
    if isinstance(given, str):
        if not Path(given).is_file():
            raise ValueError(f"goal space: matrix file {given!r} does not exist; give a .npy file or rows of numbers")
        given = np.load(given, allow_pickle=False)
    try:
        matrix = np.array(given, dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"goal space: matrix must hold rows of numbers, all of one length, got {given!r}") from error
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"goal space: matrix must have rows and columns, got shape {matrix.shape}")
    return matrix
