"""The verb ``report``: one file that a browser opens without a network, and that shows what the runs stored."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from discover_envs.point_maze import PointMazeConfig
from discover_rl.cli import main
from discover_rl.collect import collect
from discover_rl.present import Report, write_report
from discover_rl.report.rows import Curve, Group, write_rows
from discover_rl.run_folder import CONFIG, CURRICULUM
from discover_rl.selectors import HER, Discover
from discover_rl.snapshots import load_snapshots
from discover_rl.train import Trainer, train

pytest.importorskip("plotly", reason="plotly is not installed: pip install 'discover-rl[report]'")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_settings):
    """Discover and HER with two seeds each on a maze, and a run in three dimensions."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_save_pictures", lambda *_: None)
        train(tiny_settings(4), folder / "plane" / "discover")
        train(tiny_settings(4, selector=HER()), folder / "plane" / "her")
        space = PointMazeConfig(layout="generated", dim=3, radius=2, corridors=4, max_episode_steps=8)
        train(tiny_settings(4, env=space, selector=Discover(), seeds=1), folder / "space")
    return folder


@pytest.fixture(scope="module")
def html(runs):
    """A report of the plane, written by the command."""
    main(["report", str(runs / "plane"), "--title", "Two <methods>"])
    return runs / "plane" / "report.html"


def figures(path):
    """The data of every chart of a report, by its id."""
    pattern = r'Plotly\.newPlot\(\s*"([^"]+)",\s*(\[.*?\]),\s*\{"'
    return dict(re.findall(pattern, path.read_text(), re.DOTALL))


def test_it_is_one_file_with_everything_in_it(html):
    text = html.read_text()
    assert "<h1>Two &lt;methods&gt;</h1>" in text
    assert "4 seeds, 2 methods, 1 environment, 2 runs" in text
    assert list(figures(html)) == ["curves", "player-open-0", "over-time-open", "methods"]
    head = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # the library speaks of addresses
    assert not re.search(r"""(src|href)=["'](?!data:)""", head)
    assert "<td>open</td><td>her</td><td>2</td>" in text
    assert r"\begin{tabular}" in text


def test_the_player_shows_what_was_stored(html, runs):
    text = html.read_text()
    start = text.index("player-open-0")
    snapshots = load_snapshots(runs / "plane" / "discover")
    assert snapshots is not None and snapshots.maps.steps == [96, 192]
    end = text.index("</script>", start)
    assert re.findall(r'"label":"(\d+)","method":"animate"', text[start:end]) == ["96", "192"]
    assert "always sent to the target" in text[start:end]


def test_more_dimensions_are_shown_in_pairs(runs, tmp_path):
    write_report([runs / "space"], tmp_path / "new" / "space.html")
    text = (tmp_path / "new" / "space.html").read_text()
    assert "Goal coordinates 1 and 2" in text and "Goal coordinates 1 and 3" in text
    assert {"player-generated-3d-r2-0", "player-generated-3d-r2-1"} <= set(figures(tmp_path / "new" / "space.html"))


def test_the_median_seed_is_shown_unless_another_is_asked_for():
    curves = [
        Curve(Group("u", "her", "a"), seed, np.array([1.0, 2.0]), np.array([0.0, success]), np.ones(2))
        for seed, success in ((3, 0.1), (4, 0.9), (5, 0.5))
    ]
    (group,) = Report(curves, []).groups
    assert Report(curves, []).shown(group).seed == 5
    assert Report(curves, [], seed=4).shown(group).seed == 4
    assert Report(curves, [], seed=9).shown(group).seed == 5


def test_rows_of_others_and_runs_of_before_give_what_they_have(runs, tmp_path):
    rows = tmp_path / "rows.csv"
    write_rows(rows, collect([runs / "plane"])[0])
    assert write_report([rows], tmp_path / "rows.html") == []
    assert list(figures(tmp_path / "rows.html")) == ["curves", "methods"]
    old = tmp_path / "old"
    shutil.copytree(runs / "space", old)
    (old / CURRICULUM).unlink()
    assert write_report([old], tmp_path / "old.html") == []
    assert list(figures(tmp_path / "old.html")) == ["curves", "over-time-generated-3d-r2"]


def test_without_its_environment_a_run_is_shown_on_white(runs, tmp_path):
    stranger = tmp_path / "stranger"
    shutil.copytree(runs / "space", stranger)
    text = (stranger / CONFIG).read_text().replace("name: point_maze", "name: moon")
    (stranger / CONFIG).write_text(text)
    (warning,) = write_report([stranger], tmp_path / "moon.html")
    assert "shown without its environment" in warning and "moon" in warning
    assert len([name for name in figures(tmp_path / "moon.html") if name.startswith("player")]) == 2


def test_a_damaged_curriculum_is_left_out(runs, tmp_path):
    shutil.copytree(runs / "plane", tmp_path / "plane")
    (tmp_path / "plane" / "her" / CURRICULUM).write_bytes(b"torn")
    (warning,) = write_report([tmp_path / "plane"], tmp_path / "page.html")
    assert f"her/{CURRICULUM}" in warning and warning.endswith("its curriculum is left out")
    assert "curves" in figures(tmp_path / "page.html")


def test_a_mistake_is_said_in_one_sentence(tmp_path, capsys, monkeypatch, runs):
    def fails(*arguments):
        with pytest.raises(SystemExit):
            main(["report", *map(str, arguments)])
        return capsys.readouterr().err.splitlines()[-1]

    assert "does not exist" in fails(tmp_path / "no")
    assert "holds no run" in fails(tmp_path)
    assert "there is no seed 7; there are 0, 1" in fails(runs / "plane", "--seed", 7)
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert "a report needs plotly; install it with: pip install 'discover-rl[report]'" in fails(runs / "space")


# -- in a browser --------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, html):
    """The report in the browser, and everything that went wrong or was asked of a network."""
    with browser(html) as (tab, trouble):
        tab.wait_for_function("document.querySelectorAll('.main-svg').length > 8")
        yield tab, trouble


HEAT = """document.getElementById('player-open-0')._fullData
          .filter(trace => trace.type === 'heatmap' && trace.name !== 'visited')
          .map(trace => Array.from(trace.z).map(row => Array.from(row).filter(v => !Number.isNaN(v)).length)
          .reduce((a, b) => a + b, 0))"""
CURRENT = "document.querySelector('#player-open-0 .slider-label').textContent"
GOALS = """document.getElementById('player-open-0')._fullData.filter(
           trace => trace.marker && trace.marker.coloraxis === 'coloraxis').map(trace => trace._length || 0)"""


def test_a_browser_opens_it_without_a_complaint_and_without_a_network(opened):
    tab, trouble = opened
    assert tab.locator(".js-plotly-plot").count() == 4
    assert tab.evaluate(CURRENT) == "after 192 steps"
    assert trouble == []
    for box in (tab.locator("#player-open-0").bounding_box(), tab.locator("#curves").bounding_box()):
        assert box is not None and box["width"] > 500 and box["x"] + box["width"] <= 1300
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1300


def test_the_slider_moves_maps_and_goals(opened):
    tab, trouble = opened
    late = {"heat": tab.evaluate(HEAT), "goals": tab.evaluate(GOALS)}
    slider = tab.locator("#player-open-0 .slider-rail-touch-rect").bounding_box()
    assert slider is not None
    tab.locator("#player-open-0").scroll_into_view_if_needed()
    slider = tab.locator("#player-open-0 .slider-rail-touch-rect").bounding_box()
    tab.mouse.click(slider["x"] + 4, slider["y"] + slider["height"] / 2)
    tab.wait_for_function(f"{CURRENT} === 'after 96 steps'")
    tab.wait_for_function(f"JSON.stringify({GOALS}) !== '{json.dumps(late['goals'], separators=(',', ':'))}'")
    early = {"heat": tab.evaluate(HEAT), "goals": tab.evaluate(GOALS)}
    assert sum(early["goals"]) < sum(late["goals"])
    assert len(late["heat"]) == 6 and min(early["heat"]) > 0
    assert sum(early["heat"]) < sum(late["heat"])  # more has been visited by then
    visited = HEAT.replace("!== 'visited'", "=== 'visited'")
    assert tab.evaluate(visited) == [early["heat"][0], early["heat"][3]]  # it is where the maps are
    assert trouble == []


def test_the_button_plays_it(opened):
    tab, trouble = opened
    listen = "document.getElementById('player-open-0').on('plotly_animatingframe', frame => seen.push(frame.name))"
    tab.evaluate(f"window.seen = []; {listen}; null")
    tab.locator("#player-open-0 .updatemenu-button").first.click()
    tab.wait_for_function("seen.length === 2")  # a frame is too short to be waited for by its look
    assert tab.evaluate("seen") == ["96", "192"]
    tab.wait_for_function(f"{CURRENT} === 'after 192 steps'")
    assert trouble == []
