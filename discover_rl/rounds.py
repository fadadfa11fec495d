"""What one round works on, and the small sums over it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.replay import RowLayout

MAX_BATCHES = 32  # drawn at once: enough to make the cost of a draw small, few enough to stay in a cache


class Round:
    """What one round works on: tensors that keep their addresses, so that a CUDA graph can be replayed.

    Attributes:
        observation: Current observations.
        goals: Goals that the episodes are commanded to.
        targets: Targets of the episodes.
        use_target: Whether an episode is commanded to its own target.
        counted: Whether its success counts for the selector.
        reached: Whether the first episode of an environment reached its goal.
        came_to_target: Whether it came to its target, whatever its goal.
        block: Transitions of the round, see ``RowLayout``.
        done: Last transitions of episodes.
        strides: From where to where in the goal space episodes of the buffer came in a while, for those that explore.
        selected_success: Share of the selector's goals that were reached.
        commanded_success: Share of the episodes commanded to their target that reached it.
        target_success: Share of the episodes that came to the target, whatever their goal.
        achievability, novelty, relevance: Means over the chosen goals, in steps.
    """

    def __init__(self, num_runs: int, num_envs: int, num_steps: int, layout: RowLayout, device: torch.device) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(num_runs, *shape, dtype=dtype, device=device)

        self.observation = zeros(num_envs, layout.observation_dim)
        self.goals = zeros(num_envs, layout.goal_dim)
        self.targets = zeros(num_envs, layout.goal_dim)
        self.use_target = zeros(num_envs, dtype=torch.bool)
        self.counted = zeros(num_envs, dtype=torch.bool)
        self.reached = zeros(num_envs, dtype=torch.bool)
        self.came_to_target = zeros(num_envs, dtype=torch.bool)
        self.block = zeros(num_steps, num_envs, layout.width)
        self.done = zeros(num_steps, num_envs, dtype=torch.bool)
        self.strides = zeros(num_envs, layout.goal_dim)
        self.selected_success = zeros()
        self.commanded_success = zeros()
        self.target_success = zeros()
        self.achievability, self.novelty, self.relevance = zeros(), zeros(), zeros()

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """By TensorBoard tag."""
        return {
            "rollout/success_rate": self.target_success,
            "goal/selected_success_rate": self.selected_success,
            "goal/achievability": self.achievability,
            "goal/novelty": self.novelty,
            "goal/relevance": self.relevance,
        }


def exploration_scale(
    use_target: Bool[Tensor, "run env"], spread: float, greedy_share: float
) -> Float[Tensor, "run env"]:
    """Factors on the exploration noise of each episode.

    They run evenly from 1 - spread to 1 + spread over the environments, neighbours far apart (a golden-ratio
    sequence): environments stand in the order of their goals' scores, and every stretch gets the whole range.
    Of the episodes commanded to the target a share acts without noise.
    """
    count, device = use_target.shape[1], use_target.device
    factor = 1 - spread + 2 * spread * _places(count, device)
    greedy = (torch.arange(count, device=device) * 0.6180339887498949 + 0.5) % 1 < greedy_share
    return torch.where(use_target & greedy, 0.0, factor)


def give_up_steps(num_envs: int, num_steps: int, patience: float, device: torch.device) -> Float[Tensor, "env"]:
    """The step at which an episode gives up its goal: evenly from ``patience`` to 1 times the time limit."""
    return num_steps * (patience + (1 - patience) * _places(num_envs, device).flip(0))


def stride_steps(num_steps: int) -> int:
    """Steps for which an episode that explores heads for one place: a tenth of the time limit."""
    return max(1, num_steps // 10)


def _places(count: int, device: torch.device) -> Float[Tensor, "env"]:
    """Evenly over [0, 1), neighbours far apart: a golden-ratio sequence."""
    return torch.arange(1, count + 1, device=device) * 0.6180339887498949 % 1


def mean_where(x: Float[Tensor, "run env"], mask: Bool[Tensor, "run env"]) -> Float[Tensor, "run"]:
    """Mean over the masked environments of each run; 0 where there is none."""
    return (x * mask).sum(1) / mask.sum(1).clamp_min(1)


def batches_per_update(gradient_steps: int, multiple: int) -> int:
    """How many batches to draw at once: the largest divisor of ``gradient_steps`` up to some thirty.

    Args:
        gradient_steps: Batches of a round.
        multiple: What the answer must be a multiple of; ``gradient_steps`` is one itself.
    """
    counts = range(multiple, max(MAX_BATCHES, multiple) + 1, multiple)
    return max((count for count in counts if gradient_steps % count == 0), default=multiple)
