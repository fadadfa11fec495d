"""Which verb does what; how failures are told."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from discover_rl.cli.parsing import ERRORS, fail, sentence

HELP = """discover-rl: agents that set their own intermediate goals on the way to a target.

usage: discover-rl VERB ...

verbs:
  train [GROUP=OPTION ...] [KEY=VALUE ...]   train; the first training in one word: discover-rl train
  eval RUN_DIR [KEY=VALUE ...]               evaluate the networks of a run on its target
  table RUN_DIR... [--csv FILE] ...          steps to success and final success of runs, over seeds
  compare envs=[...] selectors=[...] ...     methods on tasks, same budget for all: runs what is missing, one table
  report RUN_DIR... [--output FILE]          one HTML file: learning curves, alpha, the curriculum to play
  bench [--device NAME] [--quick] ...        measure where the time goes on this device
  check-env MODULE:ENV [KEY=VALUE ...]       what is wrong with an environment or a goal space of yours
  curriculum targets=FILE corpus=FILE ...    rank practice tasks of a language model for its targets, and say why
  ttc model=NAME targets=FILE corpus=FILE    train a language model on the tasks that bring it to its targets

examples:
  discover-rl train env=point_maze/4d selector=mega seeds=8 device=cuda num_timesteps=5e6
  discover-rl train env=point_maze env.layout=my_maze.npz
  discover-rl train env=my_module:MyEnv goal_space=my_module:MyGoals
  discover-rl train env=gymnasium env.id=FetchReach-v4
  discover-rl train --help                   all options, groups and keys
  discover-rl train --cfg job                the resolved configuration, without training
  discover-rl train --from runs/NAME         the same run again, beside it; KEY=VALUE changes what you like
  discover-rl train -m seed=0,1,2            one run after another, by Hydra's launchers
  discover-rl eval runs/NAME eval_episodes=200 device=cpu
  discover-rl table runs --rows rows.csv     all runs below runs/; rows.csv holds what a plot needs
  discover-rl compare envs=[point_maze/u,point_maze/cross] selectors=[discover,mega,her] seeds=10
  discover-rl bench --help                   what is measured, and the options
"""

VERBS = (
    "train",
    "eval",
    "table",
    "compare",
    "report",
    "bench",
    "check-env",
    "curriculum",
    "ttc",
)  # each a module of this package with a function ``run``


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script.

    Expected failures (bad input, a full disk, numbers that are not finite) end in one sentence on stderr and
    exit code 2; anything else is a bug and keeps its traceback.
    """
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, and not when Python ends, which would complain of a closed pipe
    except BrokenPipeError as error:
        if _is_read():  # another pipe: that to a process of ours
            fail(sentence(error))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
    except ERRORS as error:
        fail(sentence(error))
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on from the last checkpoint", code=130)


def _run(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    verb, *rest = given
    if verb not in VERBS:
        from discover_rl.config import did_you_mean

        fail(f"unknown verb {verb!r}{did_you_mean(verb, VERBS)}; allowed: {', '.join(VERBS)}")
    # imported only now: a verb costs what it needs, and --help costs nothing
    import_module(f"discover_rl.cli.{verb.replace('-', '_')}").run(rest)


def _is_read() -> bool:
    """Whether somebody still reads what is printed."""
    try:
        print(flush=True)
    except BrokenPipeError:
        return False
    return True
