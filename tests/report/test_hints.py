"""Hints from the metrics of a run."""

import numpy as np
import pytest
import torch

from discover_rl.agents.agent import value_horizon, value_in_steps
from discover_rl.report.hints import ROWS, held_too_far


def metrics(reach=-700.0, achieved=0.9, success=0.0, rows=2 * ROWS, seeds=(3, 8)):
    """Two seeds in alternate rows; success is evaluated in every other row of a seed, the first seed has it all."""
    table = {name: np.full(rows * len(seeds), np.nan) for name in ("eval/success_rate", "goal/achievability")}
    table["goal/selected_success_rate"] = np.full(rows * len(seeds), achieved)
    table["goal/achievability"][:] = reach
    table["eval/success_rate"][:] = success
    table["eval/success_rate"][:: 2 * len(seeds)] = np.nan
    table["eval/success_rate"][1 :: 2 * len(seeds)] = np.nan
    table["seed"] = np.tile(seeds, rows)
    table["time/total_timesteps"] = np.repeat(np.arange(rows), len(seeds))
    return table


def test_a_run_whose_achieved_goals_are_held_for_far_is_told():
    assert held_too_far(metrics(), 918.0) == {
        3: (pytest.approx(700.0), pytest.approx(0.9)),
        8: (pytest.approx(700.0), pytest.approx(0.9)),
    }


@pytest.mark.parametrize(
    "sound",
    [{"reach": -400.0}, {"achieved": 0.1}, {"success": 0.2}, {"reach": np.nan}, {"rows": 2 * ROWS - 2}],
    ids=str,
)
def test_a_run_is_not_told_that_is_near_or_misses_its_goals_or_arrives_or_is_young(sound):
    assert held_too_far(metrics(**sound), 918.0) == {}


def test_only_the_last_rows_count_and_each_seed_for_itself():
    table = metrics()
    table["goal/achievability"][: -2 * ROWS] = -10.0
    table["eval/success_rate"][-2] = 0.5  # of the first seed
    assert set(held_too_far(table, 918.0)) == {8}


@pytest.mark.parametrize("terminal", [True, False])
def test_values_end_at_the_horizon(terminal):
    worthless = -value_in_steps(torch.zeros(1), 0.995, terminal)
    assert value_horizon(0.995, terminal) == pytest.approx(float(worthless), rel=1e-5)
    assert value_horizon(0.995, True) == pytest.approx(918.7, abs=0.1)
    assert value_horizon(0.99, True) < value_horizon(0.995, terminal)
