"""An environment made for the face: starts seeded singly, episodes that end for every reason."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from discover_rl.goals import BoxGoals, Step


@dataclass
class LineConfig:
    name: str = "line"
    max_episode_steps: int = 9
    failure_beyond: float = 100.0
    interrupted_beyond: float = 100.0
    terminate_on_success: bool = False

    def __post_init__(self) -> None:
        if self.max_episode_steps < 1:
            raise ValueError(f"line: max_episode_steps must be at least 1, got {self.max_episode_steps}")


class Line:
    """Observation: place and number of steps. Action: the move, halved. Goal: the place, within 0.25.

    Too far right is a failure, too far left is cut short; both depend on the place alone.
    """

    Config: ClassVar = LineConfig
    start_numbers = 1
    step_seconds = 0.05

    def __init__(self, config: LineConfig, num_envs: int, device: torch.device, seed: int) -> None:
        self.config, self.num_envs, self.device = config, num_envs, device
        self.observation_dim, self.action_dim = 2, 1
        self.max_episode_steps = config.max_episode_steps
        self.goal_space = BoxGoals([0], 0.25, ["place"])
        self.ends_early = min(config.failure_beyond, config.interrupted_beyond) < 100
        self.terminate_on_success = config.terminate_on_success
        self.generator = torch.Generator(device).manual_seed(seed)
        self.state = torch.zeros(num_envs, 2, device=device)
        self.closed = False

    def reset(self, mask: Tensor | None = None) -> Tensor:
        return self.reset_from(torch.rand(self.num_envs, 1, generator=self.generator, device=self.device), mask)

    def reset_from(self, numbers: Tensor, mask: Tensor | None = None) -> Tensor:
        start = torch.cat([numbers - 0.5, torch.zeros_like(numbers)], dim=1)
        self.state = start if mask is None else torch.where(mask[:, None], start, self.state)
        return self.state

    def targets(self) -> Tensor:
        return torch.full((self.num_envs, 1), 2.0, device=self.device)

    def step(self, action: Tensor) -> Step:
        self.state = self.state + torch.cat([0.5 * action.clamp(-1, 1), torch.ones_like(action)], dim=1)
        place = self.state[:, 0]
        return Step(self.state, place > self.config.failure_beyond, place < -self.config.interrupted_beyond)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def line() -> type[Line]:
    return Line
