"""The command line as a person types it: what it prints, what it writes, how it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from discover_rl.cli import main
from discover_rl.cli.main import VERBS
from discover_rl.report import read_metrics
from discover_rl.run_folder import CHECKPOINT, CONFIG, METRICS, MODEL, VERSIONS, load_config


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, and the arguments of the process as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    return tmp_path


@pytest.fixture
def fails(here, capsys):
    """Runs a command that must fail; returns its only line on stderr but for the progress."""

    def run(*arguments, code=2):
        with pytest.raises(SystemExit) as info:
            main(arguments)
        output = capsys.readouterr()
        assert info.value.code == code
        assert "Traceback" not in output.err + output.out
        *progress, sentence = output.err.splitlines()
        assert all(line.startswith("discover ") for line in progress), output.err
        assert sentence.startswith("discover-rl: ")
        return sentence.removeprefix("discover-rl: ")

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]], ids=str)
def test_help_shows_verbs_and_examples(capsys, arguments):
    main(arguments)
    out = capsys.readouterr().out
    assert out.startswith("discover-rl: agents that set their own intermediate goals")
    for word in ("train [GROUP=OPTION ...]", "eval RUN_DIR", "examples:", "--cfg job"):
        assert word in out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_helps(capsys, verb):
    try:
        main([verb, "--help"])
    except SystemExit as stop:  # argparse and Hydra end so
        assert not stop.code
    out = capsys.readouterr().out
    assert f"discover-rl {verb}" in out
    assert "example" in out


def test_an_unknown_verb_is_said(fails):
    allowed = "train, eval, table, compare, report, bench, check-env, curriculum, ttc"
    assert fails("trian") == f"unknown verb 'trian'; did you mean 'train'?; allowed: {allowed}"


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("num_env=4", "unknown key num_env; did you mean 'num_envs'?; allowed: env, selector"),
        ("agent.gama=0.9", "unknown key agent.gama; did you mean 'gamma'?; allowed under agent: name, hidden_sizes"),
        ("seed.x=1", "unknown key seed.x; allowed under seed: nothing: it is a value"),
        ("selector=discovr", "selector is 'discovr'; did you mean 'discover'?; allowed: achievability_novelty, "),
        (
            "env=point_maze/spirall",
            "env is 'point_maze/spirall'; did you mean 'point_maze/spiral'?; allowed: ant_maze, arm, ",
        ),
        ("agent=ppo", "agent is 'ppo'; allowed: dqn, random, td3, zero"),
        (
            "experiment=papers",
            "experiment is 'papers'; did you mean 'paper'?; allowed: ant, ant_big_square_sparse, ",
        ),
        ("seeds=many", "seeds is 'many'; it must be a whole number"),
        ("agent.gamma=x", "agent.gamma is 'x'; it must be a number"),
        ("env.layout=[a,b]", "env.layout is ['a', 'b']; it must be text"),
        ("env.layout='#####\n#S..#\n#####'", "layout 'rows': 3 rows, and row 0 has 5 characters"),
        ("env.layout=null", "env.layout is null; it must have a value"),
        ("selector.standardise=maybe", "selector.standardise is 'maybe'; it must be true or false"),
        ("agent.hidden_sizes=256", "agent.hidden_sizes must be a list, e.g. agent.hidden_sizes=[64,64]"),
        ("seed=0,1", "seed=0,1: one value, or a list in brackets; several runs: discover-rl train -m seed=0,1"),
        ("seeds=0", "seeds must be at least 1, got 0"),
        ("num_timesteps=inf", "num_timesteps must be finite, got inf"),
        ("agent.gamma=1", "agent.gamma must lie strictly between 0 and 1, got 1.0"),
        ("env.layout=spirall", "unknown layout 'spirall'; did you mean 'spiral'?"),
        ("env.layout=no/such.npz", "layout file 'no/such.npz' does not exist; give a path to a .npz or .txt file"),
        ("gradient_steps=5", "gradient_steps=5 must be a multiple of agent.policy_delay=2"),
        ("device=cuda", "device=cuda but torch sees no CUDA device; use device=cpu"),
        ("resume=nowhere", "resume is 'nowhere'; allowed: auto, never, or the folder of a run"),
        (
            "resume=no/where",
            "no/where: there is no such folder; give the folder of a run, as train names it at its end",
        ),
        (f"seed={2**63}", f"seed + seeds must be at most 2**63, got seed={2**63}, seeds=1"),
        ("run_dir=file", "cannot write into the folder file: it is a file; choose another folder"),
        ("run_dir=file/x", "cannot write into the folder file/x: Not a directory; choose another folder"),
        ("quickstart", "'quickstart' is not an option; write KEY=VALUE, e.g. seeds=4"),
        ("seeds=[1", "seeds=[1 cannot be read; close brackets and quotes, and quote what is special: 'seeds=\"...\"'"),
        ("run_dir=~/zz", f"run_dir=~/zz cannot be read; ~ is not expanded there; write run_dir={Path.home()}/zz"),
        ("--multirunx", "train: unrecognized arguments: --multirunx; options: -m, --cfg job, --from RUN_DIR, --help"),
        ("--cfg=jobb", "train: argument --cfg/-c: invalid choice: 'jobb' (choose from "),
        (
            "env=../own/my_task:TwoRooms",
            "a module is named as for import, not by its file; write my_task:TwoRooms and set PYTHONPATH=../own, or",
        ),
    ],
)
def test_a_mistake_in_what_is_trained_is_said_in_one_sentence(fails, here, argument, sentence, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("file").touch()
    said = fails("train", argument)
    assert sentence in said
    assert list(here.glob("runs/*/*")) == []


@pytest.mark.parametrize(("folder", "looked"), [(None, "layouts"), ("elsewhere", "elsewhere")])
def test_a_published_layout_that_is_missing_is_said_with_the_variable_that_names_its_folder(
    fails, here, monkeypatch, folder, looked
):
    monkeypatch.delenv("DISCOVER_LAYOUTS", raising=False)
    if folder is not None:
        monkeypatch.setenv("DISCOVER_LAYOUTS", folder)
    said = fails("train", "experiment=maze_2d")
    assert f"layout file '{looked}/rand_2d_10h.npz' does not exist; copy rand_2d_10h.npz from the published" in said
    assert said.endswith(f"variable DISCOVER_LAYOUTS, which is {'not set' if folder is None else repr(folder)}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "runs"), "cannot use runs: Permission denied"),
        (FileExistsError(17, "File exists", "runs"), "cannot use runs: it is a file, not a folder"),
        (OSError(28, "cannot write a.csv: No space left on device"), "cannot write a.csv: No space left on device"),
        (FileNotFoundError("x does not exist"), "x does not exist"),
    ],
    ids=str,
)
def test_failures_of_the_operating_system_are_said_without_their_numbers(fails, monkeypatch, error, said):
    def run(_):
        raise error

    monkeypatch.setattr("discover_rl.cli.table.run", run)
    assert fails("table", "runs") == said


def test_the_resolved_configuration_is_shown_without_training(here, capsys):
    main(["train", "--cfg", "job", "selector=mega", "env=point_maze/4d", "seeds=3"])
    shown = DictConfig(OmegaConf.create(capsys.readouterr().out))
    assert (shown.selector.name, shown.env.dim, shown.seeds) == ("mega", 4, 3)
    assert "hydra" not in shown
    assert list(here.iterdir()) == []


def test_training_says_where_everything_is_and_it_is_there(here, capsys, tiny_arguments, monkeypatch):
    main(["train", *tiny_arguments, "seeds=2", "selector=mega"])
    out = capsys.readouterr().out
    (run_dir,) = Path("runs").iterdir()
    assert run_dir.name.startswith("point_maze_open-mega-seed0x2-")
    assert "success on the target: 0% (mean of 2 seeds)" in out
    assert f"tensorboard --logdir {run_dir}/tensorboard" in out
    assert f"discover-rl eval {run_dir}" in out
    named = {line.split()[-1] for line in out.splitlines() if line.startswith("  ")}
    assert named == {str(run_dir / name) for name in (CHECKPOINT, METRICS, "tensorboard", "curriculum_seed_0.png")}
    files = (CONFIG, VERSIONS, METRICS, MODEL, CHECKPOINT, "curriculum_seed_0.png", "curriculum_seed_1.png")
    for name in files:
        assert (run_dir / name).stat().st_size > 0, name
    assert len(list((run_dir / "tensorboard").glob("seed_*/events*"))) == 2
    assert load_config(run_dir).selector.name == "mega"
    assert read_metrics(run_dir / METRICS)["time/total_timesteps"].tolist() == [48, 48, 96, 96, 144, 144, 192, 192]
    assert [path.name for path in here.iterdir()] == ["runs"]

    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    main(["train", *tiny_arguments, "seeds=2", "selector=mega", "num_timesteps=200"])  # the same, a little longer
    assert f"going on from {run_dir}\n" in capsys.readouterr().out
    assert read_metrics(run_dir / METRICS)["time/total_timesteps"][-1] == 240

    main(["eval", str(run_dir), "eval_episodes=4", "device=cpu", "seed=3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["seed", "success_rate", "success_rate_at_end"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1"]
    assert all(len(line.split()) == len(lines[0].split()) for line in lines)


@pytest.mark.parametrize(
    ("settings", "held", "whose", "remedies"),
    [
        (
            [],
            {0: (100.0, 0.5), 1: (120.0, 0.7)},
            "seeds 0, 1",
            "agent.n_steps=5 or agent.target_critics=1 or agent.relative_gradients=true or a larger agent.gamma",
        ),
        (
            ["agent.target_critics=1"],
            {0: (100.0, 0.5), 1: (120.0, 0.7)},
            "seeds 0, 1",
            "agent.n_steps=5 or agent.relative_gradients=true or a larger agent.gamma",
        ),
        (
            ["agent.target_critics=1", "agent.relative_gradients=true", "agent.n_steps=3"],
            {2: (110.0, 0.6)},
            "seed 2",
            "a larger agent.gamma",
        ),
        (
            ["agent.hindsight_slack=4", "agent.target_critics=1", "agent.relative_gradients=true", "agent.n_steps=3"],
            {2: (110.0, 0.6)},
            "seed 2",
            "agent.hindsight_slack=1 agent.hindsight_confidence=0.5 or a larger agent.gamma",
        ),
        (
            ["agent.target_critics=1", "agent.relative_gradients=true", "agent.n_steps=3", "env=point_maze_mujoco"],
            {2: (110.0, 0.6)},
            "seed 2",
            "prior=RUN_DIR of a simpler body in the same maze or a larger agent.gamma",
        ),
        (
            ["agent.target_critics=1", "agent.n_steps=3", "env=point_maze_mujoco", "selector=mega"],
            {2: (110.0, 0.6)},
            "seed 2",
            "agent.relative_gradients=true or a larger agent.gamma",
        ),
    ],
    ids=["defaults", "one critic", "one seed", "slack", "a body", "a body, no relevance"],
)
def test_training_hints_at_values_that_end(here, capsys, tiny_arguments, monkeypatch, settings, held, whose, remedies):
    """What the hint looks at is tested in tests/report/test_hints.py."""
    horizons = []

    def found(metrics, horizon):
        horizons.append(horizon)
        return held

    monkeypatch.setattr("discover_rl.report.hints.held_too_far", found)
    main(["train", *tiny_arguments, "seeds=3", "agent.gamma=0.97", *settings])
    out = capsys.readouterr().out
    assert horizons == [pytest.approx(151.2, abs=0.1)]
    assert out.splitlines()[-1] == (
        f"hint: {whose}: 60% of the chosen goals are achieved, but held for 110 steps away on average, and from 151 "
        f"on values tell no difference: what lies beyond looks neither near nor novel. Try {remedies}, "
        "or, with a body that can fall, a smaller agent.learning_rate"
    )


def test_what_is_there_is_not_trained_again(here, capsys, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    main(["train", *tiny_arguments, "num_timesteps=48"])
    (run_dir,) = Path("runs").iterdir()
    capsys.readouterr()
    main(["train", *tiny_arguments, "num_timesteps=48"])
    said = f"there already: {run_dir} (discover-rl eval {run_dir}); another seed= trains another one, resume=never the "
    assert capsys.readouterr().out == f"{said}same again, a larger num_timesteps goes on\n"
    (run_dir / "checkpoint.safetensors").unlink()
    main(["train", *tiny_arguments, "num_timesteps=48"])
    assert capsys.readouterr().out == f"{said}same again\n"
    assert list(Path("runs").iterdir()) == [run_dir]
    main(["train", *tiny_arguments, "num_timesteps=48", "resume=never"])
    assert sorted(Path("runs").iterdir()) == [run_dir, run_dir.with_name(f"{run_dir.name}-2")]
    capsys.readouterr()
    for _ in range(2):
        main(["train", "--from", str(run_dir), "run_dir=with space"])
    out = capsys.readouterr().out
    assert "--logdir 'with space/tensorboard'" in out and "again: discover-rl eval 'with space'\n" in out
    assert "there already: with space (discover-rl eval 'with space')" in out
    assert not Path("with space-2").exists()


@pytest.mark.parametrize(("verb", "unbuffered"), [("train", "1"), ("eval", ""), ("", "1")])
def test_who_has_seen_enough_hears_no_complaint(here, verb, unbuffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "discover_rl", *verb.split(), "--help"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(command, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=True)
    os.close(write)
    assert ended.stderr == ""


def test_a_broken_pipe_to_a_process_of_ours_is_no_success(fails, monkeypatch):
    def run(_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("discover_rl.cli.table.run", run)
    assert "Broken pipe" in fails("table", "runs")


def test_training_that_cannot_learn_says_so(here, capsys, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    main(["train", *tiny_arguments, "num_timesteps=48", "learning_starts=48"])
    said = "warning: learning_starts=48 is not below num_timesteps=48, so no update will be made; lower it, or train"
    assert said in capsys.readouterr().err


def test_several_trainings_in_one_command(here, capsys, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    main(["train", *tiny_arguments, "-m", "num_timesteps=48", "seed=0,1"])  # options may stand anywhere
    assert len({path.name.split("-seed")[1][0] for path in Path("runs").iterdir()}) == 2
    assert capsys.readouterr().out.count("success on the target") == 2
    assert [path.name for path in here.iterdir()] == ["runs"]


def test_a_sweep_over_what_a_pattern_matches(here, capsys, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    main(["train", *tiny_arguments, "-m", "num_timesteps=48", "selector=glob([mega,her])"])
    assert {path.name.split("-")[1] for path in Path("runs").iterdir()} == {"mega", "her"}
    assert capsys.readouterr().out.count("success on the target") == 2


def test_what_is_typed_for_several_runs_is_said_as_a_shell_wants_it(fails):
    assert fails("train", "selector=glob(m*)").endswith("several runs: discover-rl train -m 'selector=glob(m*)'")


def test_a_job_that_fails_in_a_sweep_is_named(here, capsys, tiny_arguments, monkeypatch):
    monkeypatch.setattr("discover_rl.train.Trainer._save_pictures", lambda *_: None)
    with pytest.raises(SystemExit):
        main(["train", "-m", *tiny_arguments, "num_timesteps=48", "target=[1.0],[2.0,2.0]"])
    output = capsys.readouterr()
    assert "target=[1.0]: target: the goal space has 2 coordinates" in output.err.splitlines()[-1]
    assert output.out.count("success on the target") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["selector=discover,bogus"], "selector is 'bogus'; allowed: achievability_novelty, discover"),
        (["seed=0,1", "foo=3"], "unknown key foo; allowed: env, selector"),
        (
            ["seed=0,1", "agent.gamma=0.9,2"],
            "job seed=0 agent.gamma=2: agent.gamma must lie strictly between 0 and 1, got 2.0",
        ),
        (
            ["num_candidates=1000,4", "num_envs=4,8", "seed=0"],  # each value alone would do
            "job num_candidates=4 num_envs=8: num_candidates=4 is less than num_envs=8",
        ),
        (["seed=range(0,2)", "agent.gamma=x"], "agent.gamma is 'x'; it must be a number"),
        (["seed=0,1", "foo"], "'foo' is not an option; write KEY=VALUE"),
        (["seed=0,[1"], "seed=0,[1 cannot be read"),
        (
            ["selector=glob(meg)"],
            "selector=glob(meg) matches nothing; it chooses among achievability_novelty, discover",
        ),
        (
            ["env=glob(point_maze/*)"],
            "env=glob(point_maze/*) matches nothing; it chooses among ant_maze, arm, bit_flip",
        ),
        (["seed=glob(*)"], "seed=glob(*) matches nothing; it chooses among the options of a group; or list what you"),
        (["selector=glob([mega,her])", "agent.gamma=2"], "job selector=her: agent.gamma must lie strictly between"),
    ],
)
def test_a_mistake_anywhere_in_a_sweep_is_said_before_the_first_job(fails, here, arguments, sentence):
    assert sentence in fails("train", "-m", *arguments)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("env=Pendulum-v1", "a Gymnasium environment is written env=gymnasium env.id=Pendulum-v1"),
        ("env=my_task.TwoRooms", "one of your own is written env=package.module:Class"),
        ("selector=my_selector.AboutSteps", "one of your own is written selector=package.module:Class"),
        ("goal_space=my_task.Place", "one of your own is written goal_space=package.module:Class"),
        ("agent=sac", "allowed: dqn, random, td3, zero"),
    ],
)
def test_how_something_else_than_an_option_is_written_is_said(fails, option, advice):
    assert fails("train", option).endswith(f"; {advice}")


def test_a_recipe_that_does_not_go_with_the_agent_is_said(fails):
    said = fails("train", "experiment=quickstart", "agent=dqn")
    assert said.startswith("experiment=quickstart sets agent.actor_critics, which your choice of agent does not have;")


def test_numbers_that_are_not_finite_end_the_command_with_a_sentence(fails, tiny_arguments, here):
    said = fails("train", *tiny_arguments, "agent.learning_rate=1e30", "run_dir=run")
    assert "is not finite in the run of seed 0 after" in said
    assert "lower agent.learning_rate" in said
    assert not (here / "run" / CHECKPOINT).exists()


def test_ctrl_c_says_how_to_go_on(fails, tiny_arguments, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("discover_rl.train.Trainer.train_round", interrupt)
    said = fails("train", *tiny_arguments, code=130)
    assert said == "interrupted; the same command goes on from the last checkpoint"


def test_a_bug_keeps_its_traceback(here, monkeypatch):
    monkeypatch.setattr("discover_rl.evaluate.evaluate_run", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["eval", "runs/x"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give the folder of a run: discover-rl eval RUN_DIR [eval_episodes=N] [device=NAME] [seed=N]"),
        (["--episodes"], "give the folder of a run"),
        (["nowhere"], "nowhere: there is no such folder; give the folder of a run, as train names it at its end"),
        (["nowhere", "episodes=3"], "unknown key 'episodes'; allowed: eval_episodes, device, seed"),
        (["nowhere", "eval_episodes=many"], "eval_episodes must be of type int, got 'many'"),
        (["--video", "eval_episodes=2", "nowhere", "seed=many"], "seed must be of type int, got 'many'"),
        (["nowhere", "seed"], "seed must be of type int, got ''"),
    ],
    ids=range(7),
)
def test_a_mistake_in_what_is_evaluated_is_said(fails, arguments, sentence):
    assert fails("eval", *arguments).startswith(sentence)


def test_a_damaged_model_is_said(fails, here, tiny):
    from discover_rl.train import train

    train(tiny(1), here / "run")
    for option, sentence in (("device=abacus", "device is 'abacus'"), ("seed=-1", "seed must not be negative, got -1")):
        assert sentence in fails("eval", "run", option)
    (here / "run" / MODEL).write_bytes(b"nothing")
    assert "model.safetensors: the file is damaged" in fails("eval", "run", "device=cpu")


def test_the_installed_command_fails_with_one_line_and_code_2(tmp_path):
    script = Path(sys.executable).with_name("discover-rl")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [script, "train", "selector=discovr"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "discovr" in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-c", "job", "--resolve"]])
def test_a_mistake_beside_a_printing_flag_gets_the_same_sentence(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *flags, "agent=td4"])
    assert stop.value.code == 2
    assert "did you mean 'td3'" in capsys.readouterr().err
