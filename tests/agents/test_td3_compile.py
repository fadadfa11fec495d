import subprocess
import sys

import pytest

# in a process of its own: torch.compile cannot look through the type checks that tests wrap around every function
SCRIPT = """
import torch
from discover_rl.agents import TD3, TD3Config
from discover_rl.agents.td3 import Generators
from discover_rl.goals import PlainView
from discover_rl.replay import Batch

def trained(compiled):
    config = TD3Config(hidden_sizes=[8], num_critics=3, actor_critics=2)
    agent = TD3(config, 2, 2, False, Generators(*(torch.Generator().manual_seed(i) for i in range(3))), PlainView(2, 1))
    if compiled:
        agent.compile()
    generator = torch.Generator().manual_seed(9)
    draw = lambda *width: torch.randn(2, 4, 8, *width, generator=generator)
    for _ in range(2):
        reward = draw().gt(1).float()
        agent.update(Batch(draw(2), draw(2), draw(2), draw(1), reward, reward, torch.ones(2, 4, 8), draw().abs()))
    return agent.parameters() | agent.state() | agent.metrics()

one, other = trained(False), trained(True)
for name, tensor in one.items():
    torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-5, msg=name)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
"""


@pytest.mark.slow
def test_compiled_updates_compute_the_same():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
