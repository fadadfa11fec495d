"""Typical sizes of the numbers that an environment observes, by which networks see them divided."""

import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from discover_rl.adapters.flat_goals import OBSERVATION, FlatGoals

WIDEST = 1e6  # bounds beyond it say nothing: Gymnasium writes 3.4e38 for unbounded speeds
PROBED_STEPS = 300
PROBED_EPISODE = 50
SPAN = 4.0  # what networks see of a bounded coordinate: numbers up to this
LEAST = 0.125  # of a measured size: a coordinate that random actions hardly move may move much more later


def observation_scales(env: FlatGoals) -> Float[np.ndarray, "obs"]:
    """A size for each coordinate: an eighth of the distance between its bounds, or what random actions lead to.

    A coordinate without bounds is measured: the root mean square over some hundred steps of random actions, always the
    same ones, as a power of two, so that every start of the same training finds the same number.

    Args:
        env: One copy; it is reset and stepped here if a coordinate has no bounds.
    """
    space = env.observation_space[OBSERVATION]  # type: ignore[index]
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    bounded = (np.abs(low) < WIDEST) & (np.abs(high) < WIDEST) & (low < high)
    scales = np.ones(len(low))
    scales[bounded] = (high - low)[bounded] / (2 * SPAN)
    if not bounded.all():
        scales[~bounded] = measured_scales(env)[~bounded]
    return scales.astype(np.float32)


def measured_scales(env: FlatGoals) -> Float[np.ndarray, "obs"]:
    """Root mean squares under random actions, rounded to powers of two; 1 where nothing but 0 was seen."""
    env.action_space.seed(0)
    rows, steps = [env.reset(seed=0)[0][OBSERVATION]], 0
    for step in range(1, PROBED_STEPS + 1):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        rows.append(observation[OBSERVATION])
        steps += 1
        if terminated or truncated or steps == PROBED_EPISODE:
            rows.append(env.reset(seed=step)[0][OBSERVATION])
            steps = 0
    squares = np.square(np.stack(rows).astype(np.float64)).mean(0)
    sizes = np.sqrt(np.where(np.isfinite(squares) & (squares > 0), squares, 1.0))
    return np.exp2(np.round(np.log2(sizes.clip(LEAST))))
