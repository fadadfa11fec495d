"""The command line: ``discover-rl VERB ...``; ``train`` speaks Hydra."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """discover-rl: agents that set their own intermediate goals on the way to a target.

usage: discover-rl VERB ...

verbs:
  train [GROUP=OPTION ...] [KEY=VALUE ...]   train; the first training in one word: discover-rl train
  eval RUN_DIR [KEY=VALUE ...]               evaluate the networks of a run on its target

examples:
  discover-rl train env=point_maze/4d selector=mega seeds=8 device=cuda num_timesteps=5e6
  discover-rl train env=point_maze env.layout=my_maze.npz
  discover-rl train --help                   all options, groups and keys
  discover-rl train --cfg job                the resolved configuration, without training
  discover-rl train -m seed=0,1,2            one run after another, by Hydra's launchers
  discover-rl eval runs/NAME eval_episodes=200 device=cpu
"""

ERRORS = (ValueError, OSError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script.

    Expected failures (bad input, a full disk, numbers that are not finite) end in one sentence on stderr and
    exit code 2; anything else is a bug and keeps its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbs: dict[str, Callable[[list[str]], None]] = {"train": _train_verb, "eval": _eval_verb}
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    verb, *rest = given
    if verb not in verbs:
        from discover_rl.config import did_you_mean

        _fail(f"unknown verb {verb!r}{did_you_mean(verb, verbs)}; allowed: {', '.join(verbs)}")
    try:
        verbs[verb](rest)
    except ERRORS as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from the last checkpoint", code=130)


def _fail(sentence: str, code: int = 2) -> None:
    print(f"discover-rl: {sentence}", file=sys.stderr)
    raise SystemExit(code)


# -- train ---------------------------------------------------------------------------------------------------


def recipes_dir() -> Path:
    """The folder of YAML recipes: inside the installed package, or ``configs/`` of a checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "recipes"
    return packaged if packaged.is_dir() else here.parent / "configs"


def register_schemas() -> None:
    """Make every configuration dataclass known to Hydra, ours and those of plug-ins.

    A plug-in that cannot be loaded is left out with a warning, so that it spoils no run that does not need it.
    """
    from hydra.core.config_store import ConfigStore

    from discover_rl.agents import AGENT_CONFIGS
    from discover_rl.config import TrainConfig, UnknownPluginError, load_plugin, plugin_names, schema_node
    from discover_rl.selectors import SELECTORS

    store = ConfigStore.instance()
    store.store(name="train_schema", node=schema_node(TrainConfig))
    for name, selector in SELECTORS.items():
        store.store(group="selector", name=name, node=schema_node(selector))
    for name, agent in AGENT_CONFIGS.items():
        store.store(group="agent", name=name, node=schema_node(agent))
    for name in plugin_names("discover_rl.environments"):
        try:
            schema = load_plugin("discover_rl.environments", name).Config
        except UnknownPluginError as error:
            print(f"discover-rl: warning: {error}", file=sys.stderr)
            continue
        store.store(group="env", name=f"{name}_schema", node=schema_node(schema))


def _train_verb(arguments: list[str]) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    register_schemas()
    overrides = _without_printing_flags(arguments)
    if not any(argument.startswith("-") for argument in overrides):  # -m sweeps, --help composes by itself
        _check_overrides(overrides)
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
        _fail(str(failure[0]))


def _train(composed: "DictConfig", label: str) -> float:
    from discover_rl.run_folder import choose_folder, config_from_node
    from discover_rl.train import train

    config = config_from_node(composed)
    run_dir, resume = choose_folder(config, label)
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


def _without_printing_flags(arguments: list[str]) -> list[str]:
    """The arguments without ``--cfg KIND`` and ``--resolve``, which change nothing of what is composed."""
    flags = ("--cfg", "-c")
    after_flag = {i + 1 for i, argument in enumerate(arguments) if argument in flags}
    return [a for i, a in enumerate(arguments) if a not in (*flags, "--resolve") and i not in after_flag]


def _check_overrides(arguments: list[str]) -> None:
    """Compose once ahead of Hydra's own start, to say in one sentence what is wrong and what is allowed.

    Raises:
        ValueError: If the overrides do not compose.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from discover_rl.run_folder import config_from_node

    try:
        with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
            for argument in arguments:
                _check_option(argument)
            plain = compose("train", [a for a in arguments if "=" in a and _is_group(a)])
            for argument in arguments:
                _check_key(argument, plain)
            config_from_node(compose("train", arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_first_sentence(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _is_group(argument: str) -> bool:
    return argument.split("=", 1)[0] in ("env", "selector", "agent", "experiment", "+experiment")


def _check_option(argument: str) -> None:
    from discover_rl.config import did_you_mean

    group, _, name = argument.partition("=")
    if not _is_group(argument) or not name:
        return
    allowed = _options(group.removeprefix("+"))
    if name not in allowed:
        raise ValueError(f"{group} is {name!r}{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")


def _options(group: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    loader = GlobalHydra.instance().config_loader()
    plain = loader.get_group_options(group, ObjectType.CONFIG)
    nested = loader.get_group_options(group, ObjectType.GROUP)
    deeper = [f"{folder}/{name}" for folder in nested for name in _options(f"{group}/{folder}")]
    return [*(name for name in plain if not name.endswith("_schema")), *deeper]


def _check_key(argument: str, config: "DictConfig") -> None:
    from omegaconf import DictConfig

    from discover_rl.config import did_you_mean

    if "=" not in argument:
        raise ValueError(f"{argument!r} is not an option; write KEY=VALUE, e.g. seeds=4")
    key = argument.split("=", 1)[0]
    if _is_group(argument) or key.startswith(("+", "~", "hydra")):
        return
    node, parent = config, ""
    for part in key.split("."):
        allowed = [str(name) for name in node] if isinstance(node, DictConfig) else []
        if part not in allowed:
            raise ValueError(
                f"unknown key {key}{did_you_mean(part, allowed)}; allowed{' under ' + parent if parent else ''}: "
                f"{', '.join(allowed) or 'nothing: it is a value'}"
            )
        node, parent = node[part], f"{parent}.{part}".lstrip(".")


def _first_sentence(error: BaseException) -> str:
    """The message of what went wrong first; Hydra and OmegaConf wrap it in messages of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    listed = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return "; ".join(line for line in listed if not line.startswith("Config search path")) or type(error).__name__


# -- eval ----------------------------------------------------------------------------------------------------


def _eval_verb(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        _fail("give the folder of a run: discover-rl eval RUN_DIR [eval_episodes=N] [device=NAME] [seed=N]")
    from discover_rl.evaluate import evaluate_run

    allowed = {"eval_episodes": int, "device": str, "seed": int}
    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, _, value = argument.partition("=")
        if key not in allowed:
            _fail(f"unknown key {key!r}; allowed: {', '.join(allowed)}")
        try:
            options[key] = allowed[key](value)
        except ValueError:
            _fail(f"{key} must be of type {allowed[key].__name__}, got {value!r}")
    seeds, evaluation = evaluate_run(Path(arguments[0]), **options)
    columns = {tag.removeprefix("eval/"): values.tolist() for tag, values in evaluation.metrics().items()}
    print("seed  " + "  ".join(columns))
    for run, seed in enumerate(seeds):
        row = (f"{values[run]:>{len(name)}.3g}" for name, values in columns.items())
        print(f"{seed:>4}  " + "  ".join(row))
