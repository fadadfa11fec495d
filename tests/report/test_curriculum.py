import errno
import io
import os
import sys

import jaxtyping
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from discover_rl.report import CurriculumHistory, curriculum_figure, save_figure
from discover_rl.report import curriculum as module

ROUNDS, SAMPLES = 12, 5


class World:
    """A straight line to a target at 10 in every coordinate."""

    def __init__(self, dim):
        self.dim = dim

    def targets(self):
        return torch.full((3, self.dim), 10.0)


class DrawnWorld(World):
    def draw(self, axes):
        axes.plot([0, 10], [0, 0], color="0.4", label="wall")
        axes.plot([10], [10], "*", label="target")

    def distance_to_target(self, goal):
        return (10 - goal[..., 0]) * 4


def history(dim):
    reached = np.linspace(0, 10, ROUNDS)
    goals = np.broadcast_to(reached[:, None, None], (ROUNDS, SAMPLES, dim)).astype(np.float32)
    goals = goals - np.arange(SAMPLES, dtype=np.float32)[None, :, None] * 0.1
    goals[3, 2] = np.nan
    achieved = np.broadcast_to(np.arange(SAMPLES) % 2 == 0, (ROUNDS, SAMPLES))
    return CurriculumHistory(np.arange(ROUNDS) * 1000, goals, achieved)


def metrics():
    steps = np.arange(ROUNDS) * 1000
    success = np.linspace(0, 1, ROUNDS)
    success[::2] = np.nan
    return {
        "seed": np.zeros(ROUNDS, dtype=np.int64),
        "time/total_timesteps": steps,
        "eval/success_rate": success,
        "goal/selected_success_rate": np.full(ROUNDS, 0.5),
        "goal/alpha": np.linspace(0.1, 0.3, ROUNDS),
    }


def draw(dim=2, environment=None, columns=None, trajectories=None, of=None):
    return curriculum_figure(
        of or history(dim),
        metrics() if columns is None else columns,
        environment or World(dim),
        trajectories,
        "a run",
    )


def panel(figure, label):
    return next(axes for axes in figure.axes if axes.get_ylabel().startswith(label))


def dots(figure):
    return max(figure.axes[0].collections, key=lambda found: len(found.get_offsets()))


def ys(drawn):
    return np.asarray(drawn.get_ydata(), dtype=float)


def line(axes, label):
    return next(found for found in axes.lines if found.get_label() == label)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_every_panel_is_there(dim):
    figure = draw(dim)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "share of episodes" in labels and "goal to target (Euclidean)" in labels and "alpha" in labels
    title = "a run" + (" (first 2 of 4 goal coordinates)" if dim == 4 else "")
    assert figure.get_suptitle() == title
    figure.draw_without_rendering()
    assert len(dots(figure).get_offsets()) == ROUNDS * SAMPLES - 1


def test_dots_are_drawn_oldest_first_and_coloured_by_time():
    backwards = history(2)
    shuffled = CurriculumHistory(backwards.steps[::-1], backwards.goals[::-1], backwards.achieved[::-1])
    found = dots(draw(of=shuffled))
    x = found.get_offsets()[:, 0]
    assert x[0] < 0.5 and x[-1] > 9.5
    light = found.get_edgecolors()[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -0.01).all() and light[-1] > light[0] + 0.4
    assert len(np.unique(np.round(light, 6))) == ROUNDS


def test_missed_goals_are_rings():
    found = dots(draw())
    hollow = found.get_facecolors()[:, 3] == 0
    expected = ~history(2).achieved.reshape(-1)[~np.isnan(history(2).goals[..., 0]).reshape(-1)]
    assert hollow.tolist() == expected.tolist()
    assert (found.get_edgecolors()[:, 3] > 0.5).all()


def test_success_curve_leaves_out_empty_cells():
    axes = panel(draw(), "share of episodes")
    reached = line(axes, "target reached (at any step)")
    np.testing.assert_array_equal(reached.get_xdata(), np.arange(1, ROUNDS, 2) * 1000)
    np.testing.assert_allclose(ys(reached), np.linspace(0, 1, ROUNDS)[1::2])
    np.testing.assert_array_equal(ys(line(axes, "chosen goals achieved")), np.full(ROUNDS, 0.5))


def test_alpha_curve():
    axes = panel(draw(), "alpha")
    np.testing.assert_allclose(ys(axes.lines[0]), np.linspace(0.1, 0.3, ROUNDS))
    assert axes.get_xlabel() == "environment steps"


def test_the_weight_that_adapts_is_shown():
    falling, still = np.geomspace(1, 0.1, ROUNDS), np.zeros(ROUNDS)
    both = draw(columns=metrics() | {"goal/beta": falling})
    np.testing.assert_allclose(ys(panel(both, "beta").lines[0]), falling)
    assert panel(both, "alpha").lines
    for changes, shown in (
        ({"goal/alpha": still, "goal/beta": falling}, ["beta"]),
        ({"goal/alpha": still, "goal/beta": still + 1}, ["alpha"]),
    ):
        labels = [axes.get_ylabel() for axes in draw(columns=metrics() | changes).axes]
        assert [label for label in labels if label in ("alpha", "beta")] == shown


@pytest.mark.parametrize("tag", ["eval/success_rate", "goal/selected_success_rate", "goal/alpha"])
def test_a_missing_tag_only_takes_its_line_away(tag):
    columns = metrics()
    del columns[tag]
    figure = draw(columns=columns)
    labels = [axes.get_ylabel() for axes in figure.axes]
    if tag == "goal/alpha":
        assert "alpha" not in labels and "share of episodes" in labels
    else:
        assert len(panel(figure, "share of episodes").lines) == 1


def test_frontier_in_true_steps():
    axes = panel(draw(environment=DrawnWorld(2)), "goal to target (steps)")
    reached = np.linspace(0, 10, ROUNDS)
    np.testing.assert_allclose(ys(line(axes, "closest")), (10 - reached) * 4, atol=1e-4)
    median = ys(line(axes, "median"))
    np.testing.assert_allclose(median[0], (10 - reached[0] + 0.2) * 4, atol=1e-4)
    assert len(axes.collections) == 1  # the band


def test_frontier_is_euclidean_where_the_true_distance_is_infinite():
    class Walled(DrawnWorld):
        def distance_to_target(self, goal):
            return torch.where(goal[..., 0] > 2, torch.inf, 1.0)

    axes = panel(draw(environment=Walled(2)), "goal to target (Euclidean)")
    reached = np.linspace(0, 10, ROUNDS)
    np.testing.assert_allclose(ys(line(axes, "closest")), (10 - reached) * np.sqrt(2), atol=1e-4)


def test_one_goal_without_a_way_keeps_the_true_distance():
    class OneHole(DrawnWorld):
        def distance_to_target(self, goal):
            return torch.where(goal[..., 0] > 9.95, torch.inf, 1.0)

    distance, unit = module.distance_to_target(history(2).goals[4:].reshape(-1, 2), OneHole(2))
    assert unit == "steps" and np.isnan(distance).sum() == 1 and np.nanmax(distance) == 1


def test_start_target_and_trajectories_stand_above_the_dots():
    episodes = np.tile(np.linspace(0, 10, 20, dtype=np.float32)[None, :, None], (9, 1, 2))
    episodes[1, 10:] = np.nan
    axes = draw(environment=DrawnWorld(2), trajectories=episodes).axes[0]
    dots_above = dots(axes.figure).get_zorder()
    target, wall, path = (line(axes, label) for label in ("target", "wall", "evaluation policy"))
    assert target.get_zorder() > path.get_zorder() > dots_above > wall.get_zorder()
    black = [found for found in axes.lines if found.get_color() == module.INK]
    assert len(black) == module.TRAJECTORIES


def test_an_environment_that_cannot_draw_gets_its_target_marked():
    axes = draw().axes[0]
    target = next(found for found in axes.collections if found.get_label() == "target")
    np.testing.assert_array_equal(target.get_offsets(), [[10, 10]])
    assert target.get_zorder() > dots(axes.figure).get_zorder()


def test_many_goals_are_thinned_over_the_whole_run():
    steps = np.arange(2000)
    goals = np.stack([steps, steps], axis=-1)[:, None].repeat(3, axis=1).astype(np.float32)
    found = dots(draw(of=CurriculumHistory(steps, goals, np.ones((2000, 3), dtype=bool))))
    x = found.get_offsets()[:, 0]
    assert len(x) == module.DOTS and x[0] == 0 and x[-1] == 1999


def test_no_goal_at_all_still_draws():
    none = CurriculumHistory(np.arange(2), np.full((2, 1, 2), np.nan), np.zeros((2, 1), dtype=bool))
    columns = {name: column[1:2] for name, column in metrics().items()}
    figure = draw(of=none, columns=columns)
    figure.draw_without_rendering()
    assert len(dots(figure).get_offsets()) <= 1  # the target
    frontier, success = panel(figure, "goal to target"), panel(figure, "share of episodes")
    assert [text.get_text() for text in frontier.texts] == [module.NO_GOAL] and not len(frontier.get_yticks())
    assert not any(axes.get_xlabel() == "environment steps" for axes in figure.axes[:-1])  # no bar of colours
    assert success.get_xlim()[0] == 0 and all(found.get_marker() == "o" for found in success.lines)


def test_pyplot_has_no_part_in_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    save_figure(draw(environment=DrawnWorld(2)), tmp_path / "curriculum.png")


def test_shapes_that_do_not_belong_together_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside tests
    with pytest.raises(ValueError, match="do not belong together"):
        CurriculumHistory(np.arange(3), np.zeros((2, 1, 2)), np.zeros((2, 1), dtype=bool))


def test_save_figure_writes_a_png_and_nothing_else(tmp_path):
    save_figure(draw(), tmp_path / "curriculum.png")
    data = (tmp_path / "curriculum.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["curriculum.png"]


def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile(io.BytesIO):
    write = fail


@pytest.mark.parametrize("place", ["os.replace", "pathlib.Path.open"])
def test_a_full_disk_keeps_the_old_picture(tmp_path, monkeypatch, place):
    path = tmp_path / "curriculum.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(place, fail if place == "os.replace" else lambda *_: FullFile())
    with pytest.raises(OSError, match=r"cannot write .*curriculum\.png: No space left on device; what stood") as info:
        save_figure(Figure(figsize=(1, 1)), path)
    monkeypatch.undo()
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["curriculum.png"]
