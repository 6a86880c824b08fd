"""What is shown of a running copy: bars on a terminal, lines elsewhere, and only times that are known."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from migratekit_cli.ui import watch
from migratekit_cli.ui.eta import Eta
from migratekit_core.common.units import MIB
from migratekit_core.engine.job import Progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(done: int, total: int, rate: float = 0.0) -> Progress:
    return Progress(done, total, done, done, 0, rate, 0, 1, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    monkeypatch.setattr(Eta.__init__, "__defaults__", (made,))
    return made


def test_a_steady_pace_gives_the_time_that_is_left(clock: Clock) -> None:
    pace = Eta(clock)
    for second in range(60):
        pace.update(second * 10, 1000)
        assert (pace.seconds() is None) == (second < 3)
        clock.now += 1
    clock.now -= 1
    assert pace.rate() == pytest.approx(10)
    assert pace.seconds() == pytest.approx(41)


def test_another_limit_shows_within_the_window(clock: Clock) -> None:
    pace, done = Eta(clock), 0
    for second in range(120):
        done += 100 if second < 60 else 10
        pace.update(done, 100_000)
        clock.now += 1
    assert pace.rate() == pytest.approx(10, rel=0.1)


def test_work_that_stands_still_gets_later_and_is_never_said_to_be_nearly_done(clock: Clock) -> None:
    pace = Eta(clock)
    for second in range(11):
        pace.update(second * 10, 1000)
        clock.now += 1
    before = pace.seconds()
    clock.now += 20
    after = pace.seconds()
    assert before is not None and after is not None and after > 2 * before
    clock.now += 1
    for _ in range(40):
        pace.update(100, 1000)
        clock.now += 1
    assert pace.seconds() is None
    pace.update(1000, 1000)
    assert pace.seconds() == 0


def test_lines_tell_each_disk_and_the_sum(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = watch.Lines()
    lines.expect(["one", "two"])
    for second in range(31):
        lines.progress("one", at(second * MIB, 100 * MIB, MIB))
        if second >= 10:
            lines.progress("two", at(second * 3 * MIB, 200 * MIB, 3 * MIB))
        clock.now += 1
    said = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said)
    texts = [line[9:] for line in said]
    assert texts[0] == "one: 0 % (0 B of 100.0 MiB, 1.0 MiB/s)"
    assert "one: 5 % (5.0 MiB of 100.0 MiB, 1.0 MiB/s, 1 min 35 s left)" in texts
    # Every five seconds one line for each, and none for the sum's end before all disks are known.
    assert [text.partition(":")[0] for text in texts].count("one") == 7
    sums = [text for text in texts if text.startswith("all disks: ")]
    assert not any("left" in text for text in sums if "of 100.0 MiB" in text)
    # Said when the first disk had told where it is, and the second had not yet.
    assert sums[-1] == "all disks: 39 % (117.0 MiB of 300.0 MiB, 3.9 MiB/s, 47.5 s left)"


def test_one_disk_has_no_sum(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = watch.Lines()
    lines.expect(["one"])
    lines.progress("one", at(1, 2))
    assert "all disks" not in capsys.readouterr().err


def test_bars_for_each_disk_and_all(clock: Clock) -> None:
    screen = io.StringIO()
    bars = watch.bars(Console(file=screen, force_terminal=True, width=120, color_system=None))
    bars.expect(["Hard disk 1", "Hard disk 2"])
    assert screen.getvalue() == "", "nothing is drawn before there is a bar"
    for second in range(11):
        bars.progress("Hard disk 1", at(second * MIB, 20 * MIB))
        bars.progress("Hard disk 2", at(second * 2 * MIB, 20 * MIB))
        clock.now += 1
    clock.now -= 1
    bars.progress("Hard disk 2", at(20 * MIB, 20 * MIB))
    bars.end()
    text = screen.getvalue()
    assert re.search(r"Hard disk 1 .* 50% 10.0/20.0 MiB 1.0 MiB/s 10.0 s left", text)
    assert re.search(r"Hard disk 2 .* 100% 20.0/20.0 MiB 2.0 MiB/s 0.0 s left", text)
    assert re.search(r"all disks .* 75% 30.0/40.0 MiB 3.0 MiB/s 3.3 s left", text)
