"""Whether an environment keeps the contract: what is wrong, each in one sentence."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

# an environment is annotated as Any here: whether it keeps the contract is the question
NUM_ENVS, STEPS, TAIL = 6, 20, "see discover_rl.goals.Environment"
ATTRIBUTES: dict[str, tuple[type, ...]] = {
    "observation_dim": (int,),
    "action_dim": (int,),
    "max_episode_steps": (int,),
    "ends_early": (bool,),
    "terminate_on_success": (bool,),
    "generator": (torch.Generator,),
}

Make = Callable[[int, int], Any]
"""Builds so many environments with a seed."""


class BrokenError(Exception):
    """Something that leaves nothing more to look at."""


def environment_problems(make: Make) -> Iterator[str]:
    """Everything that is wrong with an environment, but for its goal space; see ``goal_space_problems`` for that.

    Args:
        make: Builds environments; called a few times.
    """
    try:
        env = make(NUM_ENVS, 0)
        yield from _attributes(env)
        yield from _starts(env)
        yield from _steps(env)
        yield from _masked_reset(env)
        yield from _repeats(make)
    except BrokenError as error:
        yield str(error)


def _call(what: str, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - whatever it returns
    try:
        return function(*arguments)
    except Exception as error:
        raise BrokenError(f"{what} failed: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _attributes(env: Any) -> Iterator[str]:  # noqa: ANN401
    for name, kinds in ATTRIBUTES.items():
        if not hasattr(env, name):
            raise BrokenError(f"the attribute {name} is missing; {TAIL}")
        value = getattr(env, name)
        if not isinstance(value, kinds):
            raise BrokenError(f"{name} must be of type {kinds[0].__name__}, got {value!r}")
        if kinds == (int,) and value < 1:
            raise BrokenError(f"{name} must be at least 1, got {value}")
    if getattr(env, "num_envs", None) != NUM_ENVS:
        yield f"num_envs must be the number that was asked for, {NUM_ENVS}, got {getattr(env, 'num_envs', None)!r}"
    for name in ("device", "goal_space"):
        if not hasattr(env, name):
            yield f"the attribute {name} is missing; {TAIL}"
    for method in ("reset", "step", "targets"):
        if not callable(getattr(env, method, None)):
            raise BrokenError(f"the method {method} is missing; {TAIL}")


def _starts(env: Any) -> Iterator[str]:  # noqa: ANN401
    first = _call("reset()", env.reset)
    _expect("reset()", first, (NUM_ENVS, env.observation_dim), torch.float32)
    before = first.clone()
    targets = _call("targets()", env.targets)
    if not isinstance(targets, Tensor) or targets.dtype != torch.float32 or targets.shape[0] != NUM_ENVS:
        raise BrokenError(f"targets() must be float32 of shape ({NUM_ENVS}, goal), got {_kind(targets)}")
    second = _call("reset()", env.reset)
    alike = (second.equal(before) and bool((first == first[:1]).all()), bool((targets == targets[:1]).all()))
    if all(alike):
        yield "every episode has the same start and the same target; draw starts from generator, or luck decides"
    if not first.equal(before):
        yield "reset() writes into the tensor that an earlier reset returned; return a new one, e.g. state.clone()"


def _steps(env: Any) -> Iterator[str]:  # noqa: ANN401
    wrong = _refuses(env)
    observation = env.reset()
    start, moved, ended = observation.clone(), False, False
    for _ in range(min(STEPS, env.max_episode_steps)):
        action = torch.rand(NUM_ENVS, env.action_dim, device=env.device) * 2 - 1
        kept = observation.clone(), action.clone()
        step = _call("step(action)", env.step, action)
        for name in ("observation", "terminated", "truncated"):
            if not hasattr(step, name):
                raise BrokenError(f"step(action) must return a discover_rl.goals.Step, got {type(step).__name__}")
        _expect("step(action).observation", step.observation, (NUM_ENVS, env.observation_dim), torch.float32)
        for name in ("terminated", "truncated"):
            _expect(f"step(action).{name}", getattr(step, name), (NUM_ENVS,), torch.bool)
        if not observation.equal(kept[0]):
            raise BrokenError("step() writes into the observation that it returned before; return a new tensor")
        if not action.equal(kept[1]):
            raise BrokenError("step() writes into its action")
        moved = moved or not step.observation.equal(kept[0])
        over = step.terminated | step.truncated
        ended = ended or bool(over.any())
        observation = step.observation if not over.any() else _call("reset(mask)", env.reset, over)
    yield from wrong
    if not moved:
        yield f"actions change nothing: after {STEPS} random steps every observation is the start {_some(start)}"
    if ended and not env.ends_early:
        yield "an episode was terminated or truncated although ends_early is False; set it to True"


def _refuses(env: Any) -> list[str]:  # noqa: ANN401
    try:
        env.step(torch.zeros(NUM_ENVS, env.action_dim + 1, device=env.device))
    except Exception as error:
        good = isinstance(error, ValueError | RuntimeError | AssertionError | IndexError | TypeError)
        return [] if good else [f"step() with too wide an action raised {type(error).__name__}; raise ValueError"]
    finally:
        env.reset()
    return [
        f"step() takes an action of width {env.action_dim + 1} though action_dim is {env.action_dim}; raise ValueError"
    ]


def _masked_reset(env: Any) -> Iterator[str]:  # noqa: ANN401
    env.reset()
    observation = env.step(torch.ones(NUM_ENVS, env.action_dim, device=env.device)).observation.clone()
    targets = env.targets().clone()
    mask = torch.arange(NUM_ENVS, device=env.device) % 2 == 0
    after = _call("reset(mask)", env.reset, mask)
    _expect("reset(mask)", after, (NUM_ENVS, env.observation_dim), torch.float32)
    if not after[~mask].equal(observation[~mask]) or not env.targets()[~mask].equal(targets[~mask]):
        yield "reset(mask) changes environments outside the mask; it must leave their states and targets alone"
    if after[mask].equal(observation[mask]):
        yield "reset(mask) does not reset the environments in the mask"


def _repeats(make: Make) -> Iterator[str]:
    """The same seed gives the same, and a full reset forgets all but the generator: what resuming needs."""
    one, other = make(NUM_ENVS, 3), make(NUM_ENVS, 3)
    if not _episode(one).equal(_episode(other)):
        yield "the same seed gives other episodes; draw random numbers from generator only, and seed it with seed"
        return
    state = one.generator.get_state()
    first = _episode(one)
    one.generator.set_state(state)
    if not _episode(one).equal(first):
        yield "reset() remembers something besides generator, so a resumed run would not go on as it would have"


def _episode(env: Any) -> Tensor:  # noqa: ANN401
    rows, random = [env.reset(), env.targets()], torch.Generator().manual_seed(0)
    for _ in range(min(STEPS, env.max_episode_steps)):
        action = torch.rand(NUM_ENVS, env.action_dim, generator=random).to(env.device) * 2 - 1
        step = env.step(action)
        rows.append(step.observation)
        over = step.terminated | step.truncated
        if over.any():
            env.reset(over)
    return torch.cat([row.flatten() for row in rows])


def _expect(what: str, given: object, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(given, Tensor) or tuple(given.shape) != shape or given.dtype != dtype:
        raise BrokenError(f"{what} must be {dtype} of shape {shape}, got {_kind(given)}")
    if dtype.is_floating_point and not bool(given.isfinite().all()):
        raise BrokenError(f"{what} holds numbers that are not finite")


def _kind(given: object) -> str:
    return f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__


def _some(rows: Tensor) -> str:
    return str([round(x, 3) for x in rows[0, :4].tolist()])
