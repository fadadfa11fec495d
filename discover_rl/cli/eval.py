"""``discover-rl eval``."""

from pathlib import Path
from typing import Any

from discover_rl.cli.parsing import fail


def run(arguments: list[str]) -> None:
    """Evaluate the networks of a run and print one line a seed."""
    if not arguments or arguments[0].startswith("-"):
        fail("give the folder of a run: discover-rl eval RUN_DIR [eval_episodes=N] [device=NAME] [seed=N]")
    from discover_rl.evaluate import evaluate_run

    allowed = {"eval_episodes": int, "device": str, "seed": int}
    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, _, value = argument.partition("=")
        if key not in allowed:
            fail(f"unknown key {key!r}; allowed: {', '.join(allowed)}")
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
