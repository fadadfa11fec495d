"""What networks see of a state, a goal and an action."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor


class Seen(NamedTuple):
    """States and goals as networks see them.

    Attributes:
        parts: Pieces of the input that belong side by side, ``width`` columns in all.
        side: From which side each one is seen, for the actions that belong to it; None if there is only one.
    """

    parts: tuple[Float[Tensor, "*lead column"], ...]
    side: Int64[Tensor, "*lead"] | None


@runtime_checkable
class View(Protocol):
    """The contract. An environment that offers one has it as its attribute ``view``.

    For bodies that look alike from several sides, so that what networks learn of one side holds for all. A view must
    tell apart whatever a good action depends on. It works on any leading axes, reads nothing back from the device, and
    knows the environment's own goals only.

    Attributes:
        width: Columns that networks see of observation and goal together.
    """

    width: int

    def see(self, observation: Float[Tensor, "*lead obs"], goal: Float[Tensor, "*lead goal"]) -> Seen:
        """States with the goals that are to be reached from there."""
        ...

    def seen_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """The environment's action as seen from a side."""
        ...

    def own_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """The environment's action from what it is as seen from a side; the inverse of ``seen_action``."""
        ...


class PlainView:
    """Observation and goal as they are, or divided by typical sizes, from one side.

    Args:
        observation_dim: Width of an observation.
        goal_dim: Width of a goal.
        scales: Typical sizes of the coordinates of observations and of goals; none if None.
    """

    def __init__(
        self,
        observation_dim: int,
        goal_dim: int,
        scales: tuple[Float[Tensor, "obs"], Float[Tensor, "goal"]] | None = None,
    ) -> None:
        self.width, self.scales = observation_dim + goal_dim, scales

    def see(self, observation: Float[Tensor, "*lead obs"], goal: Float[Tensor, "*lead goal"]) -> Seen:
        """See ``View``."""
        if self.scales is None:
            return Seen((observation, goal), None)
        return Seen((observation / self.scales[0], goal / self.scales[1]), None)

    def seen_action(
        self, action: Float[Tensor, "*lead act"], side: Int64[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead act"]:
        """The action itself, for the contract: there is one side."""
        del side
        return action

    own_action = seen_action
