"""CUDA graphs: a function of tensors that is launched once instead of kernel by kernel."""

import gc
from collections.abc import Callable, Sequence

import torch


class Captured:
    """Calls ``function`` plainly on the CPU; on CUDA, captures it once and replays it.

    The function takes nothing, returns nothing, works in place on tensors that keep their addresses, and
    draws random numbers only from ``generators``. What it does on the host (Python branches, counters) happens
    at capture only.

    Args:
        function: What to run.
        generators: Every generator that the function draws from.
        enabled: Whether to capture; ignored unless CUDA is there.
        warmups: Plain calls before the capture (they count as calls: training goes on during them).
    """

    def __init__(
        self,
        function: Callable[[], None],
        generators: Sequence[torch.Generator] = (),
        enabled: bool = True,
        warmups: int = 3,
    ) -> None:
        self.function = function
        self.generators = [g for g in generators if g.device.type == "cuda"]
        self.enabled = enabled and torch.cuda.is_available()
        self.warmups = warmups
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0

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
        # on a side stream, as torch wants it: libraries set up their workspaces for the stream of the capture
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.function()
        torch.cuda.current_stream().wait_stream(side)

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a graph finalised during a capture would spoil it
        try:
            with torch.cuda.graph(graph):
                self.function()
        finally:
            if collecting:
                gc.enable()
        self.graph = graph
