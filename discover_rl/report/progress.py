"""One live line of progress in a terminal; a plain line now and then in a log."""

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

LIVE_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt} {remaining} left{postfix}"
LIVE_LABEL_WIDTH = 9  # what 80 columns leave beside all the fields


class ProgressLine:
    """Percentage, steps per second, time left, and how the curriculum stands.

    In a terminal it is one live line; elsewhere (a log file, a cluster) a plain line every ``plain_interval``
    seconds and one at the end.

    Args:
        total: Environment steps of the whole run.
        initial: Steps done before (a resumed run); they do not count for the speed.
        label: What is running; the live line shows its first 9 characters, so that 80 columns hold it all.
        plain_interval: Least seconds between two plain lines.
        clock: Seconds, from any origin; for plain lines.

    Raises:
        ValueError: If ``total`` is not positive.
    """

    def __init__(
        self,
        total: int,
        initial: int,
        label: str,
        plain_interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total < 1:
            raise ValueError(f"progress: total must be at least one step, got {total}")
        self.total = total
        self.initial = initial
        self.label = label
        self.plain_interval = plain_interval
        self._clock = clock
        self._step = self._shown = initial
        self._fields: dict[str, float] = {"success": math.nan, "goals": math.nan}
        self._start = self._last = clock()
        self._bar: tqdm | None = self._live_bar() if _has_live_terminal() else None

    def update(
        self,
        step: int,
        success: float | None = None,
        goals: float | None = None,
        alpha: float | None = None,
        beta: float | None = None,
    ) -> None:
        """Say where the run stands; cheap enough for every round.

        Args:
            step: Environment steps so far, ``initial`` included.
            success: Success rate on the target; None leaves what was shown.
            goals: Share of the chosen goals that were achieved; None leaves what was shown.
            alpha: Weight of achievability against relevance; None leaves what was shown.
            beta: Factor on novelty, shown instead of alpha where it is what adapts: alpha is 0, beta not 1.
        """
        step = min(step, self.total)
        shown, hidden = ("beta", "alpha") if alpha == 0 and beta not in (None, 1) else ("alpha", "beta")
        weight = beta if shown == "beta" else alpha
        for name, value in (("success", success), ("goals", goals), (shown, weight)):
            if value is not None and not math.isnan(value):
                self._fields[name] = float(value)
                if name == shown:
                    self._fields.pop(hidden, None)
        moved, self._step = step - self._step, step
        if self._bar is not None:
            self._bar.postfix = self._postfix()
            self._bar.update(moved)
        elif self._shown < step and (step == self.total or self._clock() - self._last >= self.plain_interval):
            self._print_plain()

    def close(self) -> None:
        """End the line; the last state is shown."""
        if self._bar is not None:
            self._bar.close()
        elif self._shown < self._step:
            self._print_plain()

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401 - type, value and traceback; none is used
        self.close()

    def _live_bar(self) -> tqdm:
        return tqdm(
            total=self.total,
            initial=self.initial,
            desc=self.label[:LIVE_LABEL_WIDTH],
            unit="step",
            unit_scale=True,
            dynamic_ncols=True,
            miniters=0,  # redraw by time alone: rounds differ in length
            bar_format=LIVE_FORMAT,
            file=sys.stderr,
        )

    def _postfix(self) -> str:
        return " ".join(f"{name} {value:.2f}" for name, value in self._fields.items() if not math.isnan(value))

    def _print_plain(self) -> None:
        now = self._clock()
        speed = (self._step - self.initial) / max(now - self._start, 1e-9)
        left = tqdm.format_interval((self.total - self._step) / speed) if speed > 0 else "?"
        done = f"{tqdm.format_sizeof(self._step)}/{tqdm.format_sizeof(self.total)}"
        parts = [
            f"{self.label} {math.floor(100 * self._step / self.total):3d}%",
            done,
            f"{tqdm.format_sizeof(speed)}step/s",
            f"{left} left",
            self._postfix(),
        ]
        print(" ".join(part for part in parts if part), file=sys.stderr, flush=True)
        self._shown, self._last = self._step, now


def _has_live_terminal() -> bool:
    # Containers hand out terminals of zero columns, on which a live line would show nothing.
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
