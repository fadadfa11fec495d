import json
import re
from pathlib import Path

import pytest
import torch

from discover_rl.cli import main
from discover_rl.text.belief import worth_practising
from discover_rl.text.explain import RankConfig, rank
from discover_rl.text.tasks import read_tasks, write_records


@pytest.fixture
def files(tmp_path, corpus, targets, monkeypatch):
    """A corpus and targets as files, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_bytes(write_records(task.record() for task in corpus))
    (tmp_path / "targets.jsonl").write_bytes(write_records(task.record() for task in targets))
    return tmp_path


def test_the_verb_ranks_all_and_says_why(files, capsys, corpus):
    main(["curriculum", "targets=targets.jsonl", "corpus=corpus.jsonl", "top=2", "count=30"])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("70 tasks for 6 targets; achievable, novel and relevant to the targets")
    assert out[1].startswith("no pass rate is known")
    assert out[2].startswith("   1. What is ")
    assert "achievability 0.50 ± 0.35 (not attempted); novelty 0.35, an attempt leaves 0.1" in out[3]
    assert "most like 'What is " in out[3]
    assert out[-1] == "all of them, best first: curriculum.jsonl"
    ranked = [json.loads(line) for line in (files / "curriculum.jsonl").read_text().splitlines()]
    assert [line["curriculum"]["rank"] for line in ranked] == list(range(1, 71))
    assert {line["id"] for line in ranked} == {task.id for task in corpus}
    rest = [line["curriculum"]["score"] for line in ranked[30:]]
    assert rest == sorted(rest, reverse=True)
    again = read_tasks(files / "curriculum.jsonl")  # what any trainer reads, fields and all
    assert again[0].fields["digits"] == 4


def test_the_json_lines_of_the_readme_are_ranked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name, lines in zip(("targets", "corpus"), re.findall(r"```jsonl\n(.*?)```", readme, re.DOTALL), strict=True):
        Path(f"{name}.jsonl").write_text(lines)
    main(["curriculum", "targets=targets.jsonl", "corpus=corpus.jsonl"])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("3 tasks for 1 target; ")
    assert out[0].endswith("; pass rates known of 1")
    assert (
        out[1] == "   1. What is 40 + 7?  [2]"
    )  # a sum of about the size of the target's, at which some attempts fail


def test_reasons_by_hand(files):
    corpus = files / "corpus.jsonl"
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    for line in lines[:5]:
        line |= {"pass_rate": 0.875, "attempts": 8}
    lines.append({**lines[0], "id": "double"})
    corpus.write_bytes(write_records(lines))
    out = rank(RankConfig("targets.jsonl", "corpus.jsonl", count=10))
    assert out[0].startswith("dropped 1 task whose prompt stood there already")
    assert out[1].endswith("pass rates known of 5")
    ranked = {
        why["id"]: why["curriculum"] for why in map(json.loads, Path("curriculum.jsonl").read_text().splitlines())
    }
    seen = ranked[lines[0]["id"]]
    assert seen["achievability"]["attempts"] == 8
    assert 0.6 < seen["achievability"]["pass_rate"] < 0.9
    assert seen["achievability"]["std"] < 0.2 < ranked["word-maze"]["achievability"]["std"]
    assert seen["novelty"]["std_after_attempt"] < seen["novelty"]["std"] <= seen["achievability"]["std"]
    believed = seen["achievability"]
    drawn = torch.normal(believed["pass_rate"], believed["std"], (100_000,), generator=torch.Generator().manual_seed(0))
    per_worth = seen["relevance"]["uplift"] / float(worth_practising(torch.tensor(believed["pass_rate"]), 8))
    expected = float(worth_practising(drawn.clamp(0, 1), 8).std()) * abs(per_worth)
    assert seen["relevance"]["std"] == pytest.approx(expected, rel=0.02, abs=1e-4)  # figures are rounded
    assert abs(ranked["word-maze"]["relevance"]["uplift"]) < 0.02 < 0.1 < ranked["sum4-0-0"]["relevance"]["uplift"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["targets=targets.jsonl"], "corpus is not given; needed are targets=... corpus=..."),
        (["targets=no.jsonl", "corpus=corpus.jsonl"], "no.jsonl: there is no such file"),
        (["corpus"], "'corpus' is not an option; write KEY=VALUE, e.g. targets=..."),
        (["tagets=a"], "unknown key tagets; did you mean 'targets'?; allowed: targets, corpus, curriculum"),
        (["targets=a", "targets=b"], "targets is given twice"),
        (["targets=targets.jsonl", "corpus=corpus.jsonl", "top=0"], "top must be at least 1, got 0"),
        (["targets=targets.jsonl", "corpus=corpus.jsonl", "top=many"], "top is 'many'; it must be a whole number"),
        (
            ["targets=targets.jsonl", "corpus=corpus.jsonl", "curriculum=best"],
            "curriculum is 'best'; allowed: dis",
        ),
        (["targets=targets.jsonl", "corpus=corpus.jsonl", "curriculum=oracle"], "practises the targets' own kind"),
        (
            ["targets=targets.jsonl", "corpus=corpus.jsonl", "out=./corpus.jsonl"],
            "is the file of corpus, which would be lo",
        ),
        (["targets=targets.jsonl", "corpus=corpus.jsonl", "out=."], "cannot write .: it is a folder; name a file"),
        (["targets=targets.jsonl", "corpus=targets.jsonl"], "line 1: a practice task needs 'answer', or 'verify'"),
    ],
    ids=range(12),
)
def test_mistakes_are_said_in_one_sentence(files, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stop:
        main(["curriculum", *arguments])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert sentence in said
    assert not (files / "curriculum.jsonl").exists()


def test_help_shows_every_key(capsys):
    main(["curriculum", "--help"])
    out = capsys.readouterr().out
    for words in (
        "usage: discover-rl curriculum targets=FILE",
        "count=100",
        "Tasks chosen one after another",
        "device=cpu",
    ):
        assert words in out
