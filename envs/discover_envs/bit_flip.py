"""Bit flipping (Andrychowicz et al. 2017, arXiv 1707.01495): flip one of n bits a step until all are as they should be.

Observation: the bits, n numbers 0 or 1. Actions: which bit to flip, as n preferences, the greatest of which is taken.
Start and target of every episode are drawn at random.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.goals.environment import Step
from discover_rl.goals.spaces import DiscreteGoals


@dataclass
class BitFlipConfig:
    """Settings of bit flipping.

    Attributes:
        name: Name of the environment; leave it.
        num_bits: Number of bits, at least 2.
        max_episode_steps: Time limit in steps; as many as there are bits if 0.
    """

    name: str = "bit_flip"
    num_bits: int = 10
    max_episode_steps: int = 0

    def __post_init__(self) -> None:
        if self.num_bits < 2:
            raise ValueError(f"bit flip: num_bits must be at least 2, got {self.num_bits}")
        if self.max_episode_steps < 0:
            raise ValueError(f"bit flip: max_episode_steps must not be negative, got {self.max_episode_steps}")


class BitFlip:
    """A vector of bit strings: the contract is ``discover_rl.goals.Environment``.

    Args:
        config: Settings.
        num_envs: Number of environments.
        device: Where every tensor lives.
        seed: Seed of starts and targets.
    """

    Config: ClassVar = BitFlipConfig
    discrete_actions = True
    targets_vary = True

    def __init__(self, config: BitFlipConfig, num_envs: int, device: torch.device, seed: int) -> None:
        self.num_envs, self.device = num_envs, torch.device(device)
        self.observation_dim = self.action_dim = config.num_bits
        self.max_episode_steps = config.max_episode_steps or config.num_bits
        self.goal_space = DiscreteGoals(range(config.num_bits), [f"bit{i}" for i in range(config.num_bits)])
        self.ends_early = self.terminate_on_success = False
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._never = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.bits = torch.zeros(num_envs, config.num_bits, device=self.device)
        self._targets = torch.zeros_like(self.bits)
        self.reset()

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Fresh bits and a fresh target, which differs from them, where ``mask`` is True."""
        draw = torch.rand(3, *self.bits.shape, device=self.device, generator=self.generator)
        bits, target = (draw[:2] < 0.5).float()
        # at least one bit differs: the one whose number is greatest
        forced = draw[2] == draw[2].amax(-1, keepdim=True)
        target = torch.where(forced, 1 - bits, target)
        if mask is not None:
            bits = torch.where(mask[:, None], bits, self.bits)
            target = torch.where(mask[:, None], target, self._targets)
        self.bits.copy_(bits)
        self._targets.copy_(target)
        return bits

    def targets(self) -> Float[Tensor, "env goal"]:
        """The bits that each episode should end with."""
        return self._targets.clone()

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Flip the bit with the greatest preference.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        if action.shape != self.bits.shape:
            raise ValueError(f"bit flip: action has shape {tuple(action.shape)}, expected {tuple(self.bits.shape)}")
        chosen = action.argmax(-1, keepdim=True)
        bits = self.bits.scatter(-1, chosen, 1 - self.bits.gather(-1, chosen))
        self.bits.copy_(bits)
        return Step(bits, self._never, self._never)
