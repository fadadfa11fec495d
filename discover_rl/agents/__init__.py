"""Learners: TD3 with a stacked value ensemble, and two sanity agents that learn nothing."""

from discover_rl.agents.agent import Agent, value_in_steps
from discover_rl.agents.sanity import RandomAgent, RandomConfig, ZeroAgent, ZeroConfig
from discover_rl.agents.td3 import TD3
from discover_rl.agents.td3_config import TD3Config

AGENT_CONFIGS: dict[str, type] = {"td3": TD3Config, "zero": ZeroConfig, "random": RandomConfig}
"""The configuration of every agent by its name in configs."""

__all__ = [
    "AGENT_CONFIGS",
    "TD3",
    "Agent",
    "RandomAgent",
    "RandomConfig",
    "TD3Config",
    "ZeroAgent",
    "ZeroConfig",
    "value_in_steps",
]
