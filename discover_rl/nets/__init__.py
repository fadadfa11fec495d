"""Stacked networks: many independent multilayer perceptrons as one tensor, and CUDA-graph capture."""

from discover_rl.nets.capture import Captured, run_beside
from discover_rl.nets.mlp import StackedMLP

__all__ = ["Captured", "StackedMLP", "run_beside"]
