"""The report of runs on texts: what was practised when, what was expected, several curricula."""

import json
import re

import numpy as np
import pytest

from discover_rl.cli import main
from discover_rl.present_text import text_runs, write_text_report
from discover_rl.report import MetricsWriter
from discover_rl.report.practice import GROUPS, PRACTICE, TEXT_CONFIG, PracticeLog, Practised, TaskGroup, read_practice
from discover_rl.text.curriculum import CurriculumConfig, TextCurriculum
from discover_rl.text.embed import Words
from discover_rl.text.policy import Policy
from discover_rl.text.rewards import Verified
from discover_rl.text.tasks import Task
from discover_rl.text.ttc import TextTrainer
from discover_rl.text.ttc_config import TTCConfig

pytest.importorskip("plotly", reason="plotly is not installed: pip install 'discover-rl[report]'")
KINDS = [TaskGroup("addition 3", 40, 0.8), TaskGroup("addition 1", 40, 0.5), TaskGroup("spelling", 60, 0.1)]


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of a run of ten batches of two tasks, as ``discover-rl ttc`` writes it."""

    def make(name, curriculum="discover", seed=0, kinds=KINDS, steps=10, **changes):
        run_dir = tmp_path / name
        run_dir.mkdir(parents=True)
        config = {"curriculum": curriculum, "seed": seed, "steps": 10, "batch_size": 2, "attempts": 4, "minutes": 0.0}
        (run_dir / TEXT_CONFIG).write_text(
            json.dumps({**config, "corpus": f"{name}/corpus.jsonl", "lr": 1e-5, **changes})
        )
        log = PracticeLog(run_dir, kinds)
        with MetricsWriter(run_dir, [seed]) as writer:
            writer.write(0, {"eval/success_rate": 0.0, "eval/success_rate_greedy": 0.0})
            for step in range(1, steps + 1):
                row = {"goal/alpha": 0.5 - step / 30, "text/mixed_groups": 0.5, "rollout/reward": step / 10}
                if step % 5 == 0:
                    row |= {"eval/success_rate": step / 20 + seed / 50, "eval/success_rate_greedy": step / 10}
                writer.write(step * 8, row | {"time/time_elapsed": 6.0 * step})
                kind = kinds[max(0, len(kinds) - 1 - step // 4)].name
                log.write(
                    step * 8, [Practised(f"t{step}{i}", kind, step / 10, 0.1, (step + i) / 11, True) for i in (0, 1)]
                )
        return run_dir

    return make


def figures(path):
    return dict(re.findall(r'Plotly\.newPlot\(\s*"([^"]+)",\s*(\[.*?\]),\s*\{"', path.read_text(), re.DOTALL))


def test_the_verb_writes_one_page_about_several_curricula(folder, tmp_path, capsys):
    for seed in (0, 1):
        folder(f"runs/discover-{seed}", seed=seed)
        folder(f"runs/uniform-{seed}", "uniform", seed)
    main(["report", str(tmp_path / "runs"), "--title", "Practice <b>"])
    out, said = capsys.readouterr()
    assert said == "" and "report.html" in out
    path = tmp_path / "runs" / "report.html"
    text = path.read_text()
    assert "<h1>Practice &lt;b&gt;</h1>" in text
    assert "4 runs, 2 curricula" in text
    assert list(figures(path)) == ["targets-0", "practice", "calibration", "numbers-0"]
    assert "addition 3 \\u00b7 40" in text or "addition 3 · 40" in text
    cells = re.search(r"<td>discover</td>(.*?)</tr>", text)
    assert cells is not None
    found = re.findall(r"<td>(.*?)</td>", cells[1])
    assert found[:5] == ["2", "80", "0.00 (0.00-0.00)", "0.26 (0.25-0.26)", "0.51 (0.50-0.52)"]


def test_what_was_practised_is_what_is_drawn(folder, tmp_path):
    runs, _ = text_runs([folder("a")])
    write_text_report(runs, tmp_path / "a.html")
    practice = figures(tmp_path / "a.html")["practice"]
    traces = json.loads(practice)
    assert [trace["type"] for trace in traces] == ["heatmap", "heatmap"]
    assert traces[0]["y"] == ["addition 3 · 40", "addition 1 · 40", "spelling · 60"]


def test_runs_that_differ_in_more_than_their_seed_are_told_apart(folder, tmp_path):
    for name, changes in (
        ("a", {}),
        ("b", {"seed": 1}),
        ("c", {"lr": 2e-5}),
        ("d", {"corpus": "elsewhere/corpus.jsonl"}),
    ):
        folder(name, **changes)
    runs, warnings = text_runs([tmp_path])
    assert warnings == []
    write_text_report(runs, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "4 runs, 2 curricula" in text  # files count by their names, not by their places
    assert "<td>discover (lr=1e-05)</td><td>3</td>" in text and "<td>discover (lr=2e-05)</td><td>1</td>" in text


def test_old_folders_unfinished_runs_and_other_corpora(folder, tmp_path):
    old = folder("old")
    (old / PRACTICE).unlink()
    (old / GROUPS).unlink()
    write_text_report(text_runs([old])[0], tmp_path / "old.html")
    assert list(figures(tmp_path / "old.html")) == ["targets-0", "numbers-0"]
    cut = folder("cut", "uniform", steps=5)
    assert text_runs([cut])[1] == [f"{cut} is not finished: 40 of 80 attempts"]
    folder("other", "sift")
    folder("other2", "sift", seed=1, kinds=KINDS[:2])
    runs, _ = text_runs([tmp_path / "other", tmp_path / "other2"])
    (warning,) = write_text_report(runs, tmp_path / "other.html")
    assert warning == "sift: its runs had corpora with different kinds of tasks; their practice is not shown"
    broken = folder("broken")
    (broken / PRACTICE).write_text("nothing\n")
    assert "left out:" in text_runs([broken])[1][0]


def test_a_browser_opens_it_without_a_complaint(folder, tmp_path, browser):
    for seed in (0, 1):
        folder(f"runs/discover-{seed}", seed=seed)
        folder(f"runs/uniform-{seed}", "uniform", seed)
    write_text_report(text_runs([tmp_path / "runs"])[0], tmp_path / "report.html")
    with browser(tmp_path / "report.html") as (tab, trouble):
        tab.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 8")
        assert tab.locator(".js-plotly-plot").count() == 4
        maps = """document.getElementById('practice')._fullData.map(trace => Array.from(trace.z).map(
                  row => Array.from(row).filter(value => value > 0).reduce((a, b) => a + b, 0)))"""
        shares = tab.evaluate(maps)[0]
        assert sum(shares) == pytest.approx(10)  # ten stretches, all of whose practice has its place
        assert shares == pytest.approx([3, 4, 3])
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1300
        assert trouble == []


def test_the_trainer_writes_what_it_practises(tiny, corpus, targets, tmp_path):
    """Cut off and gone on, the lists are those of the whole run."""

    def trainer(steps):
        model, tokenizer = tiny()
        config = TTCConfig(batch_size=4, attempts=2, max_new_tokens=2, steps=steps, eval_interval=9, save_interval=1)
        policy = Policy(model, tokenizer, max_new_tokens=2, template="{prompt}=")
        chooser = TextCurriculum(corpus, targets, None, Words(), CurriculumConfig(batch_size=4))
        return TextTrainer(config, policy, chooser, Verified(), [Task("x", "1+1", "2")])

    trainer(3).run(tmp_path / "whole", False)
    trainer(2).run(tmp_path / "parts", False)
    with (tmp_path / "parts" / PRACTICE).open("a") as file:
        file.write("24,lost,x,0.5,0.1,0.5,1\n")
    trainer(3).run(tmp_path / "parts", True)
    assert (tmp_path / "parts" / PRACTICE).read_text() == (tmp_path / "whole" / PRACTICE).read_text()
    found = read_practice(tmp_path / "whole")
    assert found is not None and len(found.attempts) == 12
    assert sum(group.tasks for group in found.groups) == len(corpus)
    assert ((found.rate >= 0) & (found.rate <= 1)).all() and (found.group >= 0).all()
    write_text_report(text_runs([tmp_path / "whole"])[0], tmp_path / "report.html")
    assert "practice" in figures(tmp_path / "report.html")
    assert np.unique(found.attempts).tolist() == [8, 16, 24]
