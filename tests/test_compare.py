"""The verb ``compare``: what is missing is trained, what is there is left alone, whatever happens in between."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from discover_rl.checkpoint import CheckpointError, load_checkpoint
from discover_rl.cli import compare as verb
from discover_rl.cli import main
from discover_rl.compare import PLAN, RUNS, Outcome, Plan, load_plan, save_plan
from discover_rl.run_folder import CHECKPOINT, METRICS, claimed, load_config
from discover_rl.train import Trainer

CLOCK = ("time/fps", "time/time_elapsed")
WRITE_REPORT = verb._write_report


@pytest.fixture
def settings(tiny_arguments, tmp_path):
    """Settings of all runs, tiny, and the folder."""
    shared = [argument for argument in tiny_arguments if not argument.startswith("env=")]
    return [*shared, "seeds=2", f"folder={tmp_path / 'here'}"]


@pytest.fixture
def compare(monkeypatch, capsys, settings):
    """Runs the verb without pictures and report; returns the cells that were trained, and what was printed."""
    monkeypatch.setattr(Trainer, "_save_pictures", lambda *_: None)
    monkeypatch.setattr(verb, "_write_report", lambda *_: [])

    def run(*arguments):
        main(["compare", *arguments, *settings])
        out = capsys.readouterr().out
        return [line.split("] ")[1] for line in out.splitlines() if line.startswith("[") and "/" in line[:5]], out

    return run


@pytest.fixture
def fails(compare, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as info:
            compare(*arguments)
        assert info.value.code == 2
        return capsys.readouterr().err.splitlines()[-1].removeprefix("discover-rl: ")

    return run


def curves_of(run_dir):
    """The text of metrics.csv without the columns that the clock fills."""
    with (run_dir / METRICS).open() as file:
        return [{key: value for key, value in row.items() if key not in CLOCK} for row in csv.DictReader(file)]


def test_what_is_missing_is_trained_and_what_is_there_is_skipped(compare, tmp_path):
    folder = tmp_path / "here"
    trained, out = compare("envs=[point_maze/open]", "selectors=[discover,her]")
    cells = ["point_maze_open-discover", "point_maze_open-her"]
    assert trained == cells
    assert sorted(path.name for path in (folder / RUNS).iterdir()) == cells
    assert "The budget is the same for all." in out
    assert compare("envs=[point_maze/open]", "selectors=[discover,her]")[0] == []

    written = {path: path.stat().st_mtime_ns for path in (folder / RUNS).glob(f"*/{CHECKPOINT}")}
    grown, _ = compare("envs=[point_maze/u]", "selectors=[discover]")  # a row of the plan, not a cell
    assert grown == ["point_maze_u-discover", "point_maze_u-her"]
    assert len(written) == 2 and {path: path.stat().st_mtime_ns for path in written} == written

    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["environment"], row["selector"], row["seeds"]) for row in rows] == [
        (maze, selector, "2") for maze in ("open", "u") for selector in ("discover", "her")
    ]
    assert {row["steps_max"] for row in rows} == {"192"}
    table, latex = (folder / "table.md").read_text(), (folder / "table.tex").read_text()
    assert table.count("∞; ∞; 0/2") + table.count("/2 |") >= 4
    assert "P(discover better)" in table and "still to come" not in table
    assert r"\begin{tabular}" in latex
    with (folder / "methods.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"discover", "her"}


def test_interrupted_in_the_middle_of_a_run_it_goes_on_and_ends_the_same(
    compare, settings, monkeypatch, capsys, tmp_path
):
    arguments = ["envs=[point_maze/open]", "selectors=[her,random]", "save_interval=1", "eval_interval=1"]
    train_round = Trainer.train_round

    def interrupted(self):
        if self.selector.name == "random" and self.rounds == 2:
            raise KeyboardInterrupt
        train_round(self)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Trainer, "train_round", interrupted)
        compare(*arguments)
    capsys.readouterr()
    first = (tmp_path / "here" / RUNS / "point_maze_open-her" / CHECKPOINT).stat().st_mtime_ns
    trained, _ = compare(*arguments)
    assert trained == ["point_maze_open-random, going on from its checkpoint"]
    killed = tmp_path / "here" / RUNS
    assert (killed / "point_maze_open-her" / CHECKPOINT).stat().st_mtime_ns == first
    settings[-1] = f"folder={tmp_path / 'through'}"
    compare(*arguments[:1], "selectors=[random]", *arguments[2:])
    through = tmp_path / "through" / RUNS
    assert curves_of(killed / "point_maze_open-random") == curves_of(through / "point_maze_open-random")


def test_the_folder_alone_goes_on(compare, settings, capsys, tmp_path):
    plan = Plan("env", ("point_maze/open",), ("her",), tuple(settings[:-1]))
    save_plan(tmp_path / "here", plan)
    main(["compare", settings[-1]])
    assert "[1/1] point_maze_open-her" in capsys.readouterr().out
    assert load_plan(tmp_path / "here") == plan


@pytest.mark.parametrize(
    ("more", "tasks", "selectors"),
    [
        ("selectors=[mega]", ("point_maze/open",), ("her", "mega")),
        ("envs=[point_maze/u]", ("point_maze/open", "point_maze/u"), ("her",)),
    ],
)
def test_the_folder_grows_by_what_is_new_alone(settings, monkeypatch, tmp_path, more, tasks, selectors):
    monkeypatch.setattr("discover_rl.compare.run_plan", lambda *_: Outcome())
    save_plan(tmp_path / "here", Plan("env", ("point_maze/open",), ("her",), tuple(settings[:-1])))
    main(["compare", settings[-1], more, "num_threads=1"])
    assert load_plan(tmp_path / "here") == Plan("env", tasks, selectors, (*settings[:-1], "num_threads=1"))


def test_the_folder_goes_on_on_another_machine_and_with_nothing_else_changed(settings, compare, capsys, tmp_path):
    plan = Plan("env", ("point_maze/open",), ("her",), ("device=cuda", *settings[:-1]))
    save_plan(tmp_path / "here", plan)
    main(["compare", settings[-1], "device=cpu"])
    assert "[1/1] point_maze_open-her" in capsys.readouterr().out
    stored = load_plan(tmp_path / "here")
    assert stored is not None and stored.settings[-1] == "device=cpu"
    with pytest.raises(SystemExit):
        main(["compare", settings[-1], "seeds=3"])
    assert "'seeds=3' cannot be changed in a comparison that is there" in capsys.readouterr().err


def test_a_run_that_fails_spoils_no_other(compare, fails, monkeypatch, tmp_path):
    learn = Trainer.learn

    def out_of_memory(self):
        if self.selector.name == "discover":
            raise RuntimeError("out of\nmemory")
        learn(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "learn", out_of_memory)
        said = fails("envs=[point_maze/open]", "selectors=[discover,her]")
    assert said == (
        "1 of 2 runs failed: point_maze_open-discover: RuntimeError: out of memory; the same command tries them again"
    )
    assert "Not complete: point_maze_open-discover still to come." in (tmp_path / "here" / "table.md").read_text()
    assert compare("envs=[point_maze/open]", "selectors=[discover,her]")[0] == ["point_maze_open-discover"]
    assert "still to come" not in (tmp_path / "here" / "table.md").read_text()


def test_recipes_can_be_the_tasks(compare, tmp_path):
    trained, _ = compare("experiments=[quickstart]", "selectors=[her]")
    assert trained == ["quickstart-her"]
    assert "stop_success: 0.0" in (tmp_path / "here" / RUNS / "quickstart-her" / "config.yaml").read_text()


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_ends_the_same(settings, tmp_path):
    """A real process, killed while its second run trains; nothing is run twice, nothing differs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    axes = ["envs=[point_maze/open]", "selectors=[her,random]", "save_interval=1", "eval_interval=1"]

    def start(folder):
        arguments = [*axes, *settings[:-1], "num_timesteps=480", f"folder={folder}"]
        command = [sys.executable, "-m", "discover_rl", "compare", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    through, killed = tmp_path / "through", tmp_path / "killed"
    process = start(killed)
    checkpoint = killed / RUNS / "point_maze_open-random" / CHECKPOINT
    try:
        until = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert checkpoint.exists()
    first = (killed / RUNS / "point_maze_open-her" / CHECKPOINT).stat().st_mtime_ns
    process = start(killed)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert "point_maze_open-her\n" not in out.split("budget")[0]  # skipped
    assert (killed / RUNS / "point_maze_open-her" / CHECKPOINT).stat().st_mtime_ns == first
    assert start(through).wait(200) == 0
    for cell in ("point_maze_open-her", "point_maze_open-random"):
        assert curves_of(killed / RUNS / cell) == curves_of(through / RUNS / cell)
    assert len(curves_of(killed / RUNS / "point_maze_open-random")) == 2 * 10


def test_what_another_process_trains_is_left_to_it_and_taken_over_when_that_ends(compare, tmp_path):
    arguments = ["envs=[point_maze/open]", "selectors=[her,random]"]
    with claimed(tmp_path / "here" / RUNS / "point_maze_open-her"):
        trained, out = compare(*arguments)
        assert trained == ["point_maze_open-random"]
        assert "1 runs trained, 0 there already; another process is training point_maze_open-her" in out
        assert "point_maze_open-her still to come" in (tmp_path / "here" / "table.md").read_text()
    assert compare(*arguments)[0] == ["point_maze_open-her"]


def test_after_each_run_it_looks_again_for_what_a_dead_process_has_left(compare, monkeypatch, tmp_path):
    claim = claimed(tmp_path / "here" / RUNS / "point_maze_open-her")
    train_round, held = Trainer.train_round, [claim]

    def ends_meanwhile(self):
        if held:
            held.pop().__exit__(None, None, None)
        train_round(self)

    claim.__enter__()
    monkeypatch.setattr(Trainer, "train_round", ends_meanwhile)
    trained, _ = compare("envs=[point_maze/open]", "selectors=[her,random]")
    assert trained == ["point_maze_open-random", "point_maze_open-her"]


def test_processes_may_differ_in_their_machine_alone(compare, fails):
    compare("envs=[point_maze/open]", "selectors=[her]")
    assert compare("envs=[point_maze/open]", "selectors=[random]", "num_threads=1")[0] == ["point_maze_open-random"]
    said = fails("envs=[point_maze/open]", "selectors=[random]", "tf32=false")
    assert "holds another comparison: it was made with the settings [" in said


def test_a_finished_run_keeps_little_and_says_so(compare, tmp_path):
    compare("envs=[point_maze/open]", "selectors=[her]")
    run_dir = tmp_path / "here" / RUNS / "point_maze_open-her"
    tensors, note = load_checkpoint(run_dir / CHECKPOINT, torch.device("cpu"))
    assert tensors == {} and note["num_timesteps"] == 192
    main(["eval", str(run_dir), "device=cpu"])
    with pytest.raises(CheckpointError, match="finished with keep_checkpoint=false"):
        Trainer(load_config(run_dir)).restore(run_dir / CHECKPOINT)
    compare("envs=[point_maze/open]", "selectors=[random]", "keep_checkpoint=true")
    tensors, _ = load_checkpoint(tmp_path / "here" / RUNS / "point_maze_open-random" / CHECKPOINT, torch.device("cpu"))
    assert tensors["buffer/rows"].numel()


@pytest.fixture
def cut_off(compare, monkeypatch, capsys, tmp_path):
    """A comparison of which the second run was cut off after its first evaluation; returns the folder."""
    train_round = Trainer.train_round

    def interrupted(self):
        if self.selector.name == "random" and self.rounds == 3:
            raise KeyboardInterrupt
        train_round(self)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Trainer, "train_round", interrupted)
        compare("envs=[point_maze/open]", "selectors=[her,random,uniform]")
    capsys.readouterr()
    return tmp_path / "here"


def test_tables_of_what_is_there_say_what_is_not_finished(cut_off, compare, settings, capsys, monkeypatch):
    monkeypatch.setattr(verb, "_write_report", WRITE_REPORT)
    before = {path: path.stat().st_mtime_ns for path in cut_off.glob(f"{RUNS}/**/*") if path.is_file()}
    main(["compare", settings[-1], "--tables"])
    out, said = capsys.readouterr()
    assert {path: path.stat().st_mtime_ns for path in cut_off.glob(f"{RUNS}/**/*") if path.is_file()} == before
    table = (cut_off / "table.md").read_text()
    line = next(line for line in table.splitlines() if line.startswith("| open | random"))
    assert "| 2 | 9.6e-05 of 0.00019 | " in line
    assert "Not finished: random on open." in table and "Not finished: random on open." in out
    assert "Not complete: point_maze_open-uniform still to come." in table
    assert "point_maze_open-random is not finished: 96 of 192 steps" in said
    assert (cut_off / "report.html").stat().st_size > 0
    with (cut_off / "summary.csv").open() as file:
        finished = {row["selector"]: (row["steps_max"], row["finished"]) for row in csv.DictReader(file)}
    assert finished == {"her": ("192", "1"), "random": ("96", "0")}
    with (cut_off / "methods.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"her"}  # nothing unfinished among the scores

    main(["table", str(cut_off / "rows.csv")])  # the rows remember it
    assert "Not finished: random on open." in capsys.readouterr().out
    compare("envs=[point_maze/open]", "selectors=[her,random,uniform]")
    assert "Not finished" not in (cut_off / "table.md").read_text()
    assert "random" in (cut_off / "methods.csv").read_text()


def test_tables_need_nothing_but_metrics_and_configuration(cut_off, settings, capsys):
    for path in [*cut_off.glob(f"{RUNS}/*/*.safetensors"), *cut_off.glob(f"{RUNS}/*/versions.json")]:
        path.unlink()
    main(["compare", settings[-1], "--tables"])
    assert "Not finished: random on open." in capsys.readouterr().out


def test_the_tables_want_a_folder_and_nothing_else(fails, tmp_path, capsys):
    assert "give nothing but folder=DIR beside it" in fails("--tables", "envs=[point_maze/u]", "selectors=[her]")
    with pytest.raises(SystemExit):
        main(["compare", f"folder={tmp_path / 'no'}", "--tables"])
    assert "holds no comparison yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_maze_file_may_lie_elsewhere_but_not_change(compare, fails, tmp_path, monkeypatch):
    maze = "#####\n#...#\n#.S.#\n#..G#\n#####\n"
    (tmp_path / "maze.txt").write_text(maze)
    arguments = ["envs=[point_maze/open]", "selectors=[her]"]
    compare(*arguments, f"env.layout={tmp_path / 'maze.txt'}")
    (tmp_path / "maze.txt").write_text(maze.replace("#..G#", "#G..#"))
    assert "was made with another env.layout (" in fails(*arguments, f"env.layout={tmp_path / 'maze.txt'}")
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "maze.txt").write_text(maze)
    plan = tmp_path / "here" / PLAN
    plan.write_text(plan.read_text().replace(str(tmp_path / "maze.txt"), str(tmp_path / "moved" / "maze.txt")))
    assert compare(*arguments, f"env.layout={tmp_path / 'moved' / 'maze.txt'}")[0] == []


@pytest.mark.slow
def test_two_processes_share_the_runs_and_one_outlives_the_other(settings, tmp_path):
    """Both are at work at once; one is killed in the middle of a run, which the other takes over."""
    axes = ["envs=[point_maze/open]", "selectors=[her,random,uniform,mega]", "save_interval=1", "eval_interval=1"]
    arguments = [*axes, *settings[:-1], "num_timesteps=960", f"folder={tmp_path / 'here'}"]

    def start(log):
        command = [sys.executable, "-m", "discover_rl", "compare", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.DEVNULL, text=True)

    with (tmp_path / "victim").open("w") as one, (tmp_path / "heir").open("w") as two:
        victim, heir = start(one), start(two)
        until = time.monotonic() + 120
        try:  # a run whose checkpoint is there and that is not done
            while time.monotonic() < until and victim.poll() is None:
                begun = (tmp_path / "victim").read_text().splitlines()
                name = begun[-1].split("] ")[1] if begun else ""
                if name and (tmp_path / "here" / RUNS / name / CHECKPOINT).exists():
                    break
                time.sleep(0.002)
        finally:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        assert heir.wait(200) == 0
    taken = [line.split("] ")[1] for line in (tmp_path / "heir").read_text().splitlines() if line.startswith("[")]
    own = [line.split("] ")[1] for line in (tmp_path / "victim").read_text().splitlines() if line.startswith("[")]
    assert f"{own[-1]}, going on from its checkpoint" in taken
    cells = [f"point_maze_open-{name}" for name in ("her", "random", "uniform", "mega")]
    assert sorted([*own[:-1], *(name.split(",")[0] for name in taken)]) == sorted(cells)  # nothing twice
    for cell in cells:
        assert len(curves_of(tmp_path / "here" / RUNS / cell)) == 2 * 20
    assert "Not finished" not in (tmp_path / "here" / "table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["selectors=[her]"], "give envs=[...] or experiments=[...], one of the two, and selectors=[...]"),
        (["envs=[point_maze/u]"], "give envs=[...] or experiments=[...]"),
        (["envs=[point_maze/u]", "experiments=[maze]", "selectors=[her]"], "one of the two"),
        (["envs=[]", "selectors=[her]"], "envs must name at least one, none twice; got []"),
        (["envs=[point_maze/u]", "selectors=[her,her]"], "selectors must name at least one, none twice; got [her,her]"),
        (["envs=[point_maze/u]", "selectors=[megaa]"], "selector is 'megaa'; did you mean 'mega'?"),
        (["envs=[point_maze/v]", "selectors=[her]"], "env is 'point_maze/v'"),
        (["envs=[point_maze/u]", "selectors=[her]", "agent.gama=1"], "unknown key agent.gama"),
        (["envs=[point_maze/u]", "selectors=[her]", "stop_success=0.9"], "so that all runs have the same budget"),
        (["envs=[point_maze/u]", "selectors=[her]", "max_time=60"], "max_time is set by the comparison itself"),
        (["envs=[point_maze/u]", "selectors=[her]", "run_dir=x"], "run_dir is set by the comparison itself"),
        (["envs=[point_maze/u]", "selectors=[her", "seed=1"], "selectors=[her cannot be read; close brackets"),
        (["envs=a,b", "selectors=[her]"], "compare: envs=a,b: write envs=[a,b]"),
        (["envs=[point_maze/u]", "selectors=[her]", "seed=0,1"], "compare: seed=0,1: all runs share one value"),
        (["selector", "envs=[point_maze/u]"], "'selector' is not an option; did you mean 'selectors'?"),
    ],
    ids=str,
)
def test_a_mistake_is_said_in_one_sentence_before_anything_is_trained(fails, tmp_path, arguments, sentence):
    assert sentence in fails(*arguments)
    assert not (tmp_path / "here" / RUNS).exists()
    assert not (tmp_path / "here" / PLAN).exists()


def test_other_settings_want_another_folder(compare, fails):
    compare("envs=[point_maze/open]", "selectors=[her]")
    assert "holds another comparison: it was made with the settings [" in fails(
        "envs=[point_maze/open]", "selectors=[mega]", "agent.gamma=0.9"
    )
    assert "the tasks there are envs, not experiments" in fails("experiments=[quickstart]", "selectors=[her]")


def test_a_run_that_has_lost_its_metrics_is_said(compare, fails, tmp_path):
    compare("envs=[point_maze/open]", "selectors=[her]")
    (tmp_path / "here" / RUNS / "point_maze_open-her" / METRICS).unlink()
    said = fails("envs=[point_maze/open]", "selectors=[her]")
    assert said.endswith("-her was trained to its end and has lost its metrics.csv; remove it to train it again")


def test_a_run_made_with_another_recipe_is_said(compare, fails, settings, tmp_path):
    compare("envs=[point_maze/open]", "selectors=[her]")
    path = tmp_path / "here" / RUNS / "point_maze_open-her" / "config.yaml"
    path.write_text(path.read_text().replace("batch_size: 16", "batch_size: 17"))
    assert "was made with another batch_size (17 there, 16 here), by" in fails(
        "envs=[point_maze/open]", "selectors=[her]"
    )


def test_a_plan_of_another_format_is_refused(fails, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / PLAN).write_text("format_version: 99\n")
    assert "is not a plan of format version 1" in fails("envs=[point_maze/open]", "selectors=[her]")
