"""Time of a call on any device, the ceilings of the device, and what happens where memory runs out."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from discover_rl.bench.floors import Work
from discover_rl.bench.table import Figure

REPEATS = 5
WARMUPS = {"cuda": 5, "cpu": 1}  # on CUDA three plain calls, the capture, and one replay
SLACK = 3.0  # how far a call is expected to stay above its floor, to tell what would take too long
MATMUL_WIDTH = {"cuda": 8192, "cpu": 2048}
COPY_BYTES = 2**28  # beyond the caches


@dataclass(frozen=True)
class Clock:
    """How long to measure, and where.

    Attributes:
        device: Whose work is waited for.
        seconds: Seconds that the repeats of one figure take together, about.
        patience: Seconds that a single call may be expected to take; what takes longer is left out.
    """

    device: torch.device
    seconds: float
    patience: float = 90.0

    def seconds_per_call(self, function: Callable[[], object], warmups: int | None = None) -> float:
        """Median seconds of a call.

        Args:
            function: What to time.
            warmups: Calls before the clock starts; enough for a CUDA graph to be captured if None.
        """
        return statistics.median(self.samples(function, warmups))

    def samples(self, function: Callable[[], object], warmups: int | None = None) -> list[float]:
        """Seconds of a call, several times; once where a single call takes far longer than there is time for."""
        for _ in range(WARMUPS[self.device.type] if warmups is None else warmups):
            function()
        first = self._timed(function, 1)
        calls = max(1, round(self.seconds / REPEATS / first))
        least = 3 if first < self.seconds else 1
        times, spent = ([first], first) if calls == 1 else ([], 0.0)
        while len(times) < least or (len(times) < REPEATS and spent < self.seconds):
            times.append(self._timed(function, calls) / calls)
            spent += times[-1] * calls
        return times

    def _timed(self, function: Callable[[], object], calls: int) -> float:
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize(self.device)
        return time.perf_counter() - start

    def figure(
        self,
        make: Callable[[], Callable[[], object]],
        count: int,
        floor_seconds: int | float = 0,
        warmups: int | None = None,
    ) -> Figure:
        """Measure, unless it would take too long or memory runs out: then the figure says so.

        Args:
            make: Builds what is needed and returns the function to time.
            count: What one call does, in the unit of the figure.
            floor_seconds: Floor of a call in seconds, to tell what would take too long.
            warmups: As in ``seconds_per_call``.

        Returns:
            ``count`` per second.
        """
        expected = SLACK * floor_seconds
        if expected > self.patience:
            return Figure(None, f"left out: one call would take some {expected:.0f} s or more")
        try:
            return Figure(count / self.seconds_per_call(make(), warmups))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return Figure(None, "out of memory")
        finally:
            release(self.device)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give back the memory of what was measured, CUDA graphs among it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, here or in what was being handled (a failed capture raises errors of its own)."""
    while error is not None:
        said = str(error).lower()
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in said:
            return True
        if "can't allocate memory" in said or "out of memory" in said:
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True)
class Ceilings:
    """What the device reaches at best.

    Attributes:
        flops: Floating-point operations per second of a large float32 matrix product.
        bytes: Bytes per second of a large copy within the device, read and written ones counted.
    """

    flops: float
    bytes: float

    def seconds(self, work: Work) -> float:
        """The floor: seconds that the arithmetic or the bytes need at least, whichever need longer."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


def measure_ceilings(clock: Clock, quick: bool) -> Ceilings:
    """Measure with the matrix precision that is set now; the best of several times, for it is a ceiling.

    Args:
        clock: Where, and how long.
        quick: Smaller sizes; the ceilings are then rough.
    """
    width = MATMUL_WIDTH[clock.device.type] // (4 if quick else 1)
    a, b, c = (torch.rand(width, width, device=clock.device) for _ in range(3))
    matmul = min(clock.samples(lambda: torch.mm(a, b, out=c)))
    source = torch.ones(COPY_BYTES // (8 if quick else 1), dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    copy = min(clock.samples(lambda: target.copy_(source)))
    return Ceilings(2 * width**3 / matmul, 2 * source.numel() / copy)
