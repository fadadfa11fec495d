"""Targets of one's own: fixed ones, several at once, a box of them, or whatever a function draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.config import load_object

TargetDraw = Callable[[int, torch.Generator], Float[Tensor, "count goal"]]
"""Targets of so many episodes, on the device of the generator."""


def target_draw(target: Any, dim: int, device: torch.device) -> tuple[TargetDraw, bool]:  # noqa: ANN401 - see Args
    """What draws the targets that a configuration asks for.

    Args:
        target: One target ``[x, y]``; several ``[[x, y], [x, y]]``, each episode draws one of them;
            ``{low: [x, y], high: [x, y]}``, each episode draws one uniformly in between; or ``package.module:function``
            (or the function) that takes a count and a generator and returns targets of shape (count, dim).
        dim: Number of goal coordinates.
        device: Where targets are wanted.

    Returns:
        The draw, and whether targets differ from episode to episode.

    Raises:
        ValueError: If the target does not fit the goal space.
    """
    if isinstance(target, str):
        target = load_object(target)
    if callable(target):
        return _checked(target, dim), True
    if isinstance(target, Mapping):
        if set(target) != {"low", "high"}:
            raise ValueError(f"target: a box has the keys low and high, got {', '.join(map(str, target)) or 'none'}")
        low, high = (_numbers([target[key]], dim, device)[0] for key in ("low", "high"))
        if bool((low > high).any()):
            raise ValueError(f"target: low must not be above high, got {low.tolist()} and {high.tolist()}")
        return lambda count, generator: low + (high - low) * _uniform(count, dim, generator), True
    if isinstance(target, Sequence) and target and not isinstance(target[0], Sequence):
        target = [target]
    table = _numbers(target, dim, device)
    size = len(table)
    if size == 1:
        return lambda count, generator: table.expand(count, dim), False
    return lambda count, generator: table[
        (_uniform(count, 1, generator)[:, 0] * size).long().clamp_max(size - 1)  # float32 rounding may reach size
    ], True


def _uniform(count: int, dim: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, dim, device=generator.device, generator=generator)


def _numbers(rows: Any, dim: int, device: torch.device) -> Float[Tensor, "row goal"]:  # noqa: ANN401 - from YAML
    try:
        table = torch.tensor([[float(x) for x in row] for row in rows])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"target must be numbers [x, y], several such lists, a box {{low: [...], high: [...]}}, or "
            f"package.module:function; got {rows!r}"
        ) from error
    if table.dim() != 2 or table.shape[1] != dim or not all(map(math.isfinite, table.flatten().tolist())):
        raise ValueError(f"target: the goal space has {dim} coordinates; give {dim} finite numbers, got {rows!r}")
    return table.to(device)


def _checked(draw: Callable[..., Any], dim: int) -> TargetDraw:
    def checked(count: int, generator: torch.Generator) -> Tensor:
        drawn = draw(count, generator)
        if not isinstance(drawn, Tensor) or drawn.shape != (count, dim) or drawn.dtype != torch.float32:
            given = f"{drawn.dtype} {tuple(drawn.shape)}" if isinstance(drawn, Tensor) else type(drawn).__name__
            raise ValueError(f"target: the function must return float32 of shape {(count, dim)}, got {given}")
        return drawn

    return checked
