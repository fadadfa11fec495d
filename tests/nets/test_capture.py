import pytest
import torch

from discover_rl.nets import Captured, run_beside


@pytest.mark.parametrize("enabled", [True, False])
def test_on_the_cpu_a_captured_function_is_just_called(enabled, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    total = torch.zeros(())
    generator = torch.Generator().manual_seed(0)

    def count() -> None:
        total.add_(1)

    captured = Captured(count, [generator], enabled)
    for _ in range(5):  # more calls than warm-ups
        captured()
    assert total == 5
    assert captured.graph is None
    assert captured.calls == 0


def test_what_the_function_raises_arrives():
    def fail():
        raise RuntimeError("from within")

    with pytest.raises(RuntimeError, match="from within"):
        Captured(fail, enabled=False)()


def test_without_a_stream_one_comes_after_the_other():
    done = []
    run_beside(lambda: done.append("first"), lambda: done.append("second"), None)
    assert done == ["first", "second"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_graphs_compute_beside_each_other_what_they_compute_alone():
    made = torch.ones(2048, 2048, device="cuda")
    products = [torch.zeros_like(made) for _ in range(2)]
    generators = [torch.Generator("cuda").manual_seed(seed) for seed in range(2)]

    def multiply(which):
        noise = torch.rand(made.shape, device="cuda", generator=generators[which])
        products[which].copy_(made @ (made + noise))

    graphs = [Captured(lambda which=which: multiply(which), [generators[which]], warmups=1) for which in range(2)]
    stream = torch.cuda.Stream(priority=-1)
    for _ in range(2):
        for graph in graphs:
            graph()
    assert all(graph.graph is not None for graph in graphs)
    for _ in range(20):
        before = [generator.get_state() for generator in generators]
        made.mul_(1.01)
        run_beside(graphs[0], graphs[1], stream)
        seen = [product.clone() for product in products]
        for which in range(2):
            generators[which].set_state(before[which])
            multiply(which)
            torch.testing.assert_close(seen[which], products[which], rtol=3e-4, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_are_captured_on_streams_of_their_own():
    graphs = [Captured(lambda: None, priority=priority) for priority in (0, 0, -1)]
    streams = [graph._stream for graph in graphs]
    assert None not in streams
    assert len({stream.cuda_stream for stream in streams if stream is not None}) == 3
    assert [stream.priority for stream in streams if stream is not None] == [0, 0, -1]
