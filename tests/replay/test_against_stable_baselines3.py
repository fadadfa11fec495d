"""Our `future` relabelling against Stable-Baselines3's: the same pairs (t, time of the goal), equally often."""

import types
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer

from discover_rl.config import HindsightConfig
from discover_rl.goals import BoxGoals
from discover_rl.replay import ReplayBuffer, RowLayout, sample_batch, steps_to_end

TIME, DRAWS = 8, 20_000
ENDS = (2, 7)  # last transitions of two episodes, of 3 and 5 steps


def pairs_of_stable_baselines3():
    box = spaces.Box(-np.inf, np.inf, (1,))
    parts = ("observation", "achieved_goal", "desired_goal")
    env = types.SimpleNamespace(env_method=lambda name, achieved, *rest, indices: [np.zeros(len(achieved))])
    her = HerReplayBuffer(TIME, spaces.Dict(dict.fromkeys(parts, box)), box, cast(Any, env), "cpu", n_sampled_goal=4)
    for t in range(TIME):
        now, following = ({part: np.array([[x]], dtype=np.float32) for part in parts} for x in (t, t + 1))
        her.add(now, following, np.zeros((1, 1)), np.zeros(1), np.array([t in ENDS]), [{}])
    np.random.seed(0)  # noqa: NPY002 - the generator it draws from
    drawn = her.sample(DRAWS).observations
    virtual = slice(DRAWS // 5, None)  # one of five keeps its goal; those stand first
    return torch.cat([drawn["observation"], drawn["desired_goal"]], dim=1)[virtual].long()


def our_pairs():
    ours = ReplayBuffer(1, 1, TIME, TIME, RowLayout(1, 1, 1), torch.device("cpu"))
    t = torch.arange(TIME).float().view(1, TIME, 1, 1)
    to_end = steps_to_end(torch.tensor([[t in ENDS] for t in range(TIME)])[None])[..., None]
    ours.add(torch.cat([t, 0 * t, t + 1, 0 * t, 0 * t, to_end], dim=-1))
    config, seed = HindsightConfig(future=1.0, random=0.0), torch.Generator().manual_seed(0)
    batch = sample_batch(ours, DRAWS * 4 // 5, BoxGoals([0], 0.5), torch.zeros(1, 1, 1), config, True, seed)
    return torch.cat([batch.observation[0], batch.goal[0]], dim=1).long()


def test_the_same_pairs_of_transition_and_goal_occur_equally_often():
    theirs, ours = (
        torch.bincount(p[:, 0] * (TIME + 1) + p[:, 1], minlength=(TIME + 1) ** 2).double()
        for p in (pairs_of_stable_baselines3(), our_pairs())
    )
    assert torch.equal(theirs > 0, ours > 0)
    assert (ours > 0).sum() == 3 + 2 + 1 + 5 + 4 + 3 + 2 + 1
    # two samples of equal size: the sum of (a - b)²/(a + b) is chi-square with 20 degrees of freedom, deviation 6.3
    assert ((theirs - ours).square() / (theirs + ours).clamp_min(1)).sum() < 20 + 5 * 6.3
