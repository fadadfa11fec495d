"""``discover-rl eval --video``: pictures of what a trained policy does."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from discover_rl.agents import Agent
from discover_rl.collect import environment_name
from discover_rl.evaluate import evaluate, load_run
from discover_rl.goals import Environment
from discover_rl.report.curriculum import save_figure
from discover_rl.report.episode import path_figure, write_video

PATHS = 8  # episodes in the picture
SIZE = (800, 800)  # pixels
AFTERWARDS = 1.0  # seconds of the video after the target is reached
FPS = 20.0  # where an environment does not say how long a step takes


class Recording(NamedTuple):
    """What was drawn and filmed.

    Attributes:
        seed: Whose policy: the seed that reaches its targets most often, the first of them.
        picture: The paths of its episodes.
        video: One of them, the first that reaches its target if one does; None if it cannot be filmed.
        sentence: How the filmed episode ended, or why there is no video.
    """

    seed: int
    picture: Path
    video: Path | None
    sentence: str


def record(run_dir: Path, device: str, seed: int) -> Recording:
    """Draw the paths of some episodes of the best seed, and film one.

    Args:
        run_dir: The folder of a run.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        seed: Of the starts.
    """
    config, agent, env = load_run(run_dir, PATHS, device, seed)
    before = env.generator.get_state()
    evaluation = evaluate(agent, env, config.seeds)
    env.generator.set_state(before)  # the film begins with the same starts and targets
    film = _Film(agent, env, config.seeds)
    reached = film.reached(evaluation.achieved)
    run = int(reached.sum(1).argmax())
    film.index = run * PATHS + int(reached[run].int().argmax())
    shown = config.seed + run
    title = f"{config.selector.name} on {environment_name(dataclasses.asdict(config.env))}, seed {shown}"
    picture, video = run_dir / "paths.png", run_dir / "episode.mp4"
    paths = evaluation.achieved[run].cpu().numpy()
    targets = film.goal.unflatten(0, film.lead)[run].cpu().numpy()
    save_figure(path_figure(env, paths, targets, int(reached[run].sum()), title), picture)
    if getattr(env, "render", None) is None:
        return Recording(shown, picture, None, f"environment {config.env.name!r} has no camera")
    try:
        write_video(video, film.frames(), 1 / getattr(env, "step_seconds", 1 / FPS))
    except RuntimeError as error:
        return Recording(shown, picture, None, str(error))
    return Recording(shown, picture, video, film.ending)


class _Film:
    """One of some episodes that begin now, frame by frame."""

    def __init__(self, agent: Agent, env: Environment, num_runs: int) -> None:
        self.agent, self.env, self.lead = agent, env, (num_runs, env.num_envs // num_runs)
        self.observation, self.goal = env.reset(), env.targets().clone()
        self.index = 0
        self.ending = "the target was not reached"

    def reached(self, achieved: Float[Tensor, "run episode time goal"]) -> Bool[Tensor, "run episode"]:
        """Which of the episodes came to their target after their start; nan stands after their end."""
        later = achieved[:, :, 1:]
        goal = self.goal.unflatten(0, self.lead)[:, :, None].expand_as(later)
        return (self.env.goal_space.success(later, goal) & ~later.isnan().any(-1)).any(2)

    @torch.no_grad()
    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        env, space, index, goal = self.env, self.env.goal_space, self.index, self.goal
        seconds = getattr(env, "step_seconds", 1 / FPS)
        observation, left = self.observation, env.max_episode_steps
        for t in range(env.max_episode_steps):
            yield env.render(index, goal[index], *SIZE)  # type: ignore[attr-defined] - checked by record
            action = self.agent.act(observation.unflatten(0, self.lead), goal.unflatten(0, self.lead)).flatten(0, 1)
            step = env.step(action)
            observation = step.observation
            if not self.ending.endswith("steps") and bool(space.success(space.achieved(observation), goal)[index]):
                self.ending = f"the target was reached after {t + 1} steps"
                left = round(AFTERWARDS / seconds)
            left -= 1
            if left <= 0 or bool(step.terminated[index] | step.truncated[index]):
                break
        yield env.render(index, goal[index], *SIZE)  # type: ignore[attr-defined]
