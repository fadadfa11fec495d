"""The environments that come with discover_rl: point mazes of any dimension, and simulated bodies in mazes.

``import discover_envs`` registers the ids of ``discover_envs.ids`` with Gymnasium.
"""

from discover_envs.ids import register_all

register_all()
