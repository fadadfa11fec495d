"""Stable-Baselines3 trains on the ids as they are."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from stable_baselines3 import SAC, TD3, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

import discover_envs  # noqa: F401 - registers

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("algorithm", [TD3, SAC])
def test_hindsight_on_an_id(algorithm):
    """Episodes end by time limit only, rewards of relabelled transitions are ours, and the policy learns."""
    envs = make_vec_env("Discover/PointMaze_U-v0", n_envs=4, seed=0, env_kwargs={"max_episode_steps": 20})
    model = algorithm(
        "MultiInputPolicy",
        envs,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=100,
        gradient_steps=1,
        batch_size=32,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        device="cpu",
    )
    before = [parameter.detach().clone() for parameter in model.actor.parameters()]
    model.learn(240, log_interval=1)
    changed = [bool((old != new).any()) for old, new in zip(before, model.actor.parameters(), strict=True)]
    assert all(changed) and all(parameter.isfinite().all() for parameter in model.actor.parameters())
    assert len(model.ep_info_buffer) == 12 and {info["l"] for info in model.ep_info_buffer} == {20}
    assert list(model.ep_success_buffer) == [False] * 12  # is_success is read
    buffer = model.replay_buffer
    assert buffer.dones[:60].sum() == buffer.timeouts[:60].sum() == 12
    batch = buffer.sample(500)
    assert not batch.dones.any()  # bootstrapped at the time limit
    distance = batch.next_observations["achieved_goal"] - batch.next_observations["desired_goal"]
    success = torch.linalg.vector_norm(distance, dim=1) <= 0.5
    assert torch.equal(batch.rewards[:, 0], success.float()) and 50 < success.sum() < 450


def test_the_notebook_solves_the_open_maze(monkeypatch):
    monkeypatch.setenv("SB3_STEPS", "4000")
    notebook = nbformat.read(NOTEBOOKS / "stable_baselines3.ipynb", as_version=4)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    made = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in made if output.get("name") == "stderr"]
    text = "".join(output.get("text", "") for output in made)
    reached = re.search(r"target reached in (\d+)% of 20 episodes", text)
    assert reached and int(reached[1]) >= 90, text
    assert sum("image/png" in output.get("data", {}) for output in made) == 1
