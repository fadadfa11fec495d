from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from discover_rl.report import save_figure
from discover_rl.report.curves import COLOURS, PUBLISHED, curves_figure, mean_curve
from discover_rl.report.rows import Curve, Group, grouped


def curve(environment="rand_2d_10h", selector="discover", seed=0, settings="aaaa", steps=(100, 200, 300, 400)):
    at = np.array(steps, dtype=float) * 1000
    return Curve(Group(environment, selector, settings), seed, at, np.linspace(0, 1, len(at)), at)


def test_the_mean_over_the_steps_that_all_seeds_have():
    members = [curve(), curve(seed=1, steps=(150, 250, 350, 450))]
    steps, middle, low, high = mean_curve(members)
    assert steps.tolist() == [150_000, 200_000, 250_000, 300_000, 350_000, 400_000]
    np.testing.assert_allclose(middle[[0, 2]], [(1 / 6 + 0) / 2, (0.5 + 1 / 3) / 2])
    assert ((low <= middle) & (middle <= high)).all()
    assert (mean_curve([curve(), curve(seed=1, steps=(500, 600))])[0]).size == 0
    assert np.isnan(mean_curve([curve()])[2]).all()


def test_long_curves_are_thinned():
    assert len(mean_curve([curve(seed=seed, steps=range(1, 2000)) for seed in (0, 1)])[0]) == 200


def test_a_panel_for_each_environment_with_the_published_steps_as_dashed_lines(tmp_path):
    curves = [
        curve(environment, selector, seed)
        for environment in ("rand_2d_10h", "rand_3d_7h", "generated-6d-r4", "u")
        for selector in ("discover", "her", "stranger")
        for seed in (0, 1)
    ]
    figure = curves_figure(curves)
    panels = {axes.get_title().splitlines()[0]: axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["generated-6d-r4", "rand_2d_10h", "rand_3d_7h", "u"]
    for name, axes in panels.items():
        dashed = [np.asarray(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "--"]
        assert {x[0] for x in dashed if len(x)} == {at for at in PUBLISHED.get(name, {}).values() if np.isfinite(at)}
        assert len(axes.collections) == 3
        assert axes.get_xscale() == "log"
    assert panels["rand_2d_10h"].get_title().endswith("published, never: her")
    assert "mega, achievability_novelty, her" in panels["rand_3d_7h"].get_title()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["discover", "her", "stranger", "published: 10 % success reached"]
    assert panels["u"].lines[0].get_color() == COLOURS["discover"]
    save_figure(figure, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_groups_of_other_settings_have_another_line():
    figure = curves_figure([curve("u"), curve("u", settings="bbbb")])
    lines = figure.axes[0].lines
    assert lines[0].get_color() == lines[1].get_color()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "discover (settings aaaa)",
        "discover (settings bbbb)",
    ]


def test_a_line_looks_the_same_in_every_panel():
    """Though one panel lacks what stands first in another."""
    curves = [
        curve(env, settings=settings) for env, settings in (("u", "aaaa"), ("u", "bbbb"), ("v", "bbbb"), ("v", "cccc"))
    ]
    named = [replace(one, note=f"lr={one.group.settings}") for one in curves]
    styles: dict[str, set[object]] = {}
    for axes in curves_figure(named).axes:
        for line in axes.lines:
            styles.setdefault(str(line.get_label()), set()).add(line.get_linestyle())
    assert styles == {
        "discover (lr=aaaa)": {"-"},
        "discover (lr=bbbb)": {"-."},
        "discover (lr=cccc)": {"--"},
    }  # what any dashes are called
    pytest.importorskip("plotly")
    from discover_rl.report.charts import learning_curves

    figure: Any = learning_curves(grouped(named), COLOURS)
    dashes = {trace.name: trace.line.dash for trace in figure.data if trace.name}
    assert dashes == {"discover (lr=aaaa)": "solid", "discover (lr=bbbb)": "dash", "discover (lr=cccc)": "dot"}


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="nothing to draw"):
        curves_figure([])
