"""What a training run keeps for its report, beside the metrics: chosen goals and value maps over time."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.agents import Agent
from discover_rl.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from discover_rl.goals import GoalSpace
from discover_rl.replay import ReplayBuffer
from discover_rl.report.pictures import GoalHistory
from discover_rl.report.value_maps import DRAWN, ValueMaps, one_of_each_cell, spread_over
from discover_rl.run_folder import CURRICULUM


@dataclass
class Snapshots:
    """Everything of it, for all runs.

    Attributes:
        goals: The goals chosen.
        maps: What the value ensemble said of visited states.
    """

    goals: GoalHistory = field(default_factory=GoalHistory)
    maps: ValueMaps = field(default_factory=ValueMaps)

    def tensors(self) -> dict[str, Tensor]:
        """Named for a checkpoint."""
        return {**self.goals.tensors(), **self.maps.tensors()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Snapshots":
        """What ``tensors`` gave."""
        return cls(GoalHistory.from_tensors(tensors), ValueMaps.from_tensors(tensors))

    def save(self, run_dir: Path, note: dict[str, Any]) -> None:
        """Write them to a file of their own, small beside a checkpoint, which holds them too.

        Raises:
            OSError: If it cannot be written; an old file is unchanged.
        """
        save_checkpoint(run_dir / CURRICULUM, self.tensors(), note)


def load_snapshots(run_dir: Path) -> Snapshots | None:
    """The snapshots in a run folder; None in one of an older version, or before its first save.

    Raises:
        CheckpointError: If the file is damaged or of another format.
    """
    path = run_dir / CURRICULUM
    if not path.is_file():
        return None
    tensors, _ = load_checkpoint(path, torch.device("cpu"))
    try:
        return Snapshots.from_tensors(tensors)
    except KeyError as error:
        raise CheckpointError(f"{path}: {error} is missing; it is incomplete") from error


@torch.no_grad()
def map_values(
    agent: Agent,
    buffer: ReplayBuffer,
    space: GoalSpace,
    start: Float[Tensor, "run obs"],
    target: Float[Tensor, "run goal"],
) -> tuple[Float[Tensor, "run state goal"], Float[Tensor, "run state 3"]]:
    """Ask the value ensemble about visited states that cover what each run has seen; draws no random number.

    Args:
        agent: Whose ensemble.
        buffer: Where the states come from; not empty.
        space: What is achieved in them.
        start: A start s0 of each run.
        target: A target g* of each run.

    Returns:
        What is achieved in the states, nan where there are fewer, and V(s0, g), σ(s0, g), V(g, g*) of each.
    """
    places = spread_over(int(buffer.size), DRAWN, buffer.rows.device)
    visited = buffer.layout.split(buffer.gather(places.expand(buffer.num_runs, -1)))[2]
    kept = one_of_each_cell(space.achieved(visited))
    missing = (kept < 0)[..., None]
    visited = visited.gather(1, kept.clamp_min(0)[..., None].expand(-1, -1, visited.shape[-1]))
    goals = space.achieved(visited)
    near = agent.values(start[:, None].expand_as(visited).contiguous(), goals)
    far = agent.values(visited, target[:, None].expand_as(goals).contiguous())
    values = torch.stack([near.mean, near.std, far.mean], dim=-1)
    return goals.masked_fill(missing, torch.nan), values.masked_fill(missing, torch.nan)
