import errno
import os
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from discover_rl.report import MetricsWriter, read_metrics, select_seed

BOTH = {"goal/alpha": np.array([0.25, 0.5], dtype=np.float32), "time/fps": 100.0}


def scalars(run_dir, seed, tag):
    events = EventAccumulator(str(run_dir / "tensorboard" / f"seed_{seed}"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_csv_is_one_line_per_seed_and_on_disk_before_close(tmp_path):
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        writer.write(1000, BOTH)
        expected = "seed,time/total_timesteps,goal/alpha,time/fps\n3,1000,0.25,100.0\n4,1000,0.5,100.0\n"
        assert (tmp_path / "metrics.csv").read_text() == expected


def test_new_tags_widen_the_header_and_missing_tags_are_empty(tmp_path):
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        writer.write(1000, BOTH)
        writer.write(2000, {"eval/success_rate": np.array([0.0, 1.0]), "time/fps": 50})
        writer.write(3000, {"goal/alpha": 0.75})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "seed,time/total_timesteps,goal/alpha,time/fps,eval/success_rate",
        "3,1000,0.25,100.0,",
        "4,1000,0.5,100.0,",
        "3,2000,,50,0.0",
        "4,2000,,50,1.0",
        "3,3000,0.75,,",
        "4,3000,0.75,,",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "tensorboard"]


def test_float32_comes_back_exactly(tmp_path):
    value = np.array([np.float32(1) / 3], dtype=np.float32)
    with MetricsWriter(tmp_path, [0]) as writer:
        writer.write(1, {"a": value})
    assert np.float32(read_metrics(tmp_path / "metrics.csv")["a"][0]) == value[0]


def test_read_metrics_gives_columns_with_nan_for_empty_cells(tmp_path):
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        writer.write(1000, BOTH)
        writer.write(2000, {"time/fps": 7})
    columns = read_metrics(tmp_path / "metrics.csv")
    assert columns["seed"].tolist() == [3, 4, 3, 4]
    assert columns["time/total_timesteps"].dtype == np.int64
    np.testing.assert_array_equal(columns["goal/alpha"], [0.25, 0.5, np.nan, np.nan])
    one = select_seed(columns, 4)
    assert one["time/total_timesteps"].tolist() == [1000, 2000]
    np.testing.assert_array_equal(one["goal/alpha"], [0.5, np.nan])
    with pytest.raises(ValueError, match=r"no row of seed 5; there are \[3, 4\]"):
        select_seed(columns, 5)


def test_tensorboard_has_every_tag_under_its_seed(tmp_path):
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        writer.write(1000, BOTH)
        writer.write(2000, {"goal/alpha": np.array([0.125, 0.0])})
        assert scalars(tmp_path, 3, "goal/alpha") == [(1000, 0.25), (2000, 0.125)]
    assert scalars(tmp_path, 4, "goal/alpha") == [(1000, 0.5), (2000, 0.0)]
    assert scalars(tmp_path, 3, "time/fps") == scalars(tmp_path, 4, "time/fps") == [(1000, 100.0)]


def test_resume_drops_later_rows_and_a_torn_line(tmp_path):
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        for step in (1000, 2000, 3000):
            writer.write(step, {"a": float(step)})
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + "3,1500,1")
    with MetricsWriter(tmp_path, [3, 4], resume_step=2000) as writer:
        assert len(path.read_text().splitlines()) == 5
        writer.write(2500, {"a": 2.5, "b": 1})
    assert path.read_text().splitlines() == [
        "seed,time/total_timesteps,a,b",
        "3,1000,1000.0,",
        "4,1000,1000.0,",
        "3,2000,2000.0,",
        "4,2000,2000.0,",
        "3,2500,2.5,1",
        "4,2500,2.5,1",
    ]
    assert scalars(tmp_path, 4, "a") == [(1000, 1000.0), (2000, 2000.0), (2500, 2.5)]


@pytest.mark.parametrize("left", ["", "seed,time/tot"])
def test_resume_from_a_file_without_a_whole_header(tmp_path, left):
    (tmp_path / "metrics.csv").write_text(left)
    with MetricsWriter(tmp_path, [0], resume_step=10) as writer:
        writer.write(11, {"a": 1})
    assert (tmp_path / "metrics.csv").read_text() == "seed,time/total_timesteps,a\n0,11,1\n"


def test_a_table_that_is_being_written_can_be_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("seed,time/total_timesteps,a\n0,1,0.5\n0,2,0.")
    assert read_metrics(path)["a"].tolist() == [0.5]


def test_a_new_run_does_not_touch_an_old_table(tmp_path):
    (tmp_path / "metrics.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"metrics\.csv exists: resume that run or choose"):
        MetricsWriter(tmp_path, [0])
    assert (tmp_path / "metrics.csv").read_text() == "precious"


def test_a_resumed_run_must_have_the_seeds_of_the_table(tmp_path):
    with MetricsWriter(tmp_path, [0, 1]) as writer:
        writer.write(1, {"a": 1})
    with pytest.raises(ValueError, match=r"holds seeds \[1\]; this run has \[0\]"):
        MetricsWriter(tmp_path, [0], resume_step=1)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_be_distinct(tmp_path, seeds):
    with pytest.raises(ValueError, match="seeds must be distinct"):
        MetricsWriter(tmp_path, seeds)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"a": np.zeros(3)}, r"'a' has shape \(3,\); expected one number or shape \(2,\)"),
        ({"a,b": 1.0}, "the tag 'a,b' is empty or has a comma"),
        ({"seed": 1}, "the column 'seed' is filled by the writer itself"),
    ],
)
def test_a_bad_row_is_refused_whole(tmp_path, row, sentence):
    with MetricsWriter(tmp_path, [0, 1]) as writer:
        before = (tmp_path / "metrics.csv").read_text()
        with pytest.raises(ValueError, match=sentence):
            writer.write(1, {"fine": 1.0, **row})
        assert (tmp_path / "metrics.csv").read_text() == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x,y\n1,2\n", "is no table of metrics"),
        ("seed,time/total_timesteps\n0,1,2\n", "line 2: 3 cells under 2"),
    ],
)
def test_read_metrics_names_what_is_wrong(tmp_path, text, sentence):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_metrics(tmp_path / "metrics.csv")


def test_a_full_disk_leaves_whole_rows(tmp_path):
    with MetricsWriter(tmp_path, [0]) as writer:
        writer.write(1, {"a": 1})
        real = writer._file

        class FullDisk:
            def write(self, data):
                if len(data) < 4:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real.write(data[:3])

            def __getattr__(self, name):
                return getattr(real, name)

        writer._file = FullDisk()  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(OSError, match=r"cannot append to .*metrics\.csv: No space left"):
            writer.write(2, {"a": 1})
        writer._file = real
        writer.write(3, {"a": 3})
    assert (tmp_path / "metrics.csv").read_text() == "seed,time/total_timesteps,a\n0,1,1\n0,3,3\n"


def test_a_full_disk_while_widening_loses_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with MetricsWriter(tmp_path, [0]) as writer:
        writer.write(1, {"a": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.raises(OSError, match="what stood there before is unchanged"):
                writer.write(2, {"b": 2})
        writer.write(3, {"b": 3})
    text = "seed,time/total_timesteps,a,b\n0,1,1,\n0,3,,3\n"
    assert (tmp_path / "metrics.csv").read_text() == text


def test_figure_and_text_reach_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # it would keep the figure alive
    figure = Figure(figsize=(1, 0.5), dpi=100)
    figure.patch.set_facecolor("red")
    with MetricsWriter(tmp_path, [3, 4]) as writer:
        writer.figure(7, "goal/curriculum", figure, seed=4)
        writer.text("config", "env:\n  name: x")
    events = EventAccumulator(str(tmp_path / "tensorboard" / "seed_4"))
    events.Reload()
    image = events.Images("goal/curriculum")[0]
    assert (image.step, image.width, image.height) == (7, 100, 50)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    assert text == b"    env:\n      name: x"
    first = EventAccumulator(str(tmp_path / "tensorboard" / "seed_3"))
    first.Reload()
    assert first.Tags()["images"] == []
