import contextlib
import os
import pty
import re
import sys
import termios

import pytest

from discover_rl.report import ProgressLine


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_plain_line_holds_all_fields(capsys):
    clock = Clock()
    with ProgressLine(4_000_000, 1_000_000, "discover point_maze", clock=clock) as progress:
        clock.now = 10.0
        progress.update(2_000_000, success=0.254, goals=0.5, alpha=0.1)
        assert lines(capsys) == [
            "discover point_maze  50% 2.00M/4.00M 100kstep/s 00:20 left success 0.25 goals 0.50 alpha 0.10"
        ]


def test_plain_lines_come_every_interval_and_once_at_the_end(capsys):
    clock = Clock()
    with ProgressLine(100, 0, "run", plain_interval=10.0, clock=clock) as progress:
        for step in range(1, 101):
            clock.now = step * 0.25
            progress.update(step)
        shares = [re.findall(r"(\d+)%", line)[0] for line in lines(capsys)]
        assert shares == ["40", "80", "100"]
        progress.update(120)
    assert lines(capsys) == []


def test_an_interrupted_run_shows_where_it_stood(capsys):
    with pytest.raises(KeyboardInterrupt), ProgressLine(100, 0, "run", clock=Clock()) as progress:
        progress.update(42)
        raise KeyboardInterrupt
    assert [line[:8] for line in lines(capsys)] == ["run  42%"]


def test_nothing_to_say_prints_nothing(capsys):
    with ProgressLine(100, 100, "run") as progress:
        progress.update(100)
    assert lines(capsys) == []


def test_fields_keep_their_last_value_and_nan_is_no_value(capsys):
    with ProgressLine(100, 0, "run", plain_interval=0.0, clock=Clock()) as progress:
        progress.update(1, alpha=0.5)
        progress.update(2, success=0.25, goals=float("nan"))
    first, second = lines(capsys)
    assert first.endswith("left alpha 0.50")
    assert second.endswith("left success 0.25 alpha 0.50")


def test_total_must_be_positive():
    with pytest.raises(ValueError, match="total must be at least one step, got 0"):
        ProgressLine(0, 0, "run")


def test_the_weight_that_adapts_is_shown(capsys):
    with ProgressLine(9, 0, "run", plain_interval=0.0, clock=Clock()) as progress:
        for step, (alpha, beta) in enumerate([(0.5, 1.0), (0.0, 0.1), (0.0, 1.0), (0.5, 0.1)], start=1):
            progress.update(step, alpha=alpha, beta=beta)
        progress.update(5)
    shown = [line.split(" left ")[1] for line in lines(capsys)]
    assert shown == ["alpha 0.50", "beta 0.10", "alpha 0.00", "alpha 0.50", "alpha 0.50"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_live_line_is_one_line_of_the_terminal(monkeypatch, columns):
    written = live(monkeypatch, columns, [(500_000, 0.25), (1_000_000, 0.75), (1_100_000, 1.0)])
    assert written.count("\n") == 1 and written.rstrip(" ").endswith("\n")
    drawn = [line.rstrip("\r\n") for line in written.split("\r") if line.strip()]
    assert max(len(line) for line in drawn) <= columns
    for part in ("discover", "100%", "step/s", " left", "success 1.00", "goals 0.50", "alpha 0.10"):
        assert part in drawn[-1]


def test_a_terminal_without_width_gets_plain_lines(monkeypatch):
    written = live(monkeypatch, 0, [(1_000_000, 0.75)])
    assert written.startswith("discover point_maze 100% 1.00M/1.00M")


def live(monkeypatch, columns, updates):
    """What a run writes to a pseudo-terminal."""
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    with open(terminal, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with ProgressLine(1_000_000, 0, "discover point_maze") as progress:
            for step, success in updates:
                progress.update(step, success=success, goals=0.5, alpha=0.1)
        stderr.flush()
        monkeypatch.undo()
    written = b""
    with contextlib.suppress(OSError):  # Linux says EIO once the closed terminal has been read to its end
        while part := os.read(reader, 65536):
            written += part
    os.close(reader)
    return written.decode().replace("\r\n", "\n")
