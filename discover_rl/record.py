"""``discover-rl eval --video``: pictures of what a trained policy does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from discover_rl.agents import Agent
from discover_rl.evaluate import evaluate, load_run
from discover_rl.goals import Environment
from discover_rl.report.curriculum import save_figure
from discover_rl.report.episode import path_figure, write_video

PATHS = 8  # episodes in the picture
SIZE = (800, 800)  # pixels
AFTERWARDS = 1.0  # seconds of the video after the target is reached
FPS = 20.0  # where an environment does not say how long a step takes


def record(run_dir: Path, device: str, seed: int) -> tuple[Path, Path | None, str]:
    """Draw the paths of some episodes of the first seed, and film one.

    Returns:
        The picture, the video or None, and a sentence: how the filmed episode ended, or why there is no video.
    """
    config, agent, env = load_run(run_dir, PATHS, device, seed)
    evaluation = evaluate(agent, env, config.seeds)
    reached = round(float(evaluation.success[0]) * PATHS)
    title = f"{config.selector.name} on {config.env.name}, seed {config.seed}"
    picture, video = run_dir / "paths.png", run_dir / "episode.mp4"
    save_figure(path_figure(env, evaluation.achieved[0].cpu().numpy(), reached, title), picture)
    if getattr(env, "render", None) is None:
        return picture, None, f"environment {config.env.name!r} has no camera"
    film = _Film(agent, env, config.seeds)
    try:
        write_video(video, film.frames(), 1 / getattr(env, "step_seconds", 1 / FPS))
    except RuntimeError as error:
        return picture, None, str(error)
    return picture, video, film.ending


class _Film:
    """The first episode of the first run, frame by frame."""

    def __init__(self, agent: Agent, env: Environment, num_runs: int) -> None:
        self.agent, self.env, self.num_runs = agent, env, num_runs
        self.ending = "the target was not reached"

    @torch.no_grad()
    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        env, space, lead = self.env, self.env.goal_space, (self.num_runs, self.env.num_envs // self.num_runs)
        seconds = getattr(env, "step_seconds", 1 / FPS)
        observation, goal = env.reset(), env.targets().clone()
        left = env.max_episode_steps
        for t in range(env.max_episode_steps):
            yield env.render(0, goal[0], *SIZE)  # type: ignore[attr-defined] - checked by record
            action = self.agent.act(observation.unflatten(0, lead), goal.unflatten(0, lead)).flatten(0, 1)
            step = env.step(action)
            observation = step.observation
            if not self.ending.endswith("steps") and bool(space.success(space.achieved(observation), goal)[0]):
                self.ending = f"the target was reached after {t + 1} steps"
                left = round(AFTERWARDS / seconds)
            left -= 1
            if left <= 0 or bool(step.terminated[0] | step.truncated[0]):
                break
        yield env.render(0, goal[0], *SIZE)  # type: ignore[attr-defined]
