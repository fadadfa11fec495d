"""Stacked networks: many independent multilayer perceptrons as one tensor, and CUDA-graph capture."""

from discover_rl.nets.capture import Captured
from discover_rl.nets.mlp import StackedMLP

__all__ = ["Captured", "StackedMLP"]
