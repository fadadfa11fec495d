"""Stacked runs never mix, and what a run does follows from its seed alone."""

import pytest

from discover_rl.config import HindsightConfig
from discover_rl.selectors import Discover, Mega
from discover_rl.train import Trainer


def rounds(trainer, count):
    for _ in range(count):
        trainer.train_round()
        trainer.log_row()


@pytest.mark.parametrize("selector", [Discover(), Mega()], ids=lambda s: s.name)
@pytest.mark.parametrize("what", ["rows", "critics", "goals"])
def test_other_data_in_one_run_changes_no_bit_of_the_others(tiny, held, differing, selector, what):
    config = tiny(seeds=3, selector=selector, hindsight=HindsightConfig(0.4, 0.2, 0.3))
    plain, touched = Trainer(config), Trainer(config)
    rounds(plain, 2)
    rounds(touched, 2)
    assert differing(held(plain), held(touched)) == []
    if what == "rows":
        touched.buffer.rows[1] += 0.25
        rounds(touched, 2)
    elif what == "critics":  # values of another size altogether
        touched.agent.parameters()["critics"][1] *= 3
        rounds(touched, 2)
    else:  # other goals commanded in one round
        choose = touched._choose_goals.function

        def choose_others():
            choose()
            touched.round.goals[1] -= 1.0
            touched.round.observation[1] += 0.01

        touched._choose_goals.function = choose_others
        rounds(touched, 1)
        touched._choose_goals.function = choose
        rounds(touched, 1)
    rounds(plain, 2)
    one, other = held(plain), held(touched)
    for run in (0, 2):
        assert differing(one, other, run) == []
    changed = set(differing(one, other, 1))
    assert changed >= {"actor", "critics", "adam/critics/exp_avg", "target_critics", "rows"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny, held, differing):
    first, again, other = Trainer(tiny(seed=3)), Trainer(tiny(seed=3)), Trainer(tiny(seed=4))
    for trainer in (first, again, other):
        rounds(trainer, 2)
    assert differing(held(first), held(again)) == []
    assert {"actor", "critics", "rows", "generator/env", "generator/replay"} <= set(differing(held(first), held(other)))


def test_stacked_runs_differ_from_each_other(tiny, held):
    trainer = Trainer(tiny(seeds=3))
    rounds(trainer, 2)
    for name in ("actor", "critics", "rows"):
        tensor = held(trainer)[name]
        assert not tensor[0].equal(tensor[1])
        assert not tensor[1].equal(tensor[2])


@pytest.mark.parametrize("changes", [{"eval_interval": 1}, {"eval_interval": 5, "log_interval": 5}], ids=str)
def test_how_often_it_is_evaluated_and_logged_changes_nothing_that_is_learned(tiny, held, differing, tmp_path, changes):
    often, seldom = Trainer(tiny(5, eval_interval=3)), Trainer(tiny(5, **changes))
    often.run(tmp_path / "often", False)
    seldom.run(tmp_path / "seldom", False)
    names = differing(held(often), held(seldom))
    assert [name for name in names if not name.startswith(("generator/eval_env", "history/", "maps/"))] == []
    assert "generator/eval_env" in names  # they were evaluated a different number of times
