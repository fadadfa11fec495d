"""Learners: TD3, double DQN for discrete actions, both with a stacked value ensemble; two that learn nothing."""

from discover_rl.agents.agent import Agent, Generators, value_in_steps
from discover_rl.agents.dqn import DQN
from discover_rl.agents.dqn_config import DQNConfig
from discover_rl.agents.sanity import RandomAgent, RandomConfig, ZeroAgent, ZeroConfig
from discover_rl.agents.td3 import TD3
from discover_rl.agents.td3_config import TD3Config

AGENT_CONFIGS: dict[str, type] = {"td3": TD3Config, "dqn": DQNConfig, "zero": ZeroConfig, "random": RandomConfig}
"""The configuration of every agent by its name in configs."""

__all__ = [
    "AGENT_CONFIGS",
    "DQN",
    "TD3",
    "Agent",
    "DQNConfig",
    "Generators",
    "RandomAgent",
    "RandomConfig",
    "TD3Config",
    "ZeroAgent",
    "ZeroConfig",
    "value_in_steps",
]
