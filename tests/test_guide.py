"""The guide for a task of one's own: the README's file and commands, and the notebook, are run as they stand."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from discover_rl.cli import main
from discover_rl.run_folder import load_config
from discover_rl.selectors import Candidates, Estimate

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own task in 40 lines")[1].split("\n## ")[0]
CODE, COMMANDS = (re.search(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL) for kind in ("python", "bash"))
SELECTOR = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[1]
SMALL = ["num_timesteps=1500", "num_envs=6", "learning_starts=360", "gradient_steps=4", "eval_episodes=3"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert CODE is not None
    (tmp_path / "my_task.py").write_text(CODE[1])
    yield tmp_path
    sys.modules.pop("my_task", None)


def test_it_is_40_lines():
    assert CODE is not None
    assert len(CODE[1].strip().splitlines()) <= 40


def test_the_commands_of_the_readme_run_in_a_folder_with_nothing_but_the_file(here, capsys):
    assert COMMANDS is not None
    commands = [line.split()[1:] for line in COMMANDS[1].strip().splitlines()]
    assert [command[0] for command in commands] == ["check-env", "train", "train", "train"]
    for command in commands:
        main([*command, *(SMALL if command[0] == "train" else [])])
    out = capsys.readouterr().out
    assert "my_task:TwoRooms keeps the contract" in out
    assert out.count("success on the target: ") == 3
    configs = [load_config(path) for path in sorted((here / "runs").iterdir())]
    assert sorted(config.selector.name for config in configs) == ["discover", "her", "mega"]
    assert {(config.env.id, config.goal_space.name) for config in configs} == {("my_task:TwoRooms", "my_task:Place")}


def test_the_selector_of_the_readme_chooses_goals_about_so_far_away_and_trains(here, capsys):
    (here / "my_selector.py").write_text(SELECTOR)
    command = next(part.split()[1:] for part in re.findall(r"`([^`]*)`", SECTION) if "selector.steps=30" in part)
    main([*command, *SMALL, "run_dir=run"])
    assert "success on the target: " in capsys.readouterr().out
    selector = load_config(here / "run").selector
    assert (selector.name, selector.steps) == ("my_selector:AboutSteps", 30)
    away = torch.arange(100.0)
    candidates = Candidates(torch.zeros(100, 2), torch.ones(100, dtype=torch.bool), Estimate(-away, away))
    module = sys.modules.pop("my_selector")
    choice = module.AboutSteps(steps=42).select(None, candidates, 1, torch.Generator())
    assert choice.index.tolist() == [42]


def test_the_notebook_runs_from_the_first_cell_to_the_last(monkeypatch):
    monkeypatch.setenv("OWN_TASK_STEPS", "5760")
    notebook = nbformat.read(ROOT / "notebooks" / "own_task.ipynb", as_version=4)
    NotebookClient(notebook, timeout=200).execute()
    made = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in made if output.get("name") == "stdout")
    assert all(name in text for name in ("discover [", "mega [", "her ["))
    assert sum("image/png" in output.get("data", {}) for output in made) == 1
