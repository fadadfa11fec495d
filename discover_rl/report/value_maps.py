"""What the value ensemble said of visited states at moments of a training: the maps of a report.

States that the agent has visited, not a grid: they are what the selector chooses among, every environment and goal
space has them, and where the agent has not been the map stays blank.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

STATES = 1024  # kept per run and moment
DRAWN = 16_384  # visited states among which these are looked for
CELLS = 48**2  # of a grid over all goal coordinates; of the states in one cell one is kept
MOMENTS = 32  # once so many are kept, every second one is dropped
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class MapHistory:
    """The maps of one run. Values are in minus steps, as the selector sees them; nan where there was no state.

    Attributes:
        steps: Environment steps of the run at each moment.
        goals: What is achieved in the states.
        achievability: V(s0, g), ensemble mean.
        novelty: σ(s0, g), ensemble standard deviation.
        relevance: V(g, g*), ensemble mean.
    """

    steps: Shaped[np.ndarray, "moment"]
    goals: Float[np.ndarray, "moment state goal"]
    achievability: Float[np.ndarray, "moment state"]
    novelty: Float[np.ndarray, "moment state"]
    relevance: Float[np.ndarray, "moment state"]


class ValueMaps:
    """Maps of all runs, kept on the CPU in half precision and in checkpoints.

    Moments lie evenly over the training however long it becomes (``wants`` says no to those that are closer than the
    first two), but for the end, which is always one.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.goals: list[Float[Tensor, "run state goal"]] = []
        self.values: list[Float[Tensor, "run state 3"]] = []

    def wants(self, step: int) -> bool:
        """Whether a map should be made at this step."""
        if len(self.steps) < 2:
            return True
        return step - self.steps[-1] >= self.steps[1] - self.steps[0]

    def add(self, step: int, goals: Float[Tensor, "run state goal"], values: Float[Tensor, "run state 3"]) -> None:
        """Remember a map.

        Args:
            step: Environment steps so far.
            goals: What is achieved in the states, nan where there is none.
            values: V(s0, g), σ(s0, g) and V(g, g*) of each.
        """
        self.steps.append(step)
        self.goals.append(goals.half().cpu())
        self.values.append(values.half().cpu())
        if len(self.steps) > MOMENTS:
            self.steps, self.goals, self.values = self.steps[::2], self.goals[::2], self.values[::2]

    def tensors(self) -> dict[str, Tensor]:
        """Named for a checkpoint."""
        if not self.steps:
            return {}
        return {
            "maps/steps": torch.tensor(self.steps),
            "maps/goals": torch.stack(self.goals),
            "maps/values": torch.stack(self.values),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ValueMaps":
        """What ``tensors`` gave; empty if there is none, as in checkpoints of older versions."""
        maps = cls()
        if "maps/steps" in tensors:
            maps.steps = tensors["maps/steps"].tolist()
            maps.goals = list(tensors["maps/goals"].cpu())
            maps.values = list(tensors["maps/values"].cpu())
        return maps

    def of_run(self, run: int) -> MapHistory:
        """The maps of one run; none, of no states, where nothing was remembered."""
        if not self.steps:
            none = np.zeros((0, 0), dtype=np.float32)
            return MapHistory(np.zeros(0, dtype=np.int64), np.zeros((0, 0, 1), dtype=np.float32), none, none, none)
        values = torch.stack(self.values)[:, run].float().numpy()
        goals = torch.stack(self.goals)[:, run].float().numpy()
        return MapHistory(np.array(self.steps), goals, values[..., 0], values[..., 1], values[..., 2])


def spread_over(size: int, number: int, device: torch.device) -> Int64[Tensor, "number"]:
    """Places in a buffer, evenly over it and never in step with its rounds; no random number is drawn.

    Args:
        size: How much the buffer holds, at least 1.
        number: How many places.
        device: Where the answer lives.
    """
    place = torch.arange(1, number + 1, device=device, dtype=torch.float64) * GOLDEN % 1
    return (place * size).long().clamp_max(size - 1)


def one_of_each_cell(goals: Float[Tensor, "run drawn goal"], states: int = STATES) -> Int64[Tensor, "run state"]:
    """Which goals to keep so that they cover what is there: one of each occupied cell of a grid.

    Args:
        goals: Goals of states drawn from the buffer, most of them near the start.
        states: At most so many; with more cells an even sample of them, with fewer the rest is -1.

    Returns:
        Indices into the second axis.
    """
    runs, _, dim = goals.shape
    low, high = goals.amin(1, keepdim=True), goals.amax(1, keepdim=True)
    along = max(4, round(CELLS ** (1 / dim)))
    cells = ((goals - low) / (high - low).clamp_min(1e-9) * along).long().clamp_max(along - 1).cpu().numpy()
    kept = np.full((runs, states), -1, dtype=np.int64)
    for run in range(runs):
        _, first = np.unique(cells[run], axis=0, return_index=True)
        if len(first) > states:
            first = first[np.linspace(0, len(first) - 1, states).astype(int)]
        kept[run, : len(first)] = first
    return torch.from_numpy(kept).to(goals.device)
