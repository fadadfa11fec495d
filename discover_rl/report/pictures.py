"""What a training run remembers of its goals, and the picture of the curriculum of each seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from discover_rl.goals import Environment
from discover_rl.report.curriculum import CurriculumHistory, curriculum_figure, save_figure
from discover_rl.report.metrics import read_metrics, select_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOALS_KEPT = 16  # goals remembered per run and log row


class GoalHistory:
    """Samples of the chosen goals of all runs, kept on the CPU and in checkpoints."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.goals: list[Float[Tensor, "run kept goal"]] = []
        self.reached: list[Bool[Tensor, "run kept"]] = []

    def add(self, step: int, goals: Float[Tensor, "run env goal"], reached: Bool[Tensor, "run env"]) -> None:
        """Remember some goals of a round.

        Args:
            step: Environment steps so far.
            goals: Goals of the round, nan where the episode was sent to its target; evenly spaced ones are kept.
            reached: Whether they were reached.
        """
        kept = torch.linspace(0, goals.shape[1] - 1, min(GOALS_KEPT, goals.shape[1])).long().to(goals.device)
        self.steps.append(step)
        self.goals.append(goals[:, kept].cpu())
        self.reached.append(reached[:, kept].cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Named for a checkpoint."""
        if not self.steps:
            return {}
        return {
            "history/steps": torch.tensor(self.steps),
            "history/goals": torch.stack(self.goals),
            "history/reached": torch.stack(self.reached),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "GoalHistory":
        """What ``tensors`` gave; empty if there is none."""
        history = cls()
        if "history/steps" in tensors:
            history.steps = tensors["history/steps"].tolist()
            history.goals = list(tensors["history/goals"].cpu())
            history.reached = list(tensors["history/reached"].cpu())
        return history

    def of_run(self, run: int) -> CurriculumHistory:
        """The history of one run."""
        return CurriculumHistory(
            steps=np.array(self.steps),
            goals=torch.stack(self.goals)[:, run].numpy(),
            achieved=torch.stack(self.reached)[:, run].numpy(),
        )


def picture_path(run_dir: Path, seeds: list[int], seed: int) -> Path:
    """Where the picture of a seed stands."""
    return run_dir / ("curriculum.png" if len(seeds) == 1 else f"curriculum_seed_{seed}.png")


def save_pictures(
    run_dir: Path,
    seeds: list[int],
    history: GoalHistory,
    environment: Environment,
    achieved: Float[Tensor, "run episode time goal"],
    title: str,
    drawn: list[int] | None = None,
) -> dict[int, "Figure"]:
    """Draw and save the curriculum of some seeds.

    Args:
        run_dir: Folder of the run, with its ``metrics.csv``.
        seeds: The seed of each run.
        history: Goals chosen.
        environment: Drawn as the background if it can draw itself.
        achieved: Achieved goals of the last evaluation.
        title: What was trained on what; the seed is added.
        drawn: The seeds to draw; all if None.

    Returns:
        The figures by seed.
    """
    metrics = read_metrics(run_dir / "metrics.csv")
    figures = {}
    for run, seed in enumerate(seeds):
        if drawn is not None and seed not in drawn:
            continue
        figure = curriculum_figure(
            history.of_run(run),
            select_seed(metrics, seed),
            environment,
            achieved[run].cpu().numpy(),
            f"{title}, seed {seed}",
        )
        save_figure(figure, picture_path(run_dir, seeds, seed))
        figures[seed] = figure
    return figures
