"""Whether a goal space keeps the contract: what is wrong, each in one sentence."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 8  # observations looked at
TOLERANCE = 1e-3  # of batched against single results: matrix products of other sizes round in other ways


def check_goal_space(space: Any, observation: Tensor, targets: Tensor | None, name: str) -> None:  # noqa: ANN401 - a stranger's
    """Hold a goal space against the contract, on some observations.

    Args:
        space: The goal space.
        observation: First observations of episodes, (env, obs).
        targets: Their targets, (env, goal); None leaves them out.
        name: Where it comes from, for the message.

    Raises:
        ValueError: With the first thing that is wrong.
    """
    for problem in goal_space_problems(space, observation, targets):
        raise ValueError(f"goal space of {name}: {problem}")


def goal_space_problems(space: Any, observation: Tensor, targets: Tensor | None = None) -> Iterator[str]:  # noqa: ANN401
    """Everything that is wrong with a goal space; what follows from something said already is left out.

    Args:
        space: The goal space.
        observation: First observations of episodes, (env, obs).
        targets: Their targets, (env, goal); None leaves them out.
    """
    for part in ("achieved", "success"):
        if not callable(getattr(space, part, None)):
            yield f"{type(space).__name__} has no method {part}; a goal space needs dim, achieved and success"
            return
    dim = getattr(space, "dim", None)
    if not isinstance(dim, int) or dim < 1:
        yield f"dim must be a positive whole number of coordinates, got {dim!r}"
        return
    observation = observation[:ROWS]
    problems = [
        *_shapes(space.achieved, "achieved(observation)", (observation,), (dim,), torch.float32),
        *([] if targets is None else _targets(targets[:ROWS], observation, dim)),
    ]
    yield from problems
    if problems:
        return
    achieved = space.achieved(observation)
    desired = achieved if targets is None else targets[:ROWS]
    problems = _shapes(space.success, "success(achieved, desired)", (achieved, desired), (), torch.bool)
    yield from problems
    if problems:
        return
    if not bool(space.success(achieved, achieved).all()):
        yield "success(g, g) must be True: a goal is reached where it is achieved itself, or hindsight teaches nothing"
    if callable(getattr(space, "distance", None)):
        yield from _shapes(space.distance, "distance(achieved, desired)", (achieved, desired), (), torch.float32)
    if callable(getattr(space, "describe", None)):
        yield from _description(space, achieved[0])


def _targets(targets: Tensor, observation: Tensor, dim: int) -> list[str]:
    expected = (len(observation), dim)
    if tuple(targets.shape) != expected or targets.dtype != torch.float32:
        return [
            f"targets() must be float32 of shape {expected}, a goal for each environment, got {targets.dtype} of "
            f"shape {tuple(targets.shape)}"
        ]
    return [] if bool(targets.isfinite().all()) else ["targets() holds numbers that are not finite"]


def _shapes(
    function: Callable[..., Tensor], what: str, rows: tuple[Tensor, ...], tail: tuple[int, ...], dtype: torch.dtype
) -> list[str]:
    """What is wrong with a function of rows: shape, type, device, other batches, one row at a time."""
    before = [row.clone() for row in rows]
    try:
        whole = function(*rows)
    except Exception as error:
        given = " and ".join(str(tuple(row.shape)) for row in rows)
        return [f"{what} failed on shape {given}: {type(error).__name__}: {' '.join(str(error).split())}"]
    expected = (len(rows[0]), *tail)
    if not isinstance(whole, Tensor):
        return [f"{what} must return a torch tensor, got {type(whole).__name__}"]
    if tuple(whole.shape) != expected:
        return [f"{what} must have shape {expected} for {len(rows[0])} rows, got {tuple(whole.shape)}"]
    if whole.dtype != dtype:
        return [f"{what} must be {dtype}, got {whole.dtype}"]
    if whole.device != rows[0].device:
        return [f"{what} must stay on {rows[0].device}, got {whole.device}"]
    if dtype.is_floating_point and not bool(whole.isfinite().all()):
        return [f"{what} holds numbers that are not finite"]
    if any(not torch.equal(a, b) for a, b in zip(before, rows, strict=True)):
        return [f"{what} writes into its arguments; it must return a new tensor"]
    return _batching(function, what, rows, whole)


def _batching(function: Callable[..., Tensor], what: str, rows: tuple[Tensor, ...], whole: Tensor) -> list[str]:
    again = [row[None, :, None] for row in rows]  # any leading axes
    alone = [[row[i] for row in rows] for i in range(len(rows[0]))]
    try:
        stacked = function(*again)
        one_by_one = torch.stack([function(*row) for row in alone])
    except Exception as error:
        return [
            f"{what} must work on any leading axes, none and several among them; it failed on shape "
            f"{tuple(again[0].shape)} or {tuple(alone[0][0].shape)}: {' '.join(str(error).split())}"
        ]
    if stacked.shape != whole[None, :, None].shape:
        return [
            f"{what} must work on any leading axes: of shape {tuple(again[0].shape)} it made {tuple(stacked.shape)}, "
            f"expected {tuple(whole[None, :, None].shape)}; count axes from the back (dim=-1)"
        ]
    for name, other in (("one row at a time", one_by_one), ("under more axes", stacked[0, :, 0])):
        if other.shape != whole.shape or not torch.allclose(other.float(), whole.float(), TOLERANCE, TOLERANCE):
            return [f"{what} gives other results {name} than for a batch; each row must be treated by itself"]
    return []


def _description(space: Any, goal: Tensor) -> Iterator[str]:  # noqa: ANN401 - a stranger's
    try:
        words = space.describe(goal)
    except Exception as error:
        yield f"describe(goal) failed: {type(error).__name__}: {' '.join(str(error).split())}"
        return
    if not isinstance(words, str):
        yield f"describe(goal) must return a string, got {type(words).__name__}"
