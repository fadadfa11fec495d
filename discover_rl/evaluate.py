"""Evaluation: the deterministic policy on the true targets, one episode in each of separate environments."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.agents import Agent
from discover_rl.build import make_agent, make_environment, random_sources
from discover_rl.checkpoint import load_checkpoint
from discover_rl.config import TrainConfig, pick_device
from discover_rl.goals import Environment
from discover_rl.run_folder import MODEL, load_config


class Evaluation(NamedTuple):
    """What an evaluation saw. Only the first episode of each environment counts.

    Attributes:
        success: Share of episodes within the goal at any step after the start.
        success_at_end: Share of episodes within the goal at their last step.
        success_at_start: Share of starts that were solved already; must be 0.
        steps_to_goal: Mean number of steps to the first success among the successful, nan if there is none.
        episode_length: Mean length in steps.
        episode_reward: Mean sum of the sparse reward.
        achieved: Achieved goals, start included; nan after the end of an episode.
    """

    success: Float[Tensor, "run"]
    success_at_end: Float[Tensor, "run"]
    success_at_start: Float[Tensor, "run"]
    steps_to_goal: Float[Tensor, "run"]
    episode_length: Float[Tensor, "run"]
    episode_reward: Float[Tensor, "run"]
    achieved: Float[Tensor, "run episode time goal"]

    def metrics(self) -> dict[str, Float[Tensor, "run"]]:
        """By TensorBoard tag."""
        return {
            "eval/success_rate": self.success,
            "eval/success_rate_at_end": self.success_at_end,
            "eval/success_rate_at_start": self.success_at_start,
            "eval/steps_to_goal": self.steps_to_goal,
            "eval/mean_ep_length": self.episode_length,
            "eval/mean_reward": self.episode_reward,
        }


@torch.no_grad()
def evaluate(agent: Agent, env: Environment, num_runs: int) -> Evaluation:
    """Run one episode in every environment; environment e belongs to run e // (num_envs / num_runs).

    Args:
        agent: Whose deterministic policy acts.
        env: Environments kept for evaluation, with a generator of their own.
        num_runs: Stacked runs.

    Raises:
        ValueError: If the simulation can no longer be trusted (``Monitored``).
    """
    space, lead = env.goal_space, (num_runs, env.num_envs // num_runs)
    observation = env.reset()
    goal = env.targets().clone()
    shaped_goal = goal.unflatten(0, lead)
    achieved = [space.achieved(observation)]
    solved_at_start = space.success(achieved[0], goal)
    running = torch.ones_like(solved_at_start)
    reached = torch.zeros_like(running)
    at_end = torch.zeros_like(running)
    length = torch.zeros(env.num_envs, device=env.device)
    first = torch.full_like(length, torch.nan)
    reward = torch.zeros_like(length)
    for t in range(env.max_episode_steps):
        action = agent.act(observation.unflatten(0, lead), shaped_goal).flatten(0, 1)
        step = env.step(action)
        now = space.achieved(step.observation)
        success = space.success(now, goal) & running
        first = torch.where(success & ~reached, torch.full_like(first, t + 1), first)
        reached |= success
        at_end = torch.where(running, success, at_end)
        reward += success
        length += running
        achieved.append(torch.where(running[:, None], now, torch.nan))
        ended = _ended(step.terminated, step.truncated, space.success(now, goal), env.terminate_on_success)
        running = running & ~ended
        observation = step.observation
        if env.ends_early or env.terminate_on_success:  # what has ended is stepped on, but never counted
            observation = env.reset(ended)
    monitor = getattr(env, "monitor", None)
    if monitor is not None:
        monitor()
    runs = [x.float().unflatten(0, lead) for x in (reached, at_end, solved_at_start, length, reward)]
    rates = [x.mean(1) for x in runs]
    return Evaluation(
        success=rates[0],
        success_at_end=rates[1],
        success_at_start=rates[2],
        steps_to_goal=first.unflatten(0, lead).nanmean(1),
        episode_length=rates[3],
        episode_reward=rates[4],
        achieved=torch.stack(achieved, dim=1).unflatten(0, lead),
    )


def _ended(
    terminated: Bool[Tensor, "env"],
    truncated: Bool[Tensor, "env"],
    success: Bool[Tensor, "env"],
    terminate_on_success: bool,
) -> Bool[Tensor, "env"]:
    ended = terminated | truncated
    return ended | success if terminate_on_success else ended


def evaluate_run(
    run_dir: Path, eval_episodes: int | None = None, device: str = "auto", seed: int = 0
) -> tuple[list[int], Evaluation]:
    """Evaluate the networks saved in the folder of a run.

    Args:
        run_dir: The folder.
        eval_episodes: Episodes per run; as in training if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        seed: Seed of the evaluation environments.

    Returns:
        The seed of each run, and what was seen.

    Raises:
        ValueError: If the folder is not that of a run, or its networks do not fit its configuration.
    """
    config, agent, env = load_run(run_dir, eval_episodes, device, seed)
    return [config.seed + run for run in range(config.seeds)], evaluate(agent, env, config.seeds)


def load_run(
    run_dir: Path, eval_episodes: int | None, device: str, seed: int
) -> tuple[TrainConfig, Agent, Environment]:
    """The configuration and the networks of a run, and environments to evaluate them in.

    Args:
        run_dir: The folder.
        eval_episodes: Environments per run; as in training if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        seed: Seed of the environments.

    Raises:
        ValueError: If the folder is not that of a run, or its networks do not fit its configuration.
    """
    config = load_config(run_dir, own_files=True)
    episodes = config.eval_episodes if eval_episodes is None else eval_episodes
    if episodes < 1:
        raise ValueError(f"eval_episodes must be at least 1, got {episodes}")
    where = pick_device(device)
    sources = random_sources(seed, where)
    env = make_environment(
        config.env, config.seeds * episodes, where, sources.eval_seed, config.goal_space, config.target
    )
    agent = make_agent(config.agent, env, config.seeds, sources)
    tensors, _ = load_checkpoint(run_dir / MODEL, where)
    agent.load(tensors)
    return config, agent, env
