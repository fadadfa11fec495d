"""The verb ``table``: run folders in, one table out, nothing mixed that does not belong together."""

import csv
import dataclasses

import numpy as np
import pytest
import torch

from discover_envs.point_maze import PointMazeConfig
from discover_rl.agents import TD3Config
from discover_rl.cli import main
from discover_rl.collect import collect, environment_name
from discover_rl.config import TrainConfig
from discover_rl.run_folder import CONFIG, METRICS, save_config
from discover_rl.selectors import HER, Discover, Mega

HEAD = "seed,time/total_timesteps,time/time_elapsed,eval/success_rate\n"


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: an evaluation every 1000 steps, with a row without one between; success from ``at`` on."""

    def write(name, at=2000, seeds=2, seed=0, selector=None, env=None, budget=4000.0, last=None, **changes):
        config = TrainConfig(
            env=env or PointMazeConfig(layout="u"),
            selector=selector or Discover(),
            agent=TD3Config(gamma=0.99),
            seeds=seeds,
            seed=seed,
            num_timesteps=float(budget),
        )
        folder = tmp_path / name
        save_config(folder, dataclasses.replace(config, **changes), torch.device("cpu"))
        rows = [
            f"{number},{step},{step / 100},{'' if step % 1000 else float(step >= at + 1000 * number)}\n"
            for step in range(500, int(last or budget) + 1, 500)
            for number in range(seed, seed + seeds)
        ]
        (folder / METRICS).write_text(HEAD + "".join(rows))
        return folder

    return write


@pytest.fixture
def table(capsys):
    """What the verb prints, and its lines on stderr."""

    def run(*arguments):
        main(["table", *map(str, arguments)])
        output = capsys.readouterr()
        return output.out, output.err.splitlines()

    return run


@pytest.fixture
def fails(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as info:
            main(["table", *map(str, arguments)])
        assert info.value.code == 2
        output = capsys.readouterr()
        (sentence,) = output.err.splitlines()
        assert output.out == ""
        return sentence.removeprefix("discover-rl: ")

    return run


def columns(text, name):
    return [line.split() for line in text.splitlines() if line.startswith(f" {name}")]


def test_runs_below_a_folder_become_lines(make, table, tmp_path):
    make("runs/a")
    make("runs/deep/b", seed=2, seeds=1)
    make("runs/c", selector=HER(), at=10**6)
    make("runs/d", env=PointMazeConfig(layout="generated", dim=4, radius=5))
    out, err = table(tmp_path / "runs", tmp_path / "runs" / "a")
    assert err == []
    assert "generated-4d-r5\n discover" in out
    assert "u\n discover" in out
    generated, ours = columns(out, "discover")
    assert ours[0:2] == ["discover", "0.004"]
    assert "3/3/3 of 3 0.50 (0.25) 80 s" in " ".join(ours)  # two processes of 40 s
    assert "2/2/2 of 2" in " ".join(generated)
    assert columns(out, "her") == [["her", "0.004", "∞", "∞", "∞", "0/0/0", "of", "2", "0.00", "(0.00)", "40", "s"]]
    assert "[1]" not in out


def test_the_rows_show_the_same_table_again(make, table, tmp_path):
    make("a")
    make("b", selector=Mega())
    rows, summary = tmp_path / "new" / "rows.csv", tmp_path / "summary.csv"
    first, _ = table(tmp_path, "--rows", rows, "--csv", summary)
    again, err = table(rows)
    assert (again, err) == (first, [])
    assert rows.read_text().count("\n") == 1 + 2 * 2 * 4
    assert str(tmp_path) not in rows.read_text()
    with summary.open() as file:
        assert [row["selector"] for row in csv.DictReader(file)] == ["discover", "mega"]
    other, _ = table(rows, make("c", seed=2))  # more seeds of the same
    assert "of 4" in other
    assert "| u | discover | 2 |" in table(rows, "--markdown")[0]


def test_runs_of_other_settings_have_a_line_of_their_own(make, table, tmp_path):
    make("a")
    make("b", batch_size=64, agent=TD3Config(gamma=0.9))
    make("c", selector=Discover(alpha_max=0.25))
    make("d", selector=HER())
    out, err = table(tmp_path)
    assert err == []
    assert len(columns(out, "discover")) == 3
    legend = [line.split("] ")[1] for line in out.splitlines() if line.startswith("[")]
    # each says what tells it from most; her alone has no alpha, and shares the rest
    assert sorted(legend) == [
        "agent.gamma=0.9, batch_size=64",
        "selector.alpha_max=0.25",
        "the settings that most have",
    ]


def test_where_two_settings_are_as_frequent_both_are_said(make, table, tmp_path):
    make("a")
    make("b", batch_size=64)
    out, _ = table(tmp_path)
    legend = [line.split("] ")[1] for line in out.splitlines() if line.startswith("[")]
    assert sorted(legend) == ["batch_size=256", "batch_size=64"]


def test_what_a_run_may_change_when_it_goes_on_separates_nothing(make, table, tmp_path):
    make("a", budget=4000)
    make("b", seed=2, budget=6000, eval_interval=3, device="cpu", cudagraphs=False)
    out, _ = table(tmp_path)
    assert len(columns(out, "discover")) == 1
    assert "different budgets: u (0.004-0.006 M)" in out


def test_a_layout_file_is_known_by_its_name(make, table, tmp_path):
    make("a", env=PointMazeConfig(layout="layouts/rand_2d_10h.npz"))
    make("b", seed=2, env=PointMazeConfig(layout="elsewhere/rand_2d_10h.npz"))
    out, err = table(tmp_path)
    assert "rand_2d_10h\n discover" in out
    assert "of 4" in out
    (warning,) = err
    assert warning == (
        "discover-rl: warning: env.layout=rand_2d_10h.npz stands for elsewhere/rand_2d_10h.npz and "
        "layouts/rand_2d_10h.npz, taken for the same"
    )


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"name": "point_maze", "layout": "u"}, "u"),
        ({"name": "point_maze", "layout": "C:\\mazes\\mine.txt"}, "mine"),
        ({"name": "point_maze", "layout": "generated", "dim": 6, "radius": 4}, "generated-6d-r4"),
        ({"name": "ant", "layout": ""}, "ant"),
        ({"name": "ant"}, "ant"),
        ({}, "?"),
    ],
    ids=str,
)
def test_the_name_of_an_environment(env, name):
    assert environment_name(env) == name


def test_a_run_of_an_environment_that_is_not_installed_is_shown(make, table):
    folder = make("a")
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace("name: point_maze", "name: ant").replace("layout: u", "torque: 3"))
    assert "ant\n discover" in table(folder)[0]


def test_the_clock_of_a_resumed_run_goes_on(make):
    folder = make("a", seeds=1)
    elapsed = [10, 20, 30, 5, 8, 2]
    rows = [f"0,{step * 1000},{second},0.5\n" for step, second in enumerate(elapsed, start=1)]
    (folder / METRICS).write_text(HEAD + "".join(rows))
    ((curve,), _) = collect([folder])
    np.testing.assert_array_equal(curve.seconds, [10, 20, 30, 35, 38, 40])


def test_a_run_that_is_not_finished_is_said(make, table):
    folder = make("a", budget=8000, last=4000, seeds=1)
    assert table(folder)[1] == [f"discover-rl: warning: {folder} is not finished: 4,000 of 8,000 steps"]
    solved = make("b", budget=8000, last=4000, seeds=1, stop_success=0.9)
    assert table(solved)[1] == []


def test_a_run_that_ended_with_its_time_is_finished(make, table):
    folder = make("a", budget=8000, last=4000, seeds=1, max_time=40.0)
    assert table(folder)[1] == []
    assert table(make("b", budget=8000, last=4000, seeds=1, max_time=41.0))[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "metrics.csv has no evaluation yet"),
        (HEAD[:20], "metrics.csv has no evaluation yet"),
        (HEAD, "metrics.csv has no evaluation yet"),
        (HEAD + "0,500,1.0,\n0,1000,2.0,0.", "metrics.csv has no evaluation yet"),
        (HEAD + "0,500\n", "metrics.csv, line 2: 2 cells under 4 columns"),
        (HEAD + "0,1000,1.0,x\n", "metrics.csv: could not convert string to float: 'x'"),
        ("a,b\n", "metrics.csv is no table of metrics"),
    ],
    ids=range(7),
)
def test_half_written_metrics_are_left_out_with_a_warning(make, table, fails, text, reason):
    good, bad = make("good"), make("bad", seed=2)
    (bad / METRICS).write_text(text)
    out, (warning,) = table(good, bad)
    assert warning.startswith(f"discover-rl: warning: left out: {bad}/")
    assert reason in warning
    assert "of 2" in out
    assert fails(bad).startswith("there is nothing to show; left out: ")


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1\n", "env: {name: u}\n", "env: 3\nselector: her\n", "\xff"], ids=ascii
)
def test_a_damaged_configuration_is_left_out_with_a_warning(make, table, text):
    good, bad = make("good"), make("bad", seed=2)
    (bad / CONFIG).write_text(text, encoding="latin-1")
    out, (warning,) = table(good, bad)
    assert f"left out: {bad / CONFIG} is not " in warning
    assert "of 2" in out


def test_a_mistake_is_said_in_one_sentence(make, fails, tmp_path):
    one, other = make("one"), make("other", seed=1)
    assert fails(tmp_path) == (
        f"seed 1 of discover on u stands twice, in {one} and in {other}; name the runs to count one by one, without "
        "one of the two, or move it elsewhere"
    )
    (tmp_path / "empty").mkdir()
    assert (
        fails(tmp_path / "empty") == f"{tmp_path}/empty holds no run: no folder in it has config.yaml and metrics.csv"
    )
    assert fails(tmp_path / "no").startswith(f"{tmp_path}/no does not exist; give run folders")
    assert "is no table of rows, as table --rows writes it" in fails(one / METRICS)
    (tmp_path / "rows.npz").write_bytes(b"PK\xfb")
    assert fails(tmp_path / "rows.npz") == (
        f"{tmp_path}/rows.npz is no table of rows, as table --rows writes it: it is not text"
    )
    assert fails(one, "--csv", tmp_path) == f"cannot write {tmp_path}: it is a folder; name a file"
    assert fails() == "table: the following arguments are required: RUN_DIR"
    assert fails(one, "--markdwn") == "table: unrecognized arguments: --markdwn"
