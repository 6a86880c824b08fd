"""How running jobs look: in 80 columns on a terminal, as lines elsewhere, and as a document."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from migratekit_cli.commands.jobs import jobview
from migratekit_core.joblog.live import LiveItem, LiveJob, Snapshot

NOW = datetime(2026, 11, 24, 14, 0)
MIB, GIB = 1 << 20, 1 << 30
COPY = LiveJob(
    id="2a5485e0-0000-4000-8000-000000000000",
    kind="replication",
    owner="web01",
    status="running",
    host="vma01",
    started_at=NOW - timedelta(seconds=185),
    seconds=185.0,
    steps=("copy",),
    items=(
        LiveItem("Hard disk 1", 30 * GIB, 40 * GIB, 64 * MIB, NOW),
        LiveItem("Hard disk 2, the one with a rather long label", 1020 * GIB, 2048 * GIB, 110 * MIB, NOW),
        LiveItem("Hard disk 3", 0, 0, 0, NOW),
    ),
    asked_to_stop=False,
    error="",
)
FAILOVER = replace(
    COPY, id="9b1c0a77-0", kind="failover", owner="a-machine-with-a-name-as-long-as-vsphere-allows-it-to-be-0123456789",
    steps=("final-sync", "copy"), items=(), asked_to_stop=True,
    waiting="vSphere works: VirtualMachine.removeSnapshot, 41 %",
)  # fmt: skip
SEEN = Snapshot(NOW, (COPY, FAILOVER))


def drawn(seen: Snapshot, width: int) -> list[str]:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(jobview.drawn(seen, width))
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_that_matters_is_cut(width: int) -> None:
    lines = drawn(SEEN, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for part in ("2 running", "174.0 MiB/s", "14:00:00 UTC", "web01", "replication", "copy", "2a5485e0", "3:05", "75 %",
                 "30.0/40.0 GiB", "64.0 MiB/s", "2:40", "1020.0 GiB/2.0 TiB", "done", "asked to stop",
                 "VirtualMachine.removeSnapshot, 41 %"):  # fmt: skip
        assert part in text, part


def test_a_first_line_stands_for_each_job() -> None:
    assert len(drawn(SEEN, 80)) == 1 + (1 + 1 + 3) + (1 + 1 + 2)
    assert drawn(Snapshot(NOW, ()), 80)[-1] == "nothing runs"


def test_lines_say_the_same() -> None:
    lines = list(jobview.lines(SEEN))
    assert lines[0] == "2a5485e0 replication web01: copy, 50 %, 174.0 MiB/s, 2h 39m left"
    assert lines[1] == "  Hard disk 1: 75 %, 30.0/40.0 GiB, 64.0 MiB/s, 2:40 left"
    assert lines[3] == "  Hard disk 3: 100 %, 0/0 B, done"
    assert lines[4].endswith(": final-sync > copy; asked to stop; vSphere works: VirtualMachine.removeSnapshot, 41 %")


def test_a_copy_that_is_silent_is_said_to_be() -> None:
    later = Snapshot(NOW + timedelta(seconds=40), (COPY,))
    assert "no news for 40.0 s: look at vma01" in "\n".join(drawn(later, 80))
    assert jobview.document(later)["jobs"][0]["silent_seconds"] == 40
    assert jobview.document(SEEN)["jobs"][0]["silent_seconds"] is None


def test_the_document_has_figures_only() -> None:
    [first, _] = jobview.document(SEEN)["jobs"]
    assert (first["vm"], first["done"], first["total"], first["rate"]) == ("web01", 1050 * GIB, 2088 * GIB, 174 * MIB)
    assert first["items"][0]["seconds_left"] == pytest.approx(160)
    assert first["error"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1h 00m"), (90061, "25h 01m")],
)
def test_time_that_is_left_is_short(seconds: float | None, text: str) -> None:
    assert jobview.clock(seconds) == text


def test_all_is_done_only_when_all_is() -> None:
    assert jobview.percent(999_999, 1_000_000) == 99
    assert jobview.percent(0, 0) == 100
