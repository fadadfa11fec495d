"""The notebooks run from the first cell to the last, on data made here."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from discover_rl.report.rows import Curve, Group, write_rows

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def outputs(monkeypatch):
    """Runs a notebook where it lies, with ``MAZE_ROWS``; returns its texts and the number of its pictures."""

    def run(name, rows=""):
        monkeypatch.setenv("MAZE_ROWS", str(rows))
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        made = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        complaints = [output["text"] for output in made if output.get("name") == "stderr"]
        assert all(text.startswith("discover ") and text.count("\n") == 1 for text in complaints)  # lines of progress
        data = [output.get("data", {}) for output in made]
        texts = [output.get("text", "") for output in made] + [item.get("text/markdown", "") for item in data]
        return "".join(texts), sum("image/png" in item for item in data)

    return run


def test_the_maze_table_shows_table_and_curves(tmp_path, outputs):
    steps = np.arange(1, 11) * 32_000.0
    curves = [
        Curve(
            Group(maze, selector, "aaaa"),
            seed,
            steps,
            np.clip((steps / 32e4 + seed / 9 - 1) * reach, 0, 1),
            steps / 1e4,
        )
        for maze in ("rand_2d_10h", "generated-6d-r4")
        for selector, reach in (("discover", 2.0), ("her", 0.0))
        for seed in range(3)
    ]
    write_rows(tmp_path / "rows.csv", curves)
    text, pictures = outputs("maze_table.ipynb", tmp_path / "rows.csv")
    assert "| rand_2d_10h | discover | 3 | 0.32 |" in text
    assert "| generated-6d-r4 | her | 3 | 0.32 | ∞; ∞; 0/3 |" in text
    assert pictures == 1


def test_without_rows_the_maze_table_says_how_to_make_them(tmp_path, outputs):
    path = tmp_path / "none.csv"
    assert outputs("maze_table.ipynb", path) == (
        f"{path} holds no rows yet: make them with the two commands above.\n",
        0,
    )


def test_quickstart_trains_looks_and_evaluates(outputs):
    text, pictures = outputs("quickstart.ipynb")
    assert "curriculum.safetensors" in text
    success = re.search(r"seed 0: (\d+)% of the episodes reach the target", text)
    assert success and int(success[1]) >= 90
    assert pictures == 1


def test_compare_shows_the_statistics_of_stored_rows(outputs):
    text, pictures = outputs("compare.ipynb")
    assert "9 seeds of 3 lines" in text
    assert "| u | her | 3 | 0.26 | ∞; ∞; 0/3 |" in text
    assert "P(discover better)" in text
    assert pictures == 2


def test_a_curriculum_for_own_prompts_is_explained_and_beats_uniform(outputs):
    text, pictures = outputs("own_prompts.ipynb")
    assert re.search(r"1\. What is \d{4} \+ \d{4}\?", text)  # nearest to the targets, for nothing else is known
    skills = dict(re.findall(r"^(\w+) +([\d.]+) digits$", text, re.M))
    assert float(skills["discover"]) > float(skills["uniform"])
    assert pictures == 1


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
