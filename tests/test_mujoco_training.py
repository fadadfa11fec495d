"""The loop with a simulated environment: what it logs, what it films, what the networks see."""

import dataclasses
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from discover_envs.mujoco_maze.ant import AntMazeConfig
from discover_envs.mujoco_maze.arm import ArmPushConfig
from discover_envs.mujoco_maze.point import PointMazeMujoco, PointMazeMujocoConfig
from discover_rl.agents import TD3, TD3Config, ZeroAgent
from discover_rl.agents.td3 import Generators
from discover_rl.cli import main
from discover_rl.evaluate import evaluate
from discover_rl.goals import PlainView
from discover_rl.record import record
from discover_rl.replay import Batch
from discover_rl.report import read_metrics
from discover_rl.report.episode import path_figure
from discover_rl.train import Trainer, train

CPU = torch.device("cpu")


def point():
    return PointMazeMujocoConfig(num_threads=1, max_episode_steps=8)


def test_training_counts_cut_worlds_and_goes_on(tiny, tmp_path, monkeypatch):
    from discover_envs.mujoco_maze.maze import MujocoMaze

    step, calls = MujocoMaze.step, []

    def sometimes_nan(self, action):
        calls.append(1)
        if len(calls) == 3 and self.num_envs == 12:
            self._stepper._state[7, 1] = torch.nan
        return step(self, action)

    monkeypatch.setattr(MujocoMaze, "step", sometimes_nan)
    trainer = train(tiny(env=AntMazeConfig(num_threads=1, max_episode_steps=8)), tmp_path)
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert metrics["rollout/diverged_worlds"].tolist() == [0, 1, *[0] * 6]  # two runs of six worlds
    assert metrics["rollout/escaped_worlds"].sum() == 0
    assert trainer.buffer.filled().isfinite().all()


def test_resume_is_exact(tiny, held, differing, tmp_path):
    config = tiny(8, env=point())
    through = train(config, tmp_path / "through")
    train(tiny(4, env=point()), tmp_path / "halves")
    second = train(config, tmp_path / "halves", resume=True)
    assert differing(held(through), held(second)) == []


def agent(scales):
    generators = Generators(*(torch.Generator().manual_seed(seed) for seed in range(3)))
    config = TD3Config(hidden_sizes=[16, 16], num_critics=3, actor_critics=2)
    return TD3(config, 2, 2, False, generators, PlainView(5, 2, scales))


def test_networks_see_observations_and_goals_divided_by_their_scales():
    scales = torch.tensor([4.0, 4.0, 1.0, 2.0, 8.0]), torch.tensor([4.0, 4.0])
    scaled, plain = agent(scales), agent(None)
    generator = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(2, 4, 8, *shape, generator=generator)

    observation, goal = normal(5), normal(2)
    batch = Batch(
        observation, normal(2).clamp(-1, 1), normal(5), goal, normal().gt(1).float(), normal().gt(1).float(),
        torch.ones(2, 4, 8), torch.full((2, 4, 8), torch.inf),
    )  # fmt: skip
    divided = batch._replace(
        observation=batch.observation / scales[0],
        next_observation=batch.next_observation / scales[0],
        goal=batch.goal / scales[1],
    )
    for _ in range(3):
        scaled.update(batch)
        plain.update(divided)
    for name, ours in scaled.parameters().items():
        assert torch.equal(ours, plain.parameters()[name])
    one, other = observation[:, 0], goal[:, 0]
    assert torch.equal(scaled.act(one, other), plain.act(one / scales[0], other / scales[1]))
    for ours, theirs in zip(scaled.values(one, other), plain.values(one / scales[0], other / scales[1]), strict=True):
        assert torch.equal(ours, theirs)


def test_a_trainer_takes_the_scales_of_its_environment(tiny):
    trainer = Trainer(tiny(env=AntMazeConfig(num_threads=1, max_episode_steps=8, xy_scale=4.0)))
    assert isinstance(trainer.agent, TD3) and isinstance(trainer.agent.view, PlainView)
    scales = trainer.agent.view.scales
    assert scales is not None and scales[0].tolist()[:3] == [4.0, 4.0, 1.0] and scales[1].tolist() == [4.0, 4.0]


# -- pictures --------------------------------------------------------------------------------------------------


@pytest.fixture
def run_dir(tiny, tmp_path):
    train(tiny(2, env=point()), tmp_path)
    return tmp_path


def test_eval_draws_and_films(run_dir, capsys):
    pytest.importorskip("imageio_ffmpeg")
    main(["eval", str(run_dir), "eval_episodes=2", "--video"])
    printed = capsys.readouterr()
    assert (run_dir / "paths.png").stat().st_size > 10_000
    video = run_dir / "episode.mp4"
    if "no video, since this machine draws neither" in printed.err:
        pytest.skip("no EGL or OSMesa here")
    from imageio_ffmpeg import count_frames_and_secs, read_frames

    frames, seconds = count_frames_and_secs(str(video))
    assert frames == 9 and seconds == pytest.approx(9 * 0.05, abs=0.01)
    reader = read_frames(str(video))
    assert next(reader)["size"] == (800, 800)
    pixels = torch.frombuffer(bytearray(next(reader)), dtype=torch.uint8).reshape(800, 800, 3).float()
    red = (pixels[..., 0] > 1.5 * pixels[..., 1]) & (pixels[..., 0] > 120)
    blue = (pixels[..., 2] > 1.5 * pixels[..., 0]) & (pixels[..., 2] > 80)
    assert red.sum() > 2_000 and 100 < blue.sum() < 5_000  # the target's disc and the ball
    rows = torch.arange(800.0)[:, None].expand(800, 800)
    assert rows[red].mean() < rows[blue].mean()  # the target lies above the start


def test_the_film_shows_a_seed_and_an_episode_that_reach_the_target(tiny, tmp_path, monkeypatch):
    config = tiny(env=PointMazeMujocoConfig(layout="plain", num_threads=1, max_episode_steps=60), seed=4)
    env = PointMazeMujoco(config.env, 16, CPU, 0)
    reaches = [2, 5]  # episodes of the second seed; the rest and the first seed stand still

    class Agent(ZeroAgent):
        def act(self, observation, goal):
            action = torch.zeros(2, 8, 2)
            action[1, reaches] = (goal - observation[..., :2] - 0.3 * observation[..., 2:])[1, reaches].clamp(-1, 1)
            return action

    filmed, starts = [], []

    def render(index, goal, width, height):
        filmed.append((index, env._state[index, :2].clone(), goal.clone()))
        return np.zeros((height, width, 3), np.uint8)

    def evaluate_and_keep(*arguments):
        seen = evaluate(*arguments)
        starts.append(seen.achieved[1, 2, 0])
        return seen

    monkeypatch.setattr("discover_rl.record.load_run", lambda *_: (config, Agent(2, 2, torch.Generator()), env))
    monkeypatch.setattr("discover_rl.record.evaluate", evaluate_and_keep)
    monkeypatch.setattr("discover_rl.record.write_video", lambda path, frames, fps: list(frames))
    monkeypatch.setattr(env, "render", render)
    recording = record(tmp_path, "cpu", 0)
    assert recording.seed == 5 and recording.sentence.startswith("the target was reached after")
    assert {index for index, *_ in filmed} == {8 + 2}
    assert torch.equal(filmed[0][1], starts[0])  # the very episode that was seen to reach it
    distances = [float((place - goal).norm()) for _, place, goal in filmed]
    assert distances[0] > 1 and min(distances) < config.env.success_radius


def test_paths_show_the_targets_of_their_episodes(tiny, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr("discover_rl.record.save_figure", lambda figure, _: figures.append(figure))
    monkeypatch.setattr("discover_rl.record.write_video", lambda *_: None)
    for name, changes in (("fixed", {}), ("drawn", {"random_targets": True}), ("noisy", {"target_noise": 0.1})):
        train(tiny(1, env=dataclasses.replace(point(), **changes)), tmp_path / name)
        record(tmp_path / name, "cpu", 0)
    fixed, drawn, noisy = ([line for line in figure.axes[0].lines if line.get_marker() == "*"] for figure in figures)
    assert [line.get_label() for line in fixed] == ["target"] and len(fixed[0].get_xydata()) == 1
    for lines in (drawn, noisy):
        assert [line.get_label() for line in lines] == ["targets"] and len(lines[0].get_xydata()) > 1
    assert [figure.axes[0].get_xlabel() for figure in figures] == ["x [m]"] * 3


def test_a_target_that_was_drawn_for_all_episodes_is_shown():
    env = PointMazeMujoco(dataclasses.replace(point(), random_targets=True), 1, CPU, 0)
    figure = path_figure(env, np.zeros((2, 3, 2)), np.ones((2, 2)), 0, "")
    (star,) = [line for line in figure.axes[0].lines if line.get_label() == "target"]
    assert np.array_equal(star.get_xydata(), [[1, 1]])


def test_without_a_way_to_draw_there_is_the_picture_and_a_sentence(run_dir, monkeypatch):
    from discover_envs.mujoco_maze import camera

    camera.gl_context.cache_clear()
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(camera.sys, "platform", "linux")
    monkeypatch.setattr(camera.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    _, picture, video, sentence = record(run_dir, "cpu", 0)
    camera.gl_context.cache_clear()
    assert picture.is_file() and video is None
    assert "neither with EGL nor with OSMesa" in sentence


def test_what_mujoco_gl_switches_off_is_said(run_dir, monkeypatch):
    from discover_envs.mujoco_maze import camera

    camera.gl_context.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    monkeypatch.delattr(camera.mujoco_renderer.gl_context, "GLContext", raising=False)
    assert record(run_dir, "cpu", 0).sentence.startswith("MUJOCO_GL=disabled switches drawing off; unset MUJOCO_GL, or")
    monkeypatch.setattr(camera, "gl_context", lambda: None)
    monkeypatch.setattr(camera.mujoco, "Renderer", fails_to_draw)
    said = record(run_dir, "cpu", 0).sentence
    assert said.startswith(
        "MUJOCO_GL=disabled cannot draw 800 x 800 pixels: no library; unset MUJOCO_GL, set it to egl"
    )
    monkeypatch.delenv("MUJOCO_GL")
    said = record(run_dir, "cpu", 0).sentence
    assert said == "this machine cannot draw 800 x 800 pixels: no library; take a smaller frame"


def fails_to_draw(*_):
    raise mujoco.FatalError("no library")  # pyright: ignore[reportAttributeAccessIssue]


def test_an_environment_without_a_camera_still_gets_its_picture(tiny, tmp_path, capsys):
    train(tiny(2), tmp_path)
    main(["eval", str(tmp_path), "eval_episodes=2", "video=true"])
    assert "has no camera" in capsys.readouterr().err
    assert (tmp_path / "paths.png").is_file() and not (tmp_path / "episode.mp4").exists()


# -- CUDA ------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config_type", [AntMazeConfig, PointMazeMujocoConfig, ArmPushConfig])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("draws_targets", [False, True])
def test_on_cuda_all_but_the_simulation_is_captured(tiny, config_type, beside, draws_targets):
    pytest.importorskip("mujoco_warp")
    changes = {}
    if draws_targets:
        dim = 3 if config_type is ArmPushConfig else 2
        changes = {"target": {"low": [0.1] * dim, "high": [0.4] * dim}}
    changes |= {"device": "cuda", "learn_beside_rollout": beside}
    trainer = Trainer(tiny(8, env=config_type(max_episode_steps=8), **changes))
    for _ in range(8):
        trainer.train_round()
        trainer.log_row()
    captured = trainer._choose_goals, trainer.roll_out.between, trainer._update
    assert all(part.graph is not None for part in captured) and trainer.roll_out.whole.graph is None
    observation, _, following, *_ = trainer.layout.split(trainer.round.block)
    assert observation.isfinite().all() and not torch.equal(observation, following)
    goes_on = ~trainer.round.done[:, :-1]
    assert goes_on.any() and observation[:, 1:][goes_on].equal(following[:, :-1][goes_on])
