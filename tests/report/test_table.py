import numpy as np
import pytest

from discover_rl.report.rows import Curve, Group
from discover_rl.report.summary import summarise
from discover_rl.report.table import WIDTH, latex_table, markdown_table, text_table


def lines(environment="rand_2d_10h", selector="discover", seeds=10, budget=500_000, reached=10, note="", device="cpu"):
    """Seeds that reach 100 % at different times, but for the last ones, which never do."""
    steps = np.arange(32_000.0, budget + 1, 32_000)
    curves = [
        Curve(
            Group(environment, selector, note),
            seed,
            steps,
            (np.arange(len(steps)) >= 2 + seed // 2).astype(float) * (seed < reached),
            np.linspace(1, 86, len(steps)),
            note=note,
            device=device,
        )
        for seed in range(seeds)
    ]
    return summarise(curves)


def test_a_line_for_each_selector_under_its_environment():
    table = text_table([*lines(reached=8), *lines(selector="her", reached=0), *lines("u", seeds=1)]).splitlines()
    assert table[0].split() == ["budget", "10%", "50%", "90%", "reached", "at", "the", "end", "time"]
    assert [line for line in table if line and not line.startswith(" ")][:2] == ["rand_2d_10h", "u"]
    discover, her, single = (line.split() for line in table if line.startswith((" discover", " her")))
    assert discover[:2] == ["discover", "0.48"]
    assert " ".join(discover[-7:]) == "8/8/8 of 10 0.80 (0.00) 86 s"
    assert discover[2] == "0.16"
    assert her == ["her", "0.48", "∞", "∞", "∞", "0/0/0", "of", "10", "0.00", "(0.00)", "86", "s"]
    assert single[2:5] == ["0.096"] * 3  # one seed: no interval
    assert "Evaluated every 32,000 steps" in " ".join(table)
    assert "Time: all seeds of a line together, on cpu." in table
    assert "The budget is the same for all." in table
    assert "different budgets" not in " ".join(table)


def test_it_fits_a_terminal_whatever_the_selector():
    names = ["achievability_novelty", "discover", "her"]
    found = [line for name in names for line in lines("generated-10d-r3", name, budget=50_000_000)]
    assert max(map(len, text_table(found).splitlines())) <= WIDTH == 120


def test_different_budgets_are_said():
    one = lines()
    assert "Seeds of one environment had different budgets: rand_2d_10h (0.48-0.99 M); do not compare" in text_table(
        [*one, *lines(selector="her", budget=1_000_000)]
    )
    assert "Budgets differ from environment to environment." in text_table([*one, *lines("u", budget=1_000_000)])


def test_different_settings_are_told_apart_by_a_number():
    found = [*lines(note="agent.gamma=0.9"), *lines(note="agent.gamma=0.99"), *lines(selector="her", note="")]
    for show in (text_table, markdown_table):
        table = show(found)
        assert table.splitlines()[-1] == "[2] agent.gamma=0.99"
        assert "discover [1] " in table
        assert "discover [2] " in table


def test_markdown_has_the_median_too():
    table = markdown_table([*lines(reached=8), *lines(selector="her", reached=0)]).splitlines()
    assert table[0] == (
        "| environment | selector | seeds | budget | steps to 10% | steps to 50% | steps to 90% | at the end | "
        "final IQM | area | time |"
    )
    assert len({row.count("|") for row in table[:4]}) == 1
    assert table[2].startswith("| rand_2d_10h | discover | 10 | 0.48 | 0.16; 0.16 (")
    assert table[3].startswith("| rand_2d_10h | her | 10 | 0.48 | ∞; ∞; 0/10 |")


@pytest.mark.parametrize(("seconds", "shown"), [(99, "99 s"), (600, "10 min"), (7200, "2.0 h")])
def test_time_is_short(seconds, shown):
    curve = Curve(Group("u", "her", ""), 0, np.array([1e7]), np.ones(1), np.array([float(seconds)]))
    line = next(line for line in text_table(summarise([curve])).splitlines() if line.startswith(" her"))
    assert line.endswith(f" {shown}")
    assert line.split()[1:3] == ["10.0", "10.0"]


def test_latex_has_a_row_of_the_same_width_for_each_line_and_nothing_unescaped():
    table = latex_table([*lines(selector="achievability_novelty", reached=8), *lines(selector="her", reached=0)])
    rows = [row for row in table.splitlines() if row.endswith(r"\\")]
    assert len({row.count(" & ") for row in rows if "multicolumn" not in row}) == 1
    assert [row for row in rows if "multicolumn" in row] == [r"\multicolumn{8}{l}{\emph{rand\_2d\_10h}} \\"]
    assert r"achievability\_novelty & 0.48 & 0.16" in table
    assert r"her & 0.48 & $\infty$, 0/10 & $\infty$, 0/10 & $\infty$, 0/10 & 0.00 (0.00-0.00)" in table
    assert "The budget is the same for all." in table
    body = table.split(r"\begin{tabular}")[1]
    assert body.count("%") == body.count(r"\%")
    assert table.count("{") == table.count("}")
