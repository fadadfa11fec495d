"""What a task is: the goal-space contract, the environment contract, and how plug-ins of both are found."""

from discover_rl.goals.cells import CellMap, HasCells
from discover_rl.goals.environment import Environment, EnvironmentFactory, Step, check_starts, true_distance
from discover_rl.goals.space import BoxGoals, GoalSpace

__all__ = [
    "BoxGoals",
    "CellMap",
    "Environment",
    "EnvironmentFactory",
    "GoalSpace",
    "HasCells",
    "Step",
    "check_starts",
    "true_distance",
]
