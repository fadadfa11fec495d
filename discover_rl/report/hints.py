"""What the metrics of a run that has not reached its target say about why."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped

from discover_rl.report.metrics import SEED, curve, select_seed

ROWS = 5  # rows of metrics at the end that are looked at
MISSED = 0.1  # success on the target below which a run counts as stuck
ACHIEVED = 0.15  # share of the chosen goals below which they may well be as far away as they are held for
FAR = 0.5  # share of the horizon: ants and points that were stuck had 0.5 to 0.9, N-D mazes merely slow 0.2 to 0.4


def held_too_far(metrics: Mapping[str, Shaped[np.ndarray, "row"]], horizon: float) -> dict[int, tuple[float, float]]:
    """Seeds without success whose chosen goals are achieved, but held for so far that values soon end.

    The minimum of two critics, from step to step, holds goals for farther than they are. Beyond where values end
    nothing is nearer, more novel or more relevant than anything else, and the frontier stands.

    Args:
        metrics: What ``read_metrics`` returned.
        horizon: Steps to the goal from which on values tell no difference.

    Returns:
        Seed -> steps for which its chosen goals are held, and the share of them that is achieved.
    """
    found = {}
    for seed in np.unique(metrics[SEED]).tolist():
        own = select_seed(metrics, seed)
        success, reach, achieved = (
            curve(own, tag)[1][-ROWS:]
            for tag in ("eval/success_rate", "goal/achievability", "goal/selected_success_rate")
        )
        if min(len(success), len(reach), len(achieved)) == ROWS and success.max() < MISSED:
            steps, share = -float(reach.mean()), float(achieved.mean())
            if steps > FAR * horizon and share > ACHIEVED:
                found[seed] = steps, share
    return found
