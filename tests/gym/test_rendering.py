from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from discover_rl.gym import GoalEnv, GoalVectorEnv
from discover_rl.gym.rendering import check_size

RIGHT = np.array([1.0], np.float32)
make: Any = gym.make
make_vec: Any = gym.make_vec


def differing(one, other):
    """Rows and columns of the pixels that differ."""
    return np.argwhere((one != other).any(axis=-1))


def test_the_agent_moves_in_the_picture_and_the_maze_does_not():
    env = make("Discover/PointMaze_Cross-v0", render_mode="rgb_array", width=300, height=200)
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (200, 300, 3) and before.dtype == np.uint8
    assert (before == env.render()).all()
    for _ in range(6):
        env.step(np.array([1.0, 0.0], np.float32))
    moved = differing(before, env.render())
    assert 0 < len(moved) < 500  # where it was and where it is
    assert np.ptp(moved[:, 1]) > 2 * np.ptp(moved[:, 0])  # to the right
    env.reset(seed=0, options={"goal": [-4.5, 0.5]})
    assert 0 < len(differing(before, env.render())) < 1000  # the mark of the goal


@pytest.mark.parametrize("dim", [2, 3])
def test_every_environment_of_a_vector_gets_its_frame(dim):
    envs = make_vec(f"Discover/PointMaze_{dim}D-v0", 3, render_mode="rgb_array", width=120, height=120)
    goals = np.zeros((3, dim), np.float32)
    goals[:, 0] = [-2, 0, 2]
    envs.reset(seed=0, options={"goal": goals})
    frames = envs.render()
    assert isinstance(frames, tuple) and [frame.shape for frame in frames] == [(120, 120, 3)] * 3
    columns = [differing(frames[1], frame)[:, 1].mean() for frame in (frames[0], frames[2])]
    assert columns[0] < columns[1]


def test_without_a_drawing_the_picture_grows_with_what_is_to_be_seen(line):
    env = GoalEnv(line, render_mode="rgb_array", width=200, height=200)
    env.reset(seed=0)
    near = env.render()
    for _ in range(30):
        env.step(RIGHT)
    far = env.render()
    orange = [np.argwhere((frame == (255, 127, 14)).all(-1)) for frame in (near, far)]
    assert all(len(points) for points in orange)
    assert orange[1][:, 1].mean() > orange[0][:, 1].mean() + 20


def test_the_environments_own_renderer_comes_first_unless_told_otherwise(line, monkeypatch):
    def render(self, index, goal, width, height):
        return np.full((height, width, 3), 10 * index + int(goal), np.uint8)

    monkeypatch.setattr(line, "render", render, raising=False)
    for view, own in (("auto", True), ("model", True), ("top_down", False)):
        envs: Any = GoalVectorEnv(line, num_envs=2, render_mode="rgb_array", view=view, width=32, height=16)
        envs.reset(seed=0)
        frames = envs.render()
        assert [bool((frame == 10 * i + 2).all()) for i, frame in enumerate(frames)] == [own, own]
        assert frames[0].shape == (16, 32, 3)


def test_a_machine_that_cannot_draw_is_told_what_to_do(line, monkeypatch):
    def render(self, index, goal, width, height):
        raise RuntimeError("this machine has no OpenGL; install it")

    monkeypatch.setattr(line, "render", render, raising=False)
    env = GoalEnv(line, render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="no OpenGL; install it; or make the environment with view='top_down'"):
        env.render()


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (300.5, 200, "whole numbers of pixels, got 300.5 and 200"),
        (300, "200", "whole numbers of pixels, got 300 and '200'"),
        (True, 200, "whole numbers of pixels, got True and 200"),
        (0, 480, "at least 1 pixel, got 0 and 480"),
        (480, -3, "at least 1 pixel, got 480 and -3"),
    ],
)
def test_a_size_that_no_frame_can_have_is_refused(width, height, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_size(width, height)
    check_size(np.int64(100), 1)


def test_a_size_is_refused_when_the_environment_is_made(line):
    for make_it in (GoalEnv, GoalVectorEnv):
        with pytest.raises(ValueError, match="at least 1 pixel, got 0 and 480"):
            make_it(line, render_mode="rgb_array", width=0)


def test_without_a_mode_there_is_no_frame(line):
    env, envs = GoalEnv(line), GoalVectorEnv(line)
    assert env.reset() and envs.reset() and env.render() is None and envs.render() is None
