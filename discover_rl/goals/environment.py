"""The environment contract: a vector of environments whose arrays are torch tensors on one device.

The environment holds the dynamics, the starts and the targets. It does not hold the goal of an episode: goals
are chosen by the training loop, change only between episodes, and reward, success and goal-dependent
termination are functions of (achieved, desired) given by the goal space. So reward and success always refer to
the goal acted under, and relabelling recomputes exactly what the environment would have said.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from discover_rl.goals.space import GoalSpace
from discover_rl.goals.view import View


class Step(NamedTuple):
    """What one vector step returns; nothing is reset by it.

    Attributes:
        observation: The state after the step, also where the episode has ended (the "final observation").
        terminated: The episode ended in a state whose value is zero whatever the goal (a failure, say).
            Reaching the goal is not reported here; see ``Environment.terminate_on_success``.
        truncated: The environment cut the episode short for a reason outside the task (a diverged
            simulation, say). The time limit is not reported here: the loop applies ``max_episode_steps``.
    """

    observation: Float[Tensor, "env obs"]
    terminated: Bool[Tensor, "env"]
    truncated: Bool[Tensor, "env"]


@runtime_checkable
class Environment(Protocol):
    """The contract. All tensors are float32 (masks bool) on ``device`` with a leading ``env`` axis.

    On CUDA, ``reset`` and ``step`` are captured in a graph: they must work in place on tensors that keep their
    addresses, read nothing back, and draw only from ``generator``. An environment that cannot be captured says so
    with an attribute ``capturable = False``; the loop then calls it step by step, and still captures the updates
    (and what lies between the simulations of two steps, if they can be told apart: see ``Simulated``).
    What they return is never written to later. A full ``reset`` forgets everything but the generator.

    Attributes:
        num_envs: Number of environments that step together.
        device: Where every tensor lives.
        observation_dim: Width of an observation.
        action_dim: Width of an action; actions lie in [-1, 1].
        max_episode_steps: Time limit in environment steps.
        goal_space: What counts as achieved and as success.
        ends_early: Whether an episode can end before the time limit. Where False, the loop skips all
            handling of early ends.
        terminate_on_success: Whether an episode ends when its goal is reached (reward 1 once) instead of
            going on (reward 1 for each step within the goal).
        generator: The generator of starts (and of noise in the dynamics); saved in checkpoints.
    """

    num_envs: int
    device: torch.device
    observation_dim: int
    action_dim: int
    max_episode_steps: int
    goal_space: GoalSpace
    ends_early: bool
    terminate_on_success: bool
    generator: torch.Generator

    def reset(self, mask: Bool[Tensor, "env"] | None = None) -> Float[Tensor, "env obs"]:
        """Start new episodes where ``mask`` is True (everywhere if None); returns all observations.

        Starts differ from episode to episode, and no start has already solved its target.
        """
        ...

    def targets(self) -> Float[Tensor, "env goal"]:
        """The target g* of each running episode."""
        ...

    def step(self, action: Float[Tensor, "env act"]) -> Step:
        """Advance every environment by one step.

        Raises:
            ValueError: If the shape of ``action`` is wrong.
        """
        ...


@runtime_checkable
class Simulated(Protocol):
    """Optional: an environment of which nothing but the simulation within a step cannot be captured.

    ``step(action)`` is ``begin_step(action)``, ``simulate()`` and ``end_step()``. All but ``simulate``, ``reset`` too,
    keeps the rules of what can be captured (see ``Environment``). On CUDA the loop then launches two graphs a step, the
    simulation's own and one with all that lies between it and the next: the end of the step, what is noted of it,
    episodes that begin anew, the next action.
    """

    def begin_step(self, action: Float[Tensor, "env act"]) -> None:
        """Take the actions."""
        ...

    def simulate(self) -> None:
        """Let time pass."""
        ...

    def end_step(self) -> Step:
        """Look at what has become of every environment."""
        ...


class Scaled(Protocol):
    """Optional: an environment whose numbers are large or of different sizes. Networks see them divided by this.

    Attributes:
        observation_scale: A typical size of each coordinate of an observation.
        goal_scale: A typical size of each coordinate of a goal.
    """

    observation_scale: Float[Tensor, "obs"]
    goal_scale: Float[Tensor, "goal"]


class Viewed(Protocol):
    """Optional: an environment whose networks see something else than observation and goal side by side.

    Attributes:
        view: What they see, and how actions look from there.
    """

    view: View


class Monitored(Protocol):
    """Optional: an environment that counts what a user should know of, and notices what must not go on."""

    def monitor(self) -> dict[str, Float[Tensor, "env"]]:
        """Counts of each environment since the last call, by TensorBoard tag.

        Called when the loop logs, after an evaluation, and now and then by the Gymnasium environments.

        Raises:
            ValueError: If the simulation can no longer be trusted.
        """
        ...


@runtime_checkable
class EnvironmentFactory(Protocol):
    """What the entry-point group ``discover_rl.environments`` names: usually the environment class itself.

    Attributes:
        Config: A dataclass with complete defaults; its fields are the keys under ``env.`` in the config, and
            its ``__post_init__`` rejects bad values with one clear sentence. A run may go on with other values of the
            keys in its class attribute ``FREE_KEYS``, if it has one: those that change how it is computed, not what.
    """

    Config: type[Any]

    def __call__(self, config: Any, num_envs: int, device: torch.device, seed: int) -> Environment:  # noqa: ANN401
        """Build ``num_envs`` environments on ``device``, their generator seeded with ``seed``."""
        ...


class DistanceToTarget(Protocol):
    """Optional: an environment that knows the true distance, for the ``oracle`` selector and for reports."""

    def distance_to_target(self, goal: Float[Tensor, "*lead goal"]) -> Float[Tensor, "*lead"]:
        """Least number of steps from the states in which ``goal`` is achieved to the target."""
        ...


class SeededStarts(Protocol):
    """Optional: starts that are a function of given random numbers, so that each environment can have its own seed.

    Without it the environments of a vector share one generator, and the vector's starts are not those of its
    environments run singly.

    Attributes:
        start_numbers: How many numbers the start of one environment takes.
    """

    start_numbers: int

    def reset_from(
        self, numbers: Float[Tensor, "env number"], mask: Bool[Tensor, "env"] | None = None
    ) -> Float[Tensor, "env obs"]:
        """As ``reset``, with independent numbers uniform in [0, 1) in place of draws from ``generator``."""
        ...


class Bounded(Protocol):
    """Optional: an environment that knows between which bounds observations lie."""

    def observation_bounds(self) -> tuple[Float[Tensor, "obs"], Float[Tensor, "obs"]]:
        """Least and largest value of each coordinate, infinite where unbounded."""
        ...


class Drawable(Protocol):
    """Optional: an environment that can draw its goal space from above, for pictures of the curriculum."""

    def draw(self, axes: Any) -> None:  # noqa: ANN401 - a matplotlib Axes, imported by pictures only
        """Draw walls, start and target of the first two goal coordinates on a matplotlib ``Axes``.

        Lines that show the target are labelled ``target``, or ``_target`` to keep them out of the legend: where the
        user names another target they are taken away again.

        An environment that can draw others too takes them as ``coordinates=(i, j)``, (0, 1) by default; reports of
        goal spaces of more than two dimensions ask for them then.
        """
        ...


class Renderable(Protocol):
    """Optional: an environment that can show one of its worlds as a camera sees it.

    Attributes:
        step_seconds: Simulated time of a step, for the frame rate of videos; optional too.
    """

    step_seconds: float

    def render(
        self, index: int, goal: Float[Tensor, "goal"], width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The world of environment ``index`` with the goal of its episode marked.

        Raises:
            RuntimeError: With one sentence, if this machine cannot draw it.
        """
        ...


def check_starts(env: Environment, name: str) -> None:
    """Reset the environment and look at what comes back.

    Raises:
        ValueError: If the observation is not float32 of the announced shape, or a start has solved its target.
    """
    observation = env.reset()
    expected = (env.num_envs, env.observation_dim)
    if tuple(observation.shape) != expected or observation.dtype != torch.float32:
        raise ValueError(
            f"environment {name!r}: reset() must return float32 of shape {expected}, got "
            f"{observation.dtype} of shape {tuple(observation.shape)}"
        )
    solved = env.goal_space.success(env.goal_space.achieved(observation), env.targets())
    if bool(solved.any()):
        raise ValueError(
            f"environment {name!r}: {int(solved.sum())} of {env.num_envs} starts have already solved their "
            "target; move the target or reduce the success radius"
        )


def true_distance(env: object, goals: Float[Tensor, "run cand goal"]) -> Float[Tensor, "run cand"]:
    """The environment's own distance to the target.

    Raises:
        ValueError: If it knows none.
    """
    measure = getattr(env, "distance_to_target", None)
    if measure is None:
        raise ValueError("selector=oracle needs an environment with distance_to_target(goal); choose another one")
    return measure(goals)
