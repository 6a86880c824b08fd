"""How a wave looks: in 80 columns on a terminal, as lines elsewhere, and as a document."""

from __future__ import annotations

import io
import json

import pytest

from migratekit_cli.commands.wave import waveview
from migratekit_core.db.engine import Databases
from migratekit_core.db.wavestates import CUTOVER, REPLICATE
from migratekit_core.services.waves import asks, claims, look, store
from migratekit_core.services.waves.look import Snapshot
from migratekit_core.services.waves.view import overview
from tests.unit import sample_wave
from tests.unit.sample_wave import GIB, MIB, lose


@pytest.fixture
def seen(databases: Databases) -> Snapshot:
    """Return the sample in the middle of its copies."""
    sample_wave.make(databases.oma)
    return look.snapshot(databases.oma, "shop-1")


def drawn(seen: Snapshot, width: int, most: int = 20) -> list[str]:
    """Return what a terminal would show."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(waveview.drawn(overview(seen), width, most))
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_what_there_is_to_see(seen: Snapshot) -> None:
    view = overview(seen)
    assert dict(view.counts) == {"waiting": 5, "running": 2, "replicated": 3, "cut-over": 1, "failed": 1}
    assert view.total == sum(10 + number for number in range(12)) * GIB
    assert view.done == (10 + 11 + 12 + 13) * GIB + 16 * GIB // 4 + 17 * GIB * 2 // 4
    assert view.rate == 128 * MIB and view.seconds_left == (view.total - view.done) / view.rate
    assert [each.name for each in view.running] == ["web07", "web06"], "the furthest first"
    assert [each.name for each in view.troubles] == ["web04"]
    assert [each.name for each in view.silent] == ["web07"]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_that_matters_is_cut(seen: Snapshot, width: int) -> None:
    lines = drawn(seen, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for part in ("wave shop-1", "copying", "UTC", "5 waiting", "2 running", "3 replicated", "1 failed", "128.0 MiB/s",
                 "web07", "replicate", "50 %", "8.5/17.0 GiB", "64.0 MiB/s", "2:16", "has said nothing for 1 min 3",
                 "web04 (replicate): the copy failed", "run it again"):  # fmt: skip
        assert part in text, part


def test_many_machines_fit_into_few_lines(seen: Snapshot) -> None:
    assert "and 1 more" in drawn(seen, 80, most=1)


def test_lines_for_logs(seen: Snapshot) -> None:
    lines = list(waveview.lines(overview(seen)))
    assert lines[0].startswith("wave shop-1 (copying): ")
    assert "5 waiting, 2 running, 3 replicated, 1 cut-over, 1 failed" in lines[0]
    assert "  web06: copying, 25 %, 4.0/16.0 GiB, 64.0 MiB/s, 3:12 left, by host0:416" in lines
    at = lines.index("  web04 (replicate): the copy failed")
    assert lines[at + 2] == "    run it again"


def test_a_document(seen: Snapshot) -> None:
    plain = json.loads(json.dumps(waveview.document(seen)))
    assert (plain["wave"], plain["status"], plain["task"]) == ("shop-1", "running", "replicate")
    assert plain["counts"]["running"] == 2 and plain["counts"]["skipped"] == 0
    by_name = {each["vm"]: each for each in plain["machines"]}
    assert by_name["web04"]["error"]["todo"] == "run it again"
    assert by_name["web06"]["bytes_done"] == 4 * GIB
    assert by_name[sample_wave.LONG]["result"] == {"downtime_seconds": 93.5}


def test_what_was_asked_is_told(databases: Databases, seen: Snapshot) -> None:
    asks.pause(databases.oma, "shop-1")
    assert waveview.state(overview(look.snapshot(databases.oma, "shop-1"))) == "copying, pausing"
    asks.cancel(databases.oma, "shop-1")
    assert waveview.state(overview(look.snapshot(databases.oma, "shop-1"))) == "copying, being cancelled"


def test_a_cut_over_is_counted_in_machines(databases: Databases, seen: Snapshot) -> None:
    store.begin(databases.oma, "shop-1", CUTOVER)
    assert claims.claim(databases.oma, "shop-1", "u-1", CUTOVER, "w") is not None
    view = overview(look.snapshot(databases.oma, "shop-1"))
    assert not view.copies and (view.finished, view.expected) == (1, 12)
    assert waveview.headline(view).startswith("wave shop-1 (cutting over): 1 of 12;")
    assert view.done >= 46 * GIB, "what is copied stays so while it is cut over"


def test_what_happens_is_told_once_where_there_is_no_terminal(
    databases: Databases, seen: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = iter(
        [
            lambda: None,
            lambda: claims.claim(databases.oma, "shop-1", "u-8", REPLICATE, "host9:1"),
            lambda: None,
            lambda: lose(databases.oma, "host9:1"),
        ]
    )
    over: list[bool] = []

    def see() -> Snapshot:
        step = next(steps, None)
        over[:] = [step is None]
        if step is not None:
            step()
        return look.snapshot(databases.oma, "shop-1")

    waveview.watch(see, lambda _: over == [True], pause=0.01)
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if not line.startswith("wave")] == ["web08: copying by host9:1", "web08: waiting"]
    assert len([line for line in lines if line.startswith("wave")]) == 3, "a line where something is new"
