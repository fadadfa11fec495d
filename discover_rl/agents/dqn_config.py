"""Hyperparameters of the agent for discrete actions."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DQNConfig:
    """Hyperparameters.

    Attributes:
        name: Name in configs and tables.
        hidden_sizes: Hidden widths of the critics.
        num_critics: Size of the value ensemble.
        learning_rate: Of Adam.
        gamma: Discount factor.
        tau: Polyak rate of the targets, applied at each update.
        exploration: Share of the actions in the rollout that are random.
        target_critics: Critics, drawn anew for each update, whose minimum at the greedy action is the target of all.
        n_steps: Most steps that the Bellman target looks ahead, see ``TD3Config``. Needs ``goal_is_terminal``.
        goal_is_terminal: Whether the Bellman target ends at the goal even where the episode goes on, see ``TD3Config``.
        hindsight_bound: Whether a goal known to have been reached k steps later bounds the Bellman target from below by
            γ^k, see ``TD3Config``. Needs ``goal_is_terminal``.
    """

    name: str = "dqn"
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256])
    num_critics: int = 5
    learning_rate: float = 5e-4
    gamma: float = 0.98
    tau: float = 0.01
    exploration: float = 0.2
    target_critics: int = 2
    n_steps: int = 1
    goal_is_terminal: bool = True
    hindsight_bound: bool = True

    def __post_init__(self) -> None:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"agent.hidden_sizes needs positive widths, got {list(self.hidden_sizes)}")
        for key in ("num_critics", "target_critics", "n_steps"):
            if getattr(self, key) < 1:
                raise ValueError(f"agent.{key} must be at least 1, got {getattr(self, key)}")
        if self.target_critics > self.num_critics:
            raise ValueError(
                f"agent.target_critics={self.target_critics} is more than agent.num_critics={self.num_critics}"
            )
        if not 0 < self.gamma < 1:
            raise ValueError(f"agent.gamma must lie strictly between 0 and 1, got {self.gamma}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"agent.tau must lie in (0, 1], got {self.tau}")
        if not self.learning_rate > 0:
            raise ValueError(f"agent.learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"agent.exploration must lie in [0, 1], got {self.exploration}")
