"""What a person sees of a run: its metrics, its progress, the picture of its curriculum."""

from discover_rl.report.curriculum import CurriculumHistory, curriculum_figure, save_figure
from discover_rl.report.metrics import MetricsWriter, read_metrics, select_seed
from discover_rl.report.progress import ProgressLine

__all__ = [
    "CurriculumHistory",
    "MetricsWriter",
    "ProgressLine",
    "curriculum_figure",
    "read_metrics",
    "save_figure",
    "select_seed",
]
