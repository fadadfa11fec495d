"""What a task is: the goal-space contract, the environment contract, and how plug-ins of both are found."""

from discover_rl.goals.cells import CellMap, HasCells
from discover_rl.goals.check import check_goal_space, goal_space_problems
from discover_rl.goals.embedding import EmbeddingGoals
from discover_rl.goals.environment import Environment, EnvironmentFactory, Simulated, Step, check_starts, true_distance
from discover_rl.goals.retargeted import Retargeted
from discover_rl.goals.space import BoxGoals, GoalSpace, describe_goal, goal_distance
from discover_rl.goals.spaces import DiscreteGoals, FullGoals, LinearGoals, XYGoals
from discover_rl.goals.targets import target_draw
from discover_rl.goals.view import PlainView, Seen, View

__all__ = [
    "BoxGoals",
    "CellMap",
    "DiscreteGoals",
    "EmbeddingGoals",
    "Environment",
    "EnvironmentFactory",
    "FullGoals",
    "GoalSpace",
    "HasCells",
    "LinearGoals",
    "PlainView",
    "Retargeted",
    "Seen",
    "Simulated",
    "Step",
    "View",
    "XYGoals",
    "check_goal_space",
    "check_starts",
    "describe_goal",
    "goal_distance",
    "goal_space_problems",
    "target_draw",
    "true_distance",
]
