"""Grid mazes of different scale and body, compared cell by cell: what prior knowledge from one to another needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class CellMap:
    """A maze of cells, told from its start: the start cell is 0 in every coordinate and one unit wide.

    Attributes:
        free: Free cells by their offset from the start cell.
        target: Cell of the target; None where it differs from episode to episode.
        to_cells: Goals of the environment as positions in cells.
        from_cells: Positions in cells as goals of the environment.
    """

    free: frozenset[tuple[int, ...]]
    target: tuple[int, ...] | None
    to_cells: Callable[[Float[Tensor, "*lead goal"]], Float[Tensor, "*lead cell_dim"]]
    from_cells: Callable[[Float[Tensor, "*lead cell_dim"]], Float[Tensor, "*lead goal"]]


@runtime_checkable
class HasCells(Protocol):
    """Optional: an environment whose goals are places in a maze of cells."""

    def cell_map(self) -> CellMap:
        """The maze, and how goals and cells belong together."""
        ...

    def state_at(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead obs"]:
        """An observation in which ``goal`` is achieved: at rest there."""
        ...
