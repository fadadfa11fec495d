"""The Gymnasium face of every environment that obeys ``discover_rl.goals.Environment``.

An environment that is a plug-in (entry-point group ``discover_rl.environments``) gets an id by::

    gymnasium.register(
        "Mine/Maze-v0",
        entry_point="discover_rl.gym:GoalEnv",
        vector_entry_point="discover_rl.gym:GoalVectorEnv",
        max_episode_steps=100,
        kwargs={"env": "my_maze", "size": 5},  # the name of the plug-in; fields of its Config
    )
"""

from discover_rl.gym.single import GoalEnv
from discover_rl.gym.vector import GoalVectorEnv

__all__ = ["GoalEnv", "GoalVectorEnv"]
