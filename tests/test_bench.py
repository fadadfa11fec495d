"""The bench: that its table is whole, its floors are counted right, and its rivals do the same work."""

import csv
import dataclasses
import json
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch.utils.flop_counter import FlopCounterMode

from discover_rl.agents import TD3, TD3Config
from discover_rl.agents.td3_update import Minibatches, PlainUpdate, make_networks, prepare
from discover_rl.bench import SECTIONS
from discover_rl.bench.floors import Shape, choice_work, env_step_work, update_work
from discover_rl.bench.main import pick_sizes
from discover_rl.bench.rivals import LoopUpdate, MazeRules, PlainMaze, as_modules, make_sb3
from discover_rl.bench.rows import Bench, dimensions, env_rows, goal_rows, training_rows, update_rows
from discover_rl.bench.table import Figure, Printer, Row, as_mapping, format_rate, format_ratio
from discover_rl.bench.timing import Ceilings, Clock, is_out_of_memory
from discover_rl.build import make_environment
from discover_rl.cli import main
from discover_rl.goals import PlainView
from discover_rl.replay import Batch
from discover_rl.train import Trainer

CPU = torch.device("cpu")
TINY = TD3Config(hidden_sizes=[4, 8], num_critics=3, target_critics=2, actor_critics=2, policy_delay=2)
RATIO = re.compile(r"\d+(\.\d+)?(e-\d+)?x")


def fails(capsys, *arguments, code=2):
    with pytest.raises(SystemExit) as info:
        main(["bench", *arguments])
    assert info.value.code == code
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence.removeprefix("discover-rl: ")


# -- the command ---------------------------------------------------------------------------------------------


def test_the_quick_table_is_whole(capsys, tmp_path, monkeypatch):
    precision = torch.get_float32_matmul_precision()
    monkeypatch.chdir(tmp_path)
    main(["bench", "--quick", "--device", "cpu", "--seconds", "0.01", "--csv", "rows.csv"])
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 120
    assert re.match(r"discover-rl \d\S* on cpu \(.*1 threads\), torch \d\S*, tf32 off", lines[0])
    assert re.match(r"ceilings measured here: .* \d\S*flop/s, .* \d\S*B/s \(read plus written\)", lines[1])
    assert [line.split(":")[0] for line in lines if line.startswith(tuple(f"{name}:" for name in SECTIONS))] == list(
        SECTIONS
    )
    assert "How to read: " in out

    with open("rows.csv") as file:
        rows = list(csv.DictReader(file))
    counts = {name: sum(row["section"] == name for row in rows) for name in SECTIONS}
    assert counts == {"envs": 4, "goals": 2, "updates": 2, "training": 5}
    for row in rows:
        assert float(row["ours"]) > 0
        assert float(row["floor"]) > 0
        (line,) = (line for line in lines if re.match(rf"{re.escape(row['what'])}( \[a\])?  ", line))
        shown = line[len(row["what"]) :].removeprefix(" [a]").split()
        ratios = shown[2::2]
        assert all(RATIO.fullmatch(ratio) for ratio in ratios), line
        assert float(ratios[0][:-1]) == pytest.approx(float(row["ours_per_floor"]), rel=0.06)
        rivals = {"envs": ["loop"], "goals": [], "updates": ["loop"], "training": ["sb3"]}[row["section"]]
        assert len(ratios) == 1 + len(rivals)
        for rival, ratio in zip(rivals, ratios[1:], strict=True):
            assert float(row[f"ours_per_{rival}"]) == pytest.approx(float(row["ours"]) / float(row[rival]))
            assert float(ratio[:-1]) == pytest.approx(float(row[f"ours_per_{rival}"]), rel=0.06)
    assert torch.get_float32_matmul_precision() == precision
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_one_section_as_json(capsys, tmp_path):
    main(["bench", "--quick", "--device", "cpu", "--seconds", "0.001", "--only", "envs", "--csv", f"{tmp_path}/a.json"])
    out = capsys.readouterr().out
    assert "goals:" not in out
    rows = json.loads((tmp_path / "a.json").read_text())
    assert [row["what"] for row in rows] == ["2-D, 64 envs", "2-D, 1,024 envs", "6-D, 64 envs", "6-D, 1,024 envs"]
    assert rows[0]["eager"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--only", "updats"],
            "bench: argument --only: no section 'updats'; did you mean 'updates'?; allowed: envs, goals, updates",
        ),
        (["--seconds", "soon"], "bench: argument --seconds: must be a positive number of seconds, got 'soon'"),
        (["--seconds", "-1"], "bench: argument --seconds: must be a positive number of seconds, got '-1'"),
        (["--device", "abacus"], "device is 'abacus'; allowed: auto, cpu, cuda, cuda:N"),
        (["--device", "mps"], "device is 'mps'; allowed: auto, cpu, cuda, cuda:N"),
        (["--qick"], "bench: unrecognized arguments: --qick"),
        (["--quick", "--device", "cpu", "--csv", "nowhere/rows.csv"], "cannot write nowhere/rows.csv: No such file"),
    ],
    ids=range(7),
)
def test_a_mistake_gets_one_sentence(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in fails(capsys, *arguments)


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as info:
        main(["bench", "--help"])
    assert info.value.code == 0
    out = capsys.readouterr().out
    assert "example: discover-rl bench --only updates,training --csv bench.csv" in out
    assert "%" not in out


def test_ctrl_c_leaves_the_rows_that_stand(capsys, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("discover_rl.bench.main.measure_ceilings", interrupt)
    said = fails(capsys, "--quick", "--device", "cpu", code=130)
    assert said == "interrupted; the rows above are what was measured"


# -- floors --------------------------------------------------------------------------------------------------


def test_the_work_of_an_update_counted_by_hand():
    shape = Shape((3, 4, 2), (5, 4, 1), num_critics=3, target_critics=2, actor_critics=1, policy_delay=2)
    # multiply-adds a row: actor 12 + 8, critic 20 + 4
    target = 20 + 2 * 24
    critics = 3 * 24 + 3 * 24 + 3 * 4  # forward, gradient by weights, gradient by the hidden layer
    actor = 20 + 24 + (4 + 2 * 4) + 20 + 8  # ..., through the critic to two actions, by weights, by the hidden layer
    work = update_work(shape, batch_size=7)
    assert work.flops == 2 * 7 * (target + critics + actor / 2)
    # parameters: actor 20 + 6, critic 24 + 5
    assert work.bytes == 4 * (6 * 3 * 29 + (6 * 26 + 2 * (26 + 3 * 29)) / 2 + 26 + 2 * 29)


def networks_and_batches(num_runs=2, batch_size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    networks = make_networks(TINY, num_runs, 4, 2, generator)
    lead = (num_runs, 4, batch_size)
    drawn = Batch(
        observation=torch.randn(*lead, 2, generator=generator),
        action=torch.randn(*lead, 2, generator=generator).clamp(-1, 1),
        next_observation=torch.randn(*lead, 2, generator=generator),
        goal=torch.randn(*lead, 2, generator=generator),
        reward=torch.randn(lead, generator=generator).gt(1).float(),
        terminated=torch.randn(lead, generator=generator).gt(1).float(),
        steps=torch.ones(lead),
        steps_to_goal=torch.where(torch.rand(lead, generator=generator) < 0.5, 3.0, torch.inf),
    )
    return networks, prepare(drawn, PlainView(2, 2), TINY, True, generator)


def test_the_plain_update_does_the_arithmetic_of_the_floor():
    networks, minibatches = networks_and_batches()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        PlainUpdate(networks, TINY, 1.0)(minibatches, 0)
    shape = Shape((4, 4, 8, 2), (6, 4, 8, 1), 3, 2, 2, 2)
    by_state = 2 * 16 * 2 * 4 * 4  # it goes through the two critics to observation and goal too
    assert counter.get_total_flops() == 2 * (2 * update_work(shape, 16).flops + by_state)


def test_the_other_floors_counted_by_hand():
    shape = Shape((3, 4, 2), (5, 4, 1), 3, 2, 1, 2)
    assert choice_work(shape, 10, 9) == (2 * 10 * 2 * (20 + 3 * 24), 4 * (10 * 9 + 26 + 3 * 29))
    assert env_step_work(2) == (18, 18)
    assert Ceilings(flops=9.0, bytes=6.0).seconds(env_step_work(2)) == 3
    assert Ceilings(flops=6.0, bytes=9.0).seconds(env_step_work(2)) == 3


# -- rivals --------------------------------------------------------------------------------------------------


def test_the_python_loop_computes_the_plain_update():
    networks, minibatches = networks_and_batches()
    looped = LoopUpdate(networks, TINY, 1.0)
    start = {name: getattr(networks, name).clone() for name in ("actor", "critics", "target_actor", "target_critics")}
    plain = PlainUpdate(networks, TINY, 1.0)
    for first in (0, 2):
        for way in (plain, looped):
            with torch.no_grad():
                way(Minibatches(*(field.clone() for field in minibatches)), first)
    for name, before in start.items():
        net = networks.actor_net if "actor" in name else networks.critic_net
        for run, learner in enumerate(looped.learners):
            parts = [
                torch.cat([p.flatten() for p in modules.parameters()])
                for modules in (
                    as_modules(net, before[run]),
                    as_modules(net, getattr(networks, name)[run]),
                    getattr(learner, name),
                )
            ]
            way, distance = (parts[1] - parts[0]).norm(), (parts[1] - parts[2]).norm()
            assert way > 0
            assert distance < 1e-3 * way, name


@pytest.fixture(scope="module")
def maze():
    from discover_rl.cli.composing import composed

    config = composed(["env=point_maze/2d"])
    return make_environment(config.env, 32, CPU, 3)


def test_the_plain_maze_is_a_gymnasium_environment(maze):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(PlainMaze(MazeRules.of(maze)), skip_render_check=True)


def test_the_plain_maze_steps_as_ours(maze):
    rules = MazeRules.of(maze)
    mazes = [PlainMaze(rules) for _ in range(maze.num_envs)]
    position, cancelled = maze.reset().numpy(), 0
    for i, plain in enumerate(mazes):
        plain.reset(seed=i)
        plain.position = position[i].copy()
    draw = np.random.default_rng(0)
    for t in range(rules.max_episode_steps):
        action = draw.uniform(-1.5, 1.5, position.shape).astype(np.float32)
        following = maze.step(torch.from_numpy(action)).observation
        rewards = maze.goal_space.success(following, maze.targets()).float().numpy()
        for i, plain in enumerate(mazes):
            before = plain.position
            observation, reward, terminated, truncated, info = plain.step(action[i])
            np.testing.assert_array_equal(observation["observation"], following[i].numpy())
            np.testing.assert_array_equal(observation["achieved_goal"], following[i].numpy())
            np.testing.assert_array_equal(observation["desired_goal"], maze.targets()[i].numpy())
            assert (reward, terminated, truncated) == (rewards[i], False, t == rules.max_episode_steps - 1)
            assert info == {"is_success": reward > 0}
            cancelled += before is plain.position
    assert 0 < cancelled < 32 * rules.max_episode_steps


def test_the_plain_maze_rewards_the_target(maze):
    plain = PlainMaze(MazeRules.of(maze))
    target, near = plain.rules.target, plain.rules.target + np.array([0.49, 0], dtype=np.float32)
    achieved = np.stack([target, near, target + 0.51])
    assert plain.compute_reward(achieved, np.stack([target] * 3), [{}] * 3).tolist() == [1, 1, 0]


def test_stable_baselines3_updates_as_often_per_step(maze, bench):
    pytest.importorskip("stable_baselines3")
    config = bench.config(num_envs=4, gradient_steps=50, batch_size=8)
    model = make_sb3(config, MazeRules.of(maze), CPU)
    model.learn(400)
    assert model._n_updates == 0
    model.learn(80, reset_num_timesteps=False)
    assert model._n_updates == 10  # 50 in 4 x 100 steps
    assert len(model.critic.q_networks) == config.agent.num_critics


# -- rows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bench():
    from discover_rl.cli.composing import composed

    config = composed(["env=point_maze/2d"])
    sizes = dataclasses.replace(
        pick_sizes(CPU, config, quick=True),
        networks=((8, 8),),
        num_envs=(4,),
        num_candidates=80,
        choosing_runs=(2,),
        batch_sizes=(16,),
        updating_runs=(2,),
        training_runs=(2,),
    )
    return Bench({"2-D": config.env}, config, Clock(CPU, 1e-4), Ceilings(1e9, 1e9), sizes)


def test_the_columns_of_cuda(bench, monkeypatch, capsys):
    monkeypatch.setattr(Bench, "on_cuda", True)  # nothing is captured where there is no CUDA
    from discover_rl.bench.main import _print_section

    printer = Printer()
    rivals = {"envs": ("eager", "loop"), "goals": ("eager",), "updates": ("graph", "eager", "loop")}
    for name, names in rivals.items():
        (row,) = _print_section(SECTIONS[name], bench, printer)
        assert set(row.rivals) == set(names)
        assert all(figure.rate for figure in row.rivals.values())
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 120
        head = lines[2].split()
        assert head == ["ours", "floor", "/floor", *(part for rival in names for part in (rival, f"/{rival}"))]
        assert len(lines[4].removeprefix(row.what).split()) == len(head)


@pytest.mark.parametrize("section", [env_rows, goal_rows, update_rows, training_rows])
def test_a_row_without_memory_says_so_and_the_bench_goes_on(bench, section, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("no")

    for name in ("env_steps", "filled_trainer", "training_rounds"):
        monkeypatch.setattr(f"discover_rl.bench.rows.{name}", fail)
    rows = list(section(bench))
    assert rows
    assert {row.ours for row in rows} == {Figure(None, "out of memory")}
    assert all(row.floor > 0 for row in rows)


def test_other_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        Clock(CPU, 0.01).figure(lambda: (_ for _ in ()).throw(RuntimeError("a bug")), 1)
    chained = RuntimeError("the capture failed")
    chained.__context__ = torch.OutOfMemoryError()
    assert is_out_of_memory(chained)
    assert not is_out_of_memory(RuntimeError("the capture failed"))


def test_what_would_take_too_long_is_left_out():
    figure = Clock(CPU, 0.01, patience=2.0).figure(lambda: pytest.fail("built"), 1, floor_seconds=1)
    assert figure == Figure(None, "left out: one call would take some 3 s or more")


@pytest.mark.parametrize(("seconds", "calls"), [(0.002, 3 + 5 * 10), (0.3, 2 + 4), (2.0, 2 + 1)])
def test_the_clock_leaves_warm_ups_out(monkeypatch, seconds, calls):
    now, taken = [0.0], []

    def work():
        taken.append(10 * seconds if len(taken) < 2 else seconds)
        now[0] += taken[-1]

    monkeypatch.setattr("discover_rl.bench.timing.time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert Clock(CPU, 0.1 if seconds < 0.1 else 1.0).seconds_per_call(work, warmups=2) == pytest.approx(seconds)
    assert len(taken) == calls


def test_the_dimensions_are_those_of_the_agent(bench):
    config = bench.config(num_envs=2, num_candidates=4, learning_starts=0)
    shape, width = dimensions(config)
    trainer = Trainer(config)
    assert isinstance(trainer.agent, TD3)
    networks = trainer.agent.networks
    assert (shape.actor, shape.critic) == (networks.actor_net.sizes, networks.critic_net.sizes)
    assert width == trainer.layout.width


# -- how it looks --------------------------------------------------------------------------------------------


def test_numbers_in_the_table():
    rates = {0.12345: "0.123", 1: "1.00", 9.999: "10.0", 99.96: "100", 999.6: "1.00k", 12_345: "12.3k", 3.2e13: "32.0T"}
    assert {rate: format_rate(rate) for rate in rates} == rates
    ratios = {0.000123: "0.00012x", 0.7: "0.70x", 1: "1.0x", 9.96: "10x", 45.4: "45x", 123: "120x", 12_345: "12000x"}
    assert {ratio: format_ratio(ratio) for ratio in ratios} == ratios


def test_notes_are_marked_and_said_once(capsys):
    printer = Printer()
    printer.begin("title", ["loop"])
    missing = Figure(None, "out of memory")
    for what in "ab":
        printer.row(Row("envs", what, "steps", missing, 2.0, {"loop": Figure(3.0, "special")}))
    printer.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == ["a", "-", "[a]", "2.00", "-", "3.00", "[b]", "-"]
    assert lines[6:] == ["  [a] out of memory", "  [b] special"]


def test_a_row_as_a_mapping():
    row = Row("envs", "x", "steps", Figure(6.0), 12.0, {"loop": Figure(None, "slow"), "sb3": Figure(3.0)}, "small")
    mapping = as_mapping(row)
    assert {key: value for key, value in mapping.items() if value is not None} == {
        "section": "envs",
        "what": "x",
        "unit": "steps",
        "ours": 6.0,
        "floor": 12.0,
        "ours_per_floor": 0.5,
        "sb3": 3.0,
        "ours_per_sb3": 2.0,
        "note": "small; loop: slow",
    }
    half = row.scaled("y", "parts", 0.5, 1.0)
    assert (half.ours.rate, half.floor, half.rivals["sb3"].rate, half.ratio("sb3")) == (3.0, 6.0, 3.0, 1.0)
