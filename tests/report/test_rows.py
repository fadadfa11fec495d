import numpy as np
import pytest

from discover_rl.report.rows import COLUMNS, Curve, Group, grouped, read_rows, write_rows


def curve(environment="u", selector="her", seed=0, **changes):
    values = {
        "steps": np.array([32_000.0, 64_000.0]),
        "success": np.array([0.0, 0.62]),
        "seconds": np.array([1.5, 3.0]),
        "run": 2,
        "note": "agent.gamma=0.9, env.dim=3",
        "device": "NVIDIA H100",
        "planned": 96_000.0,
    } | changes
    return Curve(Group(environment, selector, "aaaa"), seed, **values)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    written = [curve(seed=0), curve(seed=3, success=np.array([1 / 3, 1.0])), curve(selector="mega")]
    write_rows(path, written)
    assert path.read_text().splitlines()[:2] == [
        ",".join([*COLUMNS, "planned"]),
        'u,her,aaaa,"agent.gamma=0.9, env.dim=3",NVIDIA H100,2,0,32000,0,1.5,96000',
    ]
    for before, after in zip(written, read_rows(path), strict=True):
        assert after.source == str(path)
        for name in ("steps", "success", "seconds"):
            np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-5)
        for name in ("group", "seed", "run", "note", "device", "planned", "finished"):
            assert getattr(after, name) == getattr(before, name)


def test_rows_of_before_do_not_say_whether_they_are_finished(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{','.join(COLUMNS)}\nu,her,a,,cpu,0,0,100,1,1\n")
    (found,) = read_rows(path)
    assert found.planned == 0 and found.finished
    assert not curve().finished and curve(planned=64_000.0).finished


HEAD = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no table of rows, as table --rows writes it: no column environment, selector"),
        ("seed,time/total_timesteps\n0,1\n", "no column environment"),
        (f"{HEAD}\nu,her,a,,cpu,0,0,many,0,1\n", "line 2: could not convert string to float: 'many'"),
        (f"{HEAD}\nu,her,a,,cpu,0,0,100\n", "line 2: "),
        (f"{HEAD}\nu,her,a,,cpu,0,0,100,1.5,1\n", "seed 0 of her on u has a success that does not lie in [0, 1]"),
        (f"{HEAD}\nu,her,a,,cpu,0,0,100,nan,1\n", "seed 0 of her on u has a success that does not lie in [0, 1]"),
        (HEAD + 2 * "\nu,her,a,,cpu,0,0,100,1,1", "steps that do not increase; are two runs in one table?"),
    ],
    ids=range(7),
)
def test_what_is_no_table_of_rows_is_said(tmp_path, text, sentence):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as info:
        read_rows(path)
    assert sentence in str(info.value)
    assert str(path) in str(info.value)


def test_a_seed_may_stand_once_in_a_line():
    grouped([curve(), curve(seed=1), curve(selector="mega")])
    with pytest.raises(ValueError, match="seed 0 of her on u stands twice, in a and in b; name the runs to count"):
        grouped([curve(source="b"), curve(source="a")])


def test_lines_stand_in_the_order_of_their_environments():
    names = ["generated-10d-r3", "rand_2d_10h", "generated-6d-r4", "u"]
    groups = grouped([curve(name, selector) for name in names for selector in ("achievability_novelty", "discover")])
    assert [group.environment for group in groups][::2] == ["generated-6d-r4", "generated-10d-r3", "rand_2d_10h", "u"]
    assert [group.selector for group in groups][:2] == ["discover", "achievability_novelty"]  # held against
    assert [c.seed for c in grouped([curve(seed=3), curve(seed=1)])[curve().group]] == [1, 3]
