"""``discover-rl train``: speaks Hydra."""

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from discover_rl.cli.composing import (
    check_jobs,
    recipes_dir,
    register_dotted_paths,
    register_schemas,
    split_options,
)
from discover_rl.cli.parsing import ERRORS, fail, sentence

if TYPE_CHECKING:
    from discover_rl.config import TrainConfig
    from discover_rl.goals import Environment


def run(arguments: list[str]) -> None:
    """Train; mistakes are told before Hydra starts."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from discover_rl.run_folder import config_from_node

    register_schemas()
    if any(argument.split("=", 1)[0] in ("--from", "from") for argument in arguments):
        _repeat(arguments)
        return
    options, overrides, sweep, composes = split_options(arguments)
    register_dotted_paths(overrides)
    if composes:
        check_jobs(overrides, sweep)
    failure: list[str] = []

    @hydra.main(version_base="1.3", config_path=str(recipes_dir()), config_name="train")
    def job(config: DictConfig) -> float | None:
        hydra_config = HydraConfig.get()
        label, sweep = hydra_config.runtime.choices.get("env", ""), hydra_config.mode is RunMode.MULTIRUN
        try:
            if sweep:  # a worker of a cluster stands elsewhere; the machines share the folder of the command
                os.chdir(hydra_config.runtime.cwd)
            return _train(config_from_node(config), label)
        except ERRORS as error:  # Hydra would print its own traceback
            job_name = " ".join(hydra_config.overrides.task).replace("\\:", ":")  # as typed, not as Hydra escapes it
            failure.append((f"job {job_name}: " if sweep else "") + sentence(error))
            if sweep:
                print(f"discover-rl: {failure[-1]}", file=sys.stderr)
            if sweep and hydra_config.runtime.choices.get("hydra/launcher") != "basic":
                raise  # on another machine nobody looks into ``failure``
            return None

    with tempfile.TemporaryDirectory() as scratch:  # Hydra keeps the sweep in a file, of no use in the working folder
        sys.argv = ["discover-rl train", *options, *([f"hydra.sweep.dir='{scratch}'"] if sweep else []), *overrides]
        job()
    if failure:
        fail(failure[0])


def _repeat(arguments: list[str]) -> None:
    """Train again what a run folder says, into a new folder beside it."""
    import dataclasses

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from discover_rl.cli.composing import check_key
    from discover_rl.config import pick_device, value_sentence
    from discover_rl.run_folder import config_from_node, config_to_mapping, load_config, stored_versions, versions

    usage = "write: discover-rl train --from RUN_DIR [KEY=VALUE ...]"
    given = arguments.index("--from") if "--from" in arguments else -1
    if given < 0 or given + 1 == len(arguments) or arguments[given + 1].startswith("-"):
        raise ValueError(f"--from needs the folder of a run; {usage}")
    source = Path(arguments[given + 1])
    overrides = [*arguments[:given], *arguments[given + 2 :]]
    config = load_config(source, own_files=True)
    config = dataclasses.replace(config, run_dir=f"{source.resolve()}-repeat", resume="auto")
    node = OmegaConf.create(config_to_mapping(config))
    for override in overrides:
        check_key(override, node)
        if override.split("=", 1)[0] in ("env", "selector", "agent", "experiment"):
            raise ValueError(f"{override!r}: --from repeats a run; keys can be changed, groups cannot; {usage}")
    try:
        config = config_from_node(OmegaConf.merge(node, OmegaConf.from_dotlist(overrides)))
    except OmegaConfBaseException as error:
        raise ValueError(value_sentence(error)) from error
    then, now = stored_versions(source), versions(pick_device(config.device))
    differing = [f"{name} {then[name]} (now {now.get(name)})" for name in then if then[name] != now.get(name)]
    if differing:
        print(f"discover-rl: warning: {source} was made with {', '.join(differing)}", file=sys.stderr)
    _train(config, "")


def _last_success(run_dir: Path) -> float:
    """Mean over seeds of the success at the last evaluation."""
    import numpy as np

    from discover_rl.report import read_metrics, select_seed
    from discover_rl.run_folder import METRICS

    metrics = read_metrics(run_dir / METRICS)
    return float(
        np.mean([select_seed(metrics, seed)["eval/success_rate"][-1] for seed in np.unique(metrics["seed"]).tolist()])
    )


def _train(config: "TrainConfig", label: str) -> float:
    """Train one configuration; what is there already is left alone, so that the same command can go on."""
    from discover_rl.run_folder import CHECKPOINT, choose_folder, claimed, done_folder
    from discover_rl.train import make_trainer

    if config.resume == "auto" and (done := done_folder(config, label)):
        keeps = config.keep_checkpoint and (done / CHECKPOINT).is_file()
        print(
            f"there already: {done} (discover-rl eval {shlex.quote(str(done))}); another seed= trains another one, "
            "resume=never the same again" + (", a larger num_timesteps goes on" if keeps else "")
        )
        return _last_success(done)
    run_dir, resume = choose_folder(config, label)
    if config.gradient_steps and config.learning_starts >= config.num_timesteps:
        print(
            f"discover-rl: warning: learning_starts={config.learning_starts} is not below num_timesteps="
            f"{config.num_timesteps:.0f}, so no update will be made; lower it, or train for longer",
            file=sys.stderr,
        )
    trainer = make_trainer(config)  # mistakes leave no folder behind
    with claimed(run_dir):
        if resume:
            print(f"going on from {run_dir}")
        trainer.run(run_dir, resume)
    if trainer.solved:
        print(f"\nsolved after {trainer.num_timesteps:,} of at most {config.num_timesteps:,.0f} steps", end="")
    elif trainer.stopped:
        print(f"\nstopped after {config.max_time:,.0f} s (max_time), {trainer.num_timesteps:,} of at most", end="")
        print(f" {config.num_timesteps:,.0f} steps", end="")
        if config.keep_checkpoint:
            print("; the same command goes on from there", end="")
    last = _print_where(run_dir, trainer.seeds)
    _print_hint(run_dir, config, trainer.env, getattr(trainer.agent, "horizon", None))
    return last


def _print_where(run_dir: Path, seeds: list[int]) -> float:
    """Say how it ended and where everything is; returns the last success rate, for a tuner."""
    from discover_rl.report.pictures import picture_path
    from discover_rl.run_folder import CHECKPOINT, METRICS

    last = _last_success(run_dir)
    print(f"\nsuccess on the target: {last:.0%}" + (f" (mean of {len(seeds)} seeds)" if len(seeds) > 1 else ""))
    print(f"  checkpoint   {run_dir / CHECKPOINT}")
    print(f"  metrics      {run_dir / METRICS}")
    print(f"  TensorBoard  tensorboard --logdir {shlex.quote(str(run_dir / 'tensorboard'))}")
    print(f"  picture      {picture_path(run_dir, seeds, seeds[0])}")
    print(f"evaluate it again: discover-rl eval {shlex.quote(str(run_dir))}")
    return last


def _print_hint(run_dir: Path, config: "TrainConfig", env: "Environment", horizon: float | None) -> None:
    """Say what may be wrong where goals are achieved and the target is not; not every agent has a horizon."""
    from discover_rl.goals import HasCells
    from discover_rl.report import read_metrics
    from discover_rl.report.hints import held_too_far
    from discover_rl.run_folder import METRICS

    found = {} if horizon is None else held_too_far(read_metrics(run_dir / METRICS), horizon)
    if not found:
        return
    steps, achieved = (sum(values) / len(found) for values in zip(*found.values(), strict=True))
    whose = f"seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
    remedies = ["a larger agent.gamma"]
    if getattr(config.agent, "relative_gradients", True) is False:
        remedies.insert(0, "agent.relative_gradients=true")
    if getattr(config.agent, "target_critics", 1) > 1:
        remedies.insert(0, "agent.target_critics=1")
    if getattr(config.agent, "n_steps", 2) == 1:
        remedies.insert(0, "agent.n_steps=5")
    if getattr(config.agent, "hindsight_slack", 1) > 1:
        remedies.insert(0, "agent.hindsight_slack=1 agent.hindsight_confidence=0.5")
    asks_prior = getattr(config.selector, "relevance", 0.0) and not config.prior
    if asks_prior and isinstance(env, HasCells) and env.observation_dim > env.goal_space.dim:
        remedies.insert(0, "prior=RUN_DIR of a simpler body in the same maze")
    print(
        f"hint: {whose}: {achieved:.0%} of the chosen goals are achieved, but held for {steps:.0f} steps away on "
        f"average, and from {horizon:.0f} on values tell no difference: what lies beyond looks neither near nor novel. "
        f"Try {' or '.join(remedies)}, or, with a body that can fall, a smaller agent.learning_rate"
    )
