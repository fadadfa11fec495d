"""The command line: ``discover-rl VERB ...``; ``train`` speaks Hydra."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from discover_rl.config import TrainConfig

HELP = """discover-rl: agents that set their own intermediate goals on the way to a target.

usage: discover-rl VERB ...

verbs:
  train [GROUP=OPTION ...] [KEY=VALUE ...]   train; the first training in one word: discover-rl train
  eval RUN_DIR [KEY=VALUE ...]               evaluate the networks of a run on its target
  table RUN_DIR... [--csv FILE] ...          steps to success and final success of runs, over seeds
  bench [--device NAME] [--quick] ...        measure where the time goes on this device

examples:
  discover-rl train env=point_maze/4d selector=mega seeds=8 device=cuda num_timesteps=5e6
  discover-rl train env=point_maze env.layout=my_maze.npz
  discover-rl train --help                   all options, groups and keys
  discover-rl train --cfg job                the resolved configuration, without training
  discover-rl train -m seed=0,1,2            one run after another, by Hydra's launchers
  discover-rl eval runs/NAME eval_episodes=200 device=cpu
  discover-rl table runs --rows rows.csv     all runs below runs/; rows.csv holds what a plot needs
  discover-rl bench --help                   what is measured, and the options
"""

ERRORS = (ValueError, OSError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script.

    Expected failures (bad input, a full disk, numbers that are not finite) end in one sentence on stderr and
    exit code 2; anything else is a bug and keeps its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbs: dict[str, Callable[[list[str]], None]] = {
        "train": _train_verb,
        "eval": _eval_verb,
        "table": _table_verb,
        "bench": _bench_verb,
    }
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


# -- table ---------------------------------------------------------------------------------------------------


def _table_verb(arguments: list[str]) -> None:
    parser = _Parser(
        prog="discover-rl table",
        description="Runs as a table: steps to 10, 50 and 90 % success on the target and success at the end, one line "
        "for each environment and selector, with intervals over seeds.",
        epilog="example: discover-rl table runs --rows rows.csv; discover-rl table rows.csv shows the same again",
        allow_abbrev=False,
    )
    paths = "a run folder, a folder that contains some at any depth, or a CSV file that --rows wrote"
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN_DIR", help=paths)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the lines of the table to FILE too")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write every evaluation of every seed to FILE too")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args(arguments)

    from discover_rl.collect import collect
    from discover_rl.report.rows import write_rows
    from discover_rl.report.summary import summarise, write_summary
    from discover_rl.report.table import markdown_table, text_table

    curves, warnings = collect(given.paths)
    for warning in warnings:
        print(f"discover-rl: warning: {warning}", file=sys.stderr)
    lines = summarise(curves)
    if given.rows:
        write_rows(given.rows, curves)
    if given.csv:
        write_summary(given.csv, lines)
    print(markdown_table(lines) if given.markdown else text_table(lines))


# -- bench ---------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the other verbs do."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog.split()[-1]}: {message}")


def _bench_verb(arguments: list[str]) -> None:
    from discover_rl.bench import SECTIONS, Options, run

    def sections(names: str) -> tuple[str, ...]:
        from discover_rl.config import did_you_mean

        for name in names.split(","):
            if name not in SECTIONS:
                hint = did_you_mean(name, SECTIONS)
                raise argparse.ArgumentTypeError(f"no section {name!r}{hint}; allowed: {', '.join(SECTIONS)}")
        return tuple(name for name in SECTIONS if name in names.split(","))

    parser = _Parser(
        prog="discover-rl bench",
        description="Where the time goes on this device: one table of environment steps, goal choices, updates and "
        "whole training, each beside its floor and beside the plain way of doing the same.",
        epilog="example: discover-rl bench --only updates,training --csv bench.csv",
        allow_abbrev=False,
    )
    parser.add_argument("--device", default="auto", help="auto (cuda if there is one), cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="small sizes, some twenty seconds")
    parser.add_argument("--only", type=sections, default=tuple(SECTIONS), metavar="NAMES", help=",".join(SECTIONS))
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows to FILE too; JSON if it ends in .json")
    parser.add_argument("--seconds", type=_positive, help="seconds to measure each figure, about (default 0.3)")
    given = parser.parse_args(arguments)
    seconds = given.seconds or (0.05 if given.quick else 0.3)
    try:
        run(Options(given.device, given.quick, given.only, seconds, given.csv), _composed)
    except KeyboardInterrupt:
        _fail("interrupted; the rows above are what was measured", code=130)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, got {text!r}")
    return value


def _composed(overrides: Sequence[str]) -> "TrainConfig":
    """The configuration that ``train`` would have with these overrides."""
    from hydra import compose, initialize_config_dir

    from discover_rl.run_folder import config_from_node

    register_schemas()
    with initialize_config_dir(str(recipes_dir()), version_base="1.3"):
        return config_from_node(compose("train", list(overrides)))
