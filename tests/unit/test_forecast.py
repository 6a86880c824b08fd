"""What a snapshot's delta will take of the source's datastore, and what has to stay free there."""

from __future__ import annotations

import pytest

from migratekit_core.adapters.vsphere.inventory.model import apart
from migratekit_core.adapters.vsphere.space import Room
from migratekit_core.common.units import GIB, MIB, TIB, parse_share
from migratekit_core.config.source import Source
from migratekit_core.services.replication.forecast import Pace, foretold
from migratekit_core.services.replication.room import lacking, least


@pytest.mark.parametrize(
    ("text", "expected"), [("10%", (0.1, 0)), ("2.5 %", (0.025, 0)), ("50G", (0.0, 50 * GIB)), ("0", (0.0, 0))]
)
def test_shares(text: str, expected: tuple[float, int]) -> None:
    assert parse_share(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["%", "100%", "-1%", "ten", "nan%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_share(text)


def test_the_datastore_that_lacks_most() -> None:
    settings = Source(min_free="10%")
    wide, low, lower = Room("wide", 20, 100), Room("low", 9, 100), Room("lower", 50, 1000)
    assert [least(settings, each) for each in (wide, low, lower)] == [10, 10, 100]
    assert lacking(settings, [wide, low, lower]) == lower
    assert lacking(settings, [wide]) is None
    assert lacking(Source(min_free="0"), [Room("full", 0, 100)]) is None


@pytest.mark.parametrize(
    ("free", "pace", "size", "short", "lines"),
    [
        # 2 TiB at 100 MiB/s are 20,972 s, in which 10 MiB/s make 205 GiB.
        pytest.param(400 * GIB, Pace(10 * MIB, 100 * MIB), 2 * TIB, False, 1, id="there is room"),
        pytest.param(300 * GIB, Pace(10 * MIB, 100 * MIB), 2 * TIB, True, 1, id="it will be short"),
        pytest.param(300 * GIB, Pace(10 * MIB, 100 * MIB), 0, False, 0, id="nothing to copy in full"),
        pytest.param(300 * GIB, Pace(None, None), 2 * TIB, False, 0, id="nothing is measured"),
        pytest.param(90 * GIB, Pace(None, None), 2 * TIB, True, 1, id="short already"),
    ],
)
def test_what_will_be_free(free: int, pace: Pace, size: int, short: bool, lines: int) -> None:
    found = foretold(Source(min_free="10%"), [Room("ds", free, TIB)], pace, size)
    assert (found.short, len(found.lines)) == (short, lines)


@pytest.mark.parametrize(
    ("free", "since", "rest", "short"),
    [
        # In a day 10 MiB/s change 844 GiB, which take 8640 s; meanwhile the delta grows by 84 GiB.
        pytest.param(190 * GIB, 86400.0, 2 * TIB, False, id="there is room"),
        pytest.param(185 * GIB, 86400.0, 2 * TIB, True, id="it will be short"),
        pytest.param(185 * GIB, 3600.0, 2 * TIB, False, id="not if it is done each hour"),
        pytest.param(185 * GIB, 86400.0, 500 * GIB, False, id="no more changes than the disks hold"),
    ],
)
def test_a_sync_of_changes_has_a_delta_too(free: int, since: float, rest: int, short: bool) -> None:
    pace = Pace(10 * MIB, 100 * MIB, since)
    found = foretold(Source(min_free="10%"), [Room("ds", free, TIB)], pace, 0, rest)
    assert (found.short, len(found.lines)) == (short, short), "only what is short is told"


def test_deltas_apart() -> None:
    assert apart({"snapshot.redoNotWithParent": "TRUE"})
    assert not apart({"snapshot.redoNotWithParent": "FALSE"})
    assert not apart({"workingDir": "/vmfs/volumes/other"})
