"""Hindsight relabelling (Andrychowicz et al. 2017, arXiv 1707.01495) as a pure function of tensors."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from discover_rl.config import HindsightConfig
from discover_rl.goals import GoalSpace
from discover_rl.replay.buffer import ReplayBuffer


class Batch(NamedTuple):
    """A batch to learn from; reward and terminated belong to ``goal``.

    Attributes:
        observation: State.
        action: Action taken there.
        next_observation: State that followed, ``steps`` transitions later.
        goal: Goal to learn from, after relabelling.
        reward: 1 where the following state has reached the goal, else 0.
        terminated: 1 where nothing of value follows, else 0.
        steps: Transitions from the state to the following one; 1 unless batches have n-step transitions.
        steps_to_goal: Steps that the episode took from the following state until the goal was achieved, where
            relabelling knows them (a goal achieved later in the same episode); inf elsewhere. They count from the
            state that followed after one transition, however many ``steps`` has.
    """

    observation: Float[Tensor, "run *batch obs"]
    action: Float[Tensor, "run *batch act"]
    next_observation: Float[Tensor, "run *batch obs"]
    goal: Float[Tensor, "run *batch goal"]
    reward: Float[Tensor, "run *batch"]
    terminated: Float[Tensor, "run *batch"]
    steps: Float[Tensor, "run *batch"]
    steps_to_goal: Float[Tensor, "run *batch"]

    def unflatten(self, count: int) -> "Batch":
        """As ``count`` batches along a new second axis."""
        return Batch(*(field.unflatten(1, (count, -1)) for field in self))


def steps_to_end(done: Bool[Tensor, "*lead time env"]) -> Int[Tensor, "*lead time env"]:
    """For each transition the number of transitions that follow in its episode.

    Args:
        done: True at the last transition of an episode. The last step of the block ends every episode.
    """
    num_steps = done.shape[-2]
    time = torch.arange(num_steps, device=done.device)[:, None].expand_as(done)
    end = torch.where(done, time, num_steps - 1)
    # the first end at or after t: a running minimum from the back
    return end.flip(-2).cummin(-2).values.flip(-2) - time


def relabel(
    commanded: Float[Tensor, "run batch goal"],
    future: Float[Tensor, "run batch goal"],
    target: Float[Tensor, "run batch goal"],
    random: Float[Tensor, "run batch goal"],
    uniform: Float[Tensor, "run batch"],
    config: HindsightConfig,
) -> Float[Tensor, "run batch goal"]:
    """Choose among four goals for each transition by its own uniform number in [0, 1).

    In [0, future) the future goal, then the target, then the random goal, above that the commanded one.
    """
    first = config.future
    second, third = first + config.target, first + config.target + config.random
    u = uniform[..., None]
    goal = torch.where(u < first, future, commanded)
    if config.target:
        goal = torch.where((u >= first) & (u < second), target, goal)
    if config.random:
        goal = torch.where((u >= second) & (u < third), random, goal)
    return goal


def _uniform_step(uniform: Float[Tensor, "run batch"], last: Float[Tensor, "run batch"]) -> Int[Tensor, "run batch"]:
    """A whole number from 0 to ``last``, both included."""
    return torch.minimum((uniform * (last + 1)).floor(), last).long()


def _steps_to_draw_from(
    buffer: ReplayBuffer, index: Int[Tensor, "run batch"], steps: Float[Tensor, "run batch"], config: HindsightConfig
) -> Float[Tensor, "run batch"]:
    """The latest moment of a future goal, in steps after each transition."""
    if not config.past_failure:
        return steps
    last = buffer.gather(index + steps.long() * buffer.num_envs)
    failed = buffer.layout.split(last)[4][..., 0] > 0
    return torch.where(failed, buffer.time_left(index).float(), steps)


def sample_batch(
    buffer: ReplayBuffer,
    batch_size: int,
    goal_space: GoalSpace,
    targets: Float[Tensor, "run env goal"],
    config: HindsightConfig,
    goal_is_terminal: bool,
    generator: torch.Generator,
    n_steps: int = 1,
) -> Batch:
    """Draw transitions uniformly and relabel them; reward and terminated are recomputed for every one.

    The future goal of transition t is the goal achieved after step t + k, with k uniform over the rest of the
    episode from 0 on; a time limit is no termination. Where state t has reached it already, ``skip_reached`` draws k
    once more, from there on. With ``past_failure`` k is uniform over the rest of the round where the episode failed,
    and the commanded goal stays where that lies past the failure.

    An n-step transition (Sutton & Barto 2018, section 7.1) leads to the state up to ``n_steps`` transitions later: to
    the first that has reached the goal, where the episode ends at the latest. Only commanded and future goals get
    them, which are what the episode was after (until it came there or gave up, and then explored) and where it came to.
    For another goal what it did would count as the way there.

    Args:
        buffer: Where from.
        batch_size: Transitions per run.
        goal_space: Says what is achieved and what counts as success.
        targets: The present target of each environment, for the ``target`` share.
        config: The mix.
        goal_is_terminal: Whether a transition into its goal counts as terminated.
        generator: Source of all random numbers.
        n_steps: Most transitions that one may span; more than 1 needs ``goal_is_terminal``.
    """
    layout, device = buffer.layout, buffer.rows.device
    index = buffer.draw(batch_size, generator)
    observation, action, next_observation, commanded, terminated, to_end = layout.split(buffer.gather(index))
    uniform = torch.rand(3 if config.skip_reached else 2, *index.shape, device=device, generator=generator)
    steps = to_end[..., 0]

    def future_goal(offset: Int[Tensor, "run batch"]) -> Float[Tensor, "run batch goal"]:
        return goal_space.achieved(layout.split(buffer.gather(index + offset * buffer.num_envs))[2])

    offset = _uniform_step(uniform[0], _steps_to_draw_from(buffer, index, steps, config))
    survived = offset <= steps
    offset = torch.minimum(offset, steps.long())
    future = future_goal(offset)
    if config.skip_reached:
        reached = goal_space.success(goal_space.achieved(observation), future)
        further = offset + _uniform_step(uniform[2], steps - offset)
        offset = torch.where(reached, further, offset)
        future = torch.where(reached[..., None], future_goal(further), future)
    future = torch.where(survived[..., None], future, commanded)
    achieved = goal_space.achieved(next_observation)
    random = achieved.roll(1, dims=1)  # the batch is a uniform draw, so a neighbour's goal is one too
    goal = relabel(
        commanded,
        future,
        targets.gather(1, (index % buffer.num_envs)[..., None].expand_as(commanded)),
        random,
        uniform[1],
        config,
    )
    success = goal_space.success(achieved, goal)
    reward = success.float()
    ended = terminated[..., 0]
    if goal_is_terminal:
        ended = torch.maximum(ended, reward)
    steps_to_goal = torch.where((uniform[1] < config.future) & survived, offset.float(), torch.inf)
    one_step = Batch(observation, action, next_observation, goal, reward, ended, torch.ones_like(reward), steps_to_goal)
    if n_steps == 1:
        return one_step
    pursued = (uniform[1] < config.future) | (uniform[1] >= config.future + config.target + config.random)
    return _lengthen(one_step, buffer, goal_space, index, steps.clamp_max(n_steps - 1) * pursued, n_steps)


def _lengthen(
    batch: Batch,
    buffer: ReplayBuffer,
    goal_space: GoalSpace,
    index: Int[Tensor, "run batch"],
    further: Float[Tensor, "run batch"],
    n_steps: int,
) -> Batch:
    """Let transitions lead up to ``further`` steps further, and no further than to their end."""
    for step in range(1, n_steps):
        goes_on = (batch.terminated == 0) & (further >= step)
        _, _, later, _, terminated, _ = buffer.layout.split(buffer.gather(index + step * buffer.num_envs * goes_on))
        reward = goal_space.success(goal_space.achieved(later), batch.goal).float()
        ended = torch.maximum(terminated[..., 0], reward)
        batch = batch._replace(
            next_observation=torch.where(goes_on[..., None], later, batch.next_observation),
            reward=torch.where(goes_on, reward, batch.reward),
            terminated=torch.where(goes_on, ended, batch.terminated),
            steps=batch.steps + goes_on,
        )
    return batch
