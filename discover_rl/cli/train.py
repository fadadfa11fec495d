"""``discover-rl train``: speaks Hydra."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from discover_rl.cli.composing import (
    check_overrides,
    recipes_dir,
    register_dotted_paths,
    register_schemas,
    without_printing_flags,
)
from discover_rl.cli.parsing import ERRORS, fail

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(arguments: list[str]) -> None:
    """Train; mistakes are told before Hydra starts."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    register_schemas()
    arguments = register_dotted_paths(arguments)
    overrides = without_printing_flags(arguments)
    if not any(argument.startswith("-") for argument in overrides):  # -m sweeps, --help composes by itself
        check_overrides(overrides)
    failure: list[BaseException] = []

    @hydra.main(version_base="1.3", config_path=str(recipes_dir()), config_name="train")
    def job(config: DictConfig) -> float | None:
        label = HydraConfig.get().runtime.choices.get("env", "")
        try:
            return _train(config, label)
        except ERRORS as error:  # Hydra would print its own traceback
            failure.append(error)
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                print(f"discover-rl: {error}", file=sys.stderr)
            return None

    sys.argv = ["discover-rl train", *arguments]
    job()
    if failure:
        fail(str(failure[0]))


def _train(composed: "DictConfig", label: str) -> float:
    from discover_rl.run_folder import choose_folder, config_from_node
    from discover_rl.train import train

    config = config_from_node(composed)
    run_dir, resume = choose_folder(config, getattr(config.env, "id", "") or label)
    if resume:
        print(f"going on from {run_dir}")
    trainer = train(config, run_dir, resume)
    if trainer.solved:
        print(f"\nsolved after {trainer.num_timesteps:,} of at most {config.num_timesteps:,.0f} steps", end="")
    return _print_where(run_dir, trainer.seeds)


def _print_where(run_dir: Path, seeds: list[int]) -> float:
    """Say how it ended and where everything is; returns the last success rate, for a tuner."""
    import numpy as np

    from discover_rl.report import read_metrics, select_seed
    from discover_rl.report.pictures import picture_path
    from discover_rl.run_folder import CHECKPOINT, METRICS

    metrics = read_metrics(run_dir / METRICS)
    last = [select_seed(metrics, seed)["eval/success_rate"][-1] for seed in seeds]
    print(
        f"\nsuccess on the target: {np.mean(last):.0%}" + (f" (mean of {len(seeds)} seeds)" if len(seeds) > 1 else "")
    )
    print(f"  checkpoint   {run_dir / CHECKPOINT}")
    print(f"  metrics      {run_dir / METRICS}")
    print(f"  TensorBoard  tensorboard --logdir {run_dir / 'tensorboard'}")
    print(f"  picture      {picture_path(run_dir, seeds, seeds[0])}")
    print(f"evaluate it again: discover-rl eval {run_dir}")
    return float(np.mean(last))
