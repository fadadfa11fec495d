"""``discover-rl eval``."""

import sys
from pathlib import Path
from typing import Any

from discover_rl.cli.parsing import fail

USAGE = "discover-rl eval RUN_DIR [eval_episodes=N] [device=NAME] [seed=N] [--video]"
HELP = f"""usage: {USAGE}

The deterministic policy of a run on its true target, one line a seed.

  RUN_DIR        the folder of a run
  eval_episodes  episodes of each seed (default: as in the run)
  device         auto (default), cpu, cuda or cuda:N
  seed           of the starts
  --video        also paths.png, and episode.mp4 (pip install 'discover-rl[video]'), in RUN_DIR, of the seed that
                 reaches the target most often; filmed is an episode that reaches it, if there is one

example: discover-rl eval runs/NAME eval_episodes=100 --video
"""


def run(arguments: list[str]) -> None:
    """Evaluate the networks of a run and print one line a seed; with ``--video`` draw and film what they do."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return
    allowed = {"eval_episodes": int, "device": str, "seed": int}

    def is_option(argument: str) -> bool:
        key, equals, _ = argument.partition("=")
        return argument.startswith("-") or (equals == "=" and key in (*allowed, "video"))

    arguments = sorted(arguments, key=is_option)  # the folder first
    if not arguments or is_option(arguments[0]):
        fail(f"give the folder of a run: {USAGE}")
    from discover_rl.evaluate import evaluate_run

    films = any(argument in ("--video", "video=true") for argument in arguments)
    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        if argument in ("--video", "video=true", "video=false"):
            continue
        key, _, value = argument.partition("=")
        if key not in allowed:
            fail(f"unknown key {key!r}; allowed: {', '.join(allowed)}, and --video")
        try:
            options[key] = allowed[key](value)
        except ValueError:
            fail(f"{key} must be of type {allowed[key].__name__}, got {value!r}")
    seeds, evaluation = evaluate_run(Path(arguments[0]), **options)
    columns = {tag.removeprefix("eval/"): values.tolist() for tag, values in evaluation.metrics().items()}
    print("seed  " + "  ".join(columns))
    for run, seed in enumerate(seeds):
        row = (f"{values[run]:>{len(name)}.3g}" for name, values in columns.items())
        print(f"{seed:>4}  " + "  ".join(row))
    if films:
        from discover_rl.record import record

        shown = record(Path(arguments[0]), options.get("device", "auto"), options.get("seed", 0))
        print(f"  picture  {shown.picture} (seed {shown.seed})")
        if shown.video is None:
            print(f"discover-rl: warning: no video, since {shown.sentence}", file=sys.stderr)
        else:
            print(f"  video    {shown.video} (seed {shown.seed}; {shown.sentence})")
