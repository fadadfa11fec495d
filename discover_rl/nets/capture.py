"""CUDA graphs, a function of tensors that is launched once instead of kernel by kernel, and two such side by side."""

import gc
from collections.abc import Callable, Sequence

import torch


class Captured:
    """Calls ``function`` plainly on the CPU; on CUDA, captures it once and replays it.

    The function takes nothing, returns nothing, works in place on tensors that keep their addresses, and
    draws random numbers only from ``generators``. What it does on the host (Python branches, counters) happens
    at capture only.

    Graphs that share no tensor and no generator may be replayed at the same time: each is captured on a stream of its
    own, and so has its own memory and workspaces (torch has 32 streams of a priority and hands them out in turn).

    Args:
        function: What to run.
        generators: The generators that the function draws from. A replay sets the state of each on the device, drawn
            from or not, so one that is drawn from elsewhere at the same time must not be among them.
        enabled: Whether to capture; ignored unless CUDA is there.
        warmups: Plain calls before the capture (they count as calls: training goes on during them).
        priority: Of the kernels in the graph, as torch counts: lower numbers go first, 0 is the last.
    """

    def __init__(
        self,
        function: Callable[[], None],
        generators: Sequence[torch.Generator] = (),
        enabled: bool = True,
        warmups: int = 3,
        priority: int = 0,
    ) -> None:
        self.function = function
        self.generators = [g for g in generators if g.device.type == "cuda"]
        self.enabled = enabled and torch.cuda.is_available()
        self.warmups = warmups
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0
        # torch's own stream for captures is one for all graphs, and with it cuBLAS's workspace
        self._stream = torch.cuda.Stream(priority=priority) if self.enabled else None

    def __call__(self) -> None:
        """Run the function once, whichever way."""
        if not self.enabled:
            self.function()
        elif self.graph is not None:
            self.graph.replay()
        elif self.calls < self.warmups:
            self.calls += 1
            self._warm_up()
        else:
            self._capture()
            self.__call__()

    def _warm_up(self) -> None:
        # on the stream of the capture, for which libraries set up their workspaces
        assert self._stream is not None
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self.function()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a graph finalised during a capture would spoil it
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self.function()
        finally:
            if collecting:
                gc.enable()
        self.graph = graph


def run_beside(first: Callable[[], None], second: Callable[[], None], stream: torch.cuda.Stream | None) -> None:
    """Run ``first`` on the current stream and ``second`` beside it on another; without one, after it.

    Both come after what was done before, and what is done afterwards comes after both. Neither may read or write what
    the other writes, nor draw from a generator of the other. Whatever memory one of them frees is used again on the
    stream that it was made on, so by itself or after both.

    Args:
        first: Should only put work into the queue of the device, e.g. replay a graph: ``second`` waits for its host
            side.
        second: What runs beside it.
        stream: Where ``second`` runs.
    """
    if stream is None:
        first()
        second()
        return
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    first()
    with torch.cuda.stream(stream):
        second()
    current.wait_stream(stream)
