import pytest
import torch

from discover_rl.nets import Captured


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
