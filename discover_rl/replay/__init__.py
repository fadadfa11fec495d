"""Replay: whole rounds of transitions on the device, and hindsight relabelling with exact indices."""

from discover_rl.replay.buffer import ReplayBuffer, RowLayout
from discover_rl.replay.hindsight import Batch, relabel, sample_batch, steps_to_end

__all__ = ["Batch", "ReplayBuffer", "RowLayout", "relabel", "sample_batch", "steps_to_end"]
