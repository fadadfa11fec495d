"""Bit flipping and the grid world: their rules, and the contract."""

import math

import pytest
import torch

from discover_envs.bit_flip import BitFlip, BitFlipConfig
from discover_envs.grid_world import GridWorld, GridWorldConfig
from discover_rl.goals.check_environment import environment_problems

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "config"), [(BitFlip, BitFlipConfig()), (GridWorld, GridWorldConfig())])
def test_both_keep_the_contract(kind, config):
    assert list(environment_problems(lambda num_envs, seed: kind(config, num_envs, CPU, seed))) == []


def test_a_bit_is_flipped_and_no_episode_begins_at_its_end():
    env = BitFlip(BitFlipConfig(num_bits=3), 2000, CPU, 0)
    start, target = env.reset(), env.targets()
    assert env.max_episode_steps == 3
    assert not env.goal_space.success(start, target).any()
    assert start.mean() == pytest.approx(0.5, abs=0.05)
    assert (start - target).abs().sum(-1).unique().tolist() == [1, 2, 3]
    bits = env.step(torch.tensor([[-0.5, 0.2, 0.1]]).expand(2000, 3)).observation
    assert (bits != start).float().mean(0).tolist() == [0, 1, 0]
    assert env.step(torch.tensor([[-0.5, 0.2, 0.1]]).expand(2000, 3)).observation.equal(start)
    bits, left = start, (start - target).abs()
    for _ in range(3):  # flip what differs, one bit a step
        assert not env.goal_space.success(bits, target)[left.any(-1)].any()
        kept = ~left.any(-1)
        bits = torch.where(kept[:, None], target, env.step(left).observation)
        left = torch.where(kept[:, None], 0.0, (bits - target).abs())
    assert env.goal_space.success(bits, target).all()


def test_a_grid_world_is_walked_cell_by_cell_and_walls_hold(tmp_path):
    (tmp_path / "maze.txt").write_text("#####\n#..G#\n#.S.#\n#...#\n#####\n")
    env = GridWorld(GridWorldConfig(layout=str(tmp_path / "maze.txt")), 200, CPU, 0)
    starts = env.reset()
    assert sorted(starts.unique(dim=0).tolist()) == [[-1, 0], [0, -1], [0, 0], [0, 1], [1, 0]]
    env.cell.zero_()
    directions = torch.eye(4)[[0, 2, 2, 1, 1, 1]]  # right, up, up into the wall, left, left, left into the wall
    seen = [env.step(direction.expand(200, 4)).observation[0].tolist() for direction in directions]
    assert seen == [[1, 0], [1, 1], [1, 1], [0, 1], [-1, 1], [-1, 1]]
    assert env.targets()[0].tolist() == [1, 1]
    assert env.distance_to_target(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [2.0, 0.0]])).tolist() == [4, 0, math.inf]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BitFlipConfig(num_bits=1), "num_bits must be at least 2, got 1"),
        (lambda: BitFlipConfig(max_episode_steps=-1), "max_episode_steps must not be negative"),
        (lambda: GridWorldConfig(max_episode_steps=0), "max_episode_steps must be at least 1"),
        (lambda: GridWorldConfig(layout="spirall"), "did you mean 'spiral'"),
        (
            lambda: BitFlip(BitFlipConfig(), 2, CPU, 0).step(torch.zeros(2, 3)),
            "action has shape (2, 3), expected (2, 10)",
        ),
        (
            lambda: GridWorld(GridWorldConfig(), 2, CPU, 0).step(torch.zeros(2, 3)),
            "action has shape (2, 3), expected (2, 4)",
        ),
    ],
)
def test_what_is_wrong_is_said(make, sentence):
    with pytest.raises(ValueError) as info:
        make()
    assert sentence in str(info.value)
