"""A ring of rounds. A round is one block (time, env) of transitions in which every episode is closed.

All fields of a transition stand side by side in one float32 row, so that drawing a batch is one gather. The
row of (slot, t, env) is ``(slot * time + t) * env_count + env``: one step later in the same environment is
``env_count`` rows further, which is all that hindsight needs to know.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Which columns of a row hold what.

    Attributes:
        observation_dim: Width of an observation.
        action_dim: Width of an action.
        goal_dim: Width of a goal.
    """

    observation_dim: int
    action_dim: int
    goal_dim: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the fields in the order of ``split``."""
        return (self.observation_dim, self.action_dim, self.observation_dim, self.goal_dim, 1, 1)

    @property
    def width(self) -> int:
        """Columns of a row."""
        return sum(self.widths)

    def split(self, rows: Float[Tensor, "*lead column"]) -> tuple[Tensor, ...]:
        """Views: observation, action, next observation, commanded goal, terminated, steps to end.

        "Steps to end" counts the transitions that follow in the same episode: 0 at its last one.
        """
        return rows.split(self.widths, dim=-1)


class ReplayBuffer:
    """Transitions of all runs, (run, slot x time x env, column), overwritten round by round when full.

    Args:
        num_runs: Independent runs.
        num_envs: Environments of each run.
        num_steps: Vector steps of a round.
        capacity: Transitions kept per run; rounded down to whole rounds, at least one.
        layout: Columns of a row.
        device: Where the rows live.
    """

    def __init__(
        self,
        num_runs: int,
        num_envs: int,
        num_steps: int,
        capacity: int,
        layout: RowLayout,
        device: torch.device,
    ) -> None:
        self.num_runs, self.num_envs, self.num_steps, self.layout = num_runs, num_envs, num_steps, layout
        self.round_size = num_envs * num_steps
        self.num_slots = max(1, capacity // self.round_size)
        self.rows = torch.zeros(num_runs, self.num_slots * self.round_size, layout.width, device=device)
        # kept on the device, so that a captured update sees the buffer grow
        self.size = torch.zeros((), dtype=torch.int64, device=device)
        self.rounds_added = 0
        self._run_offset = torch.arange(num_runs, device=device)[:, None] * self.rows.shape[1]

    def add(self, block: Float[Tensor, "run time env column"]) -> None:
        """Store one round, over the oldest if the ring is full.

        Raises:
            ValueError: If the block has another shape than (run, time, env, column).
        """
        expected = (self.num_runs, self.num_steps, self.num_envs, self.layout.width)
        if tuple(block.shape) != expected:
            raise ValueError(f"replay: a round has shape {expected}, got {tuple(block.shape)}")
        start = self.rounds_added % self.num_slots * self.round_size
        self.rows[:, start : start + self.round_size] = block.flatten(1, 2)
        self.rounds_added += 1
        self.size.fill_(min(self.rounds_added, self.num_slots) * self.round_size)

    def filled(self) -> Float[Tensor, "run transition column"]:
        """The rows in use, for a checkpoint."""
        return self.rows[:, : min(self.rounds_added, self.num_slots) * self.round_size]

    def restore(self, rows: Float[Tensor, "run transition column"], rounds_added: int) -> None:
        """Put back what ``filled`` gave.

        Raises:
            ValueError: If the rows do not fit this buffer.
        """
        expected = (self.num_runs, min(rounds_added, self.num_slots) * self.round_size, self.layout.width)
        if tuple(rows.shape) != expected:
            raise ValueError(f"replay: expected stored rows of shape {expected}, got {tuple(rows.shape)}")
        self.rows[:, : rows.shape[1]] = rows
        self.rounds_added = rounds_added
        self.size.fill_(rows.shape[1])

    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "run batch"]:
        """Indices drawn uniformly, with replacement, from the rows in use; all zero while it is empty."""
        uniform = torch.rand(self.num_runs, batch_size, device=self.rows.device, generator=generator)
        # float32 rounding may reach `size` itself
        return torch.minimum((uniform * self.size).long(), (self.size - 1).clamp_min(0))

    def time_left(self, index: Int[Tensor, "run batch"]) -> Int[Tensor, "run batch"]:
        """Vector steps of its round that follow these transitions."""
        return self.num_steps - 1 - index // self.num_envs % self.num_steps

    def gather(self, index: Int[Tensor, "run batch"]) -> Float[Tensor, "run batch column"]:
        """The rows at these indices of each run."""
        return self.rows.flatten(0, 1)[index + self._run_offset]
