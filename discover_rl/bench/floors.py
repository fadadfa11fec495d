"""Arithmetic and bytes that the work cannot do without; the floors of the table.

Flops count the matrix products, two for a multiply-add. Bytes count what must cross the memory bus if everything
between is fused away.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

FLOAT = 4  # bytes


class Work(NamedTuple):
    """Work at least.

    Attributes:
        flops: Floating-point operations.
        bytes: Bytes read and written.
    """

    flops: int | float
    bytes: int | float

    def times(self, count: int | float) -> "Work":
        """So many times as much."""
        return Work(self.flops * count, self.bytes * count)

    def plus(self, other: "Work") -> "Work":
        """Both."""
        return Work(self.flops + other.flops, self.bytes + other.bytes)


class Shape(NamedTuple):
    """What the work of an agent follows from.

    Attributes:
        actor: Layer widths of the actor, input first.
        critic: Layer widths of a critic, input first.
        num_critics: Size of the ensemble.
        target_critics: Critics whose minimum is the target.
        actor_critics: Critics that the actor ascends.
        policy_delay: Critic updates per update of the actor and of the targets.
    """

    actor: Sequence[int]
    critic: Sequence[int]
    num_critics: int
    target_critics: int
    actor_critics: int
    policy_delay: int


def num_weights(sizes: Sequence[int]) -> int:
    """Multiply-adds of a forward pass of one row: the weights without the biases."""
    return sum(a * b for a, b in itertools.pairwise(sizes))


def num_parameters(sizes: Sequence[int]) -> int:
    """Weights and biases."""
    return num_weights(sizes) + sum(sizes[1:])


def _backward(sizes: Sequence[int]) -> int:
    """Multiply-adds of the gradients by all weights, and by the inputs of all layers but the first."""
    return 2 * num_weights(sizes) - sizes[0] * sizes[1]


def update_work(shape: Shape, batch_size: int) -> Work:
    """One critic update of one run, and 1 / ``policy_delay`` of an update of the actor and of the targets.

    Flops, in multiply-adds a row:

    * target: the target actor and ``target_critics`` critics forward;
    * critics: each forward, its weights' gradient, and the gradient by the input of all layers but the first;
    * actor: forward, ``actor_critics`` critics forward and backward by the action, then the actor backward.

    Bytes, all else fused: parameters and both moments read and written (6 passes), targets read and written
    (2 passes), and the targets in use read once.
    """
    actor, critic, first_layer = num_weights(shape.actor), num_weights(shape.critic), shape.critic[0] * shape.critic[1]
    by_action = critic - first_layer + shape.actor[-1] * shape.critic[1]
    every = (
        actor
        + shape.target_critics * critic
        + shape.num_critics * (critic + _backward(shape.critic))
        + (actor + shape.actor_critics * (critic + by_action) + _backward(shape.actor)) / shape.policy_delay
    )
    of_actor, of_critic = num_parameters(shape.actor), num_parameters(shape.critic)
    of_critics = shape.num_critics * of_critic
    passes = (
        6 * of_critics
        + (6 * of_actor + 2 * (of_actor + of_critics)) / shape.policy_delay
        + of_actor
        + shape.target_critics * of_critic
    )
    return Work(2 * batch_size * every, FLOAT * passes)


def choice_work(shape: Shape, num_candidates: int, row_width: int) -> Work:
    """One goal choice of one run: V(s0, g) and V(g, g*) of every candidate.

    Flops: the actor and all critics forward, twice a candidate. Bytes: the candidates' rows and the parameters once.
    """
    rows = 2 * num_candidates * (num_weights(shape.actor) + shape.num_critics * num_weights(shape.critic))
    parameters = num_parameters(shape.actor) + shape.num_critics * num_parameters(shape.critic)
    return Work(2 * rows, FLOAT * (num_candidates * row_width + parameters))


def env_step_work(dim: int) -> Work:
    """One step of one point maze of ``dim`` dimensions.

    Flops per coordinate: scale and shift the random number, clip twice, move twice, distance to the target three
    times. Bytes: the position read and written, one of the maze, one of the success.
    """
    return Work(9 * dim, 2 * FLOAT * dim + 2)


def acting_work(shape: Shape, rows: int, row_width: int) -> Work:
    """The actor on ``rows`` observations, and the transitions written to the replay buffer."""
    return Work(2 * rows * num_weights(shape.actor), FLOAT * rows * row_width)
