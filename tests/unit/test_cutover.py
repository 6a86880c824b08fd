"""When to cut over: times, windows, and the downtime that is predicted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.units import MIB, parse_duration
from migratekit_core.db.models.joblog import JoblogStep
from migratekit_core.services.failover import cutover
from migratekit_core.services.failover.cutover import AT_ONCE, Prediction, When, parse_at, parse_window
from migratekit_core.services.failover.downtime import NOBODY, Usual, measure
from migratekit_core.services.replication.sync import SyncResult
from tests.coded import raises

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).astimezone()
KNOWN = Usual(shutdown=10.0, rest=20.0, basis="measured")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h", 3600), ("2m 5s", 125)]
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "5 minutes", "-3", "1y", "m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_a_window_holds_its_begin_and_not_its_end_also_over_midnight() -> None:
    day, night = parse_window("09:00-17:30"), parse_window("22:00-04:00")
    at = {hour: NOON.replace(hour=hour, minute=0) for hour in range(24)}
    assert [hour for hour in at if day.holds(at[hour])] == list(range(9, 18))
    assert not day.holds(NOON.replace(hour=17, minute=30))
    assert [hour for hour in at if night.holds(at[hour])] == [0, 1, 2, 3, 22, 23]


@pytest.mark.parametrize("text", ["", "22:00", "22:00-22:00", "25:00-26:00", "late"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="no window"):
        parse_window(text)


def test_a_time_is_the_next_one_of_its_kind() -> None:
    later, earlier = parse_at("23:15", NOON.replace(hour=12)), parse_at("03:00", NOON.replace(hour=12))
    assert (later.hour, later.minute, later.date()) == (23, 15, NOON.date())
    assert (earlier.hour, earlier.date()) == (3, NOON.date() + timedelta(days=1))
    assert parse_at("2026-12-01 03:00", NOON).isoformat(timespec="minutes").startswith("2026-12-01T03:00")
    with pytest.raises(ValueError, match="has passed"):
        parse_at("2026-11-23T22:00", NOON)
    with pytest.raises(ValueError, match="no time"):
        parse_at("tonight", NOON)


def test_all_that_was_asked_for_has_to_be_so() -> None:
    when = When(at=NOON + timedelta(hours=1), window=parse_window("00:00-00:01"), max_downtime=60, hold=True)
    noon = NOON.replace(hour=12)
    reasons = when.open_reasons(noon - timedelta(hours=12) + timedelta(minutes=5), 90.0)
    assert [reason.split()[0] for reason in reasons] == ["not", "only", "held", "the"]
    assert AT_ONCE.open_reasons(NOON, 1e9) == []
    assert not AT_ONCE.waits
    assert When(hold=True).waits


def test_the_clock_says_when_to_look_again() -> None:
    assert When(at=NOON + timedelta(seconds=90)).next_change(NOON) == 90
    assert When(hold=True).next_change(NOON) is None
    noon = NOON.replace(hour=12, minute=0)
    assert When(window=parse_window("11:00-11:30")).next_change(noon) == 23 * 3600
    assert When(window=parse_window("11:00-12:30")).next_change(noon) is None


def synced(seconds: float, copying: float, changed: int, kind: str = "incremental") -> SyncResult:
    disk: Any = SimpleNamespace(seconds=copying, changed=changed, moved=changed)
    return SyncResult("job", SimpleNamespace(name="vm"), kind, (disk,), seconds)  # type: ignore[arg-type]


def test_the_last_sync_takes_what_is_written_during_the_one_before() -> None:
    # 100 MiB in 100 s; copied at 10 MiB/s with 5 s of overhead: in 15 s come 15 MiB, which take 1.5 s.
    found = cutover.predict(KNOWN, synced(15.0, 10.0, 100 * MIB), 100.0)
    assert found.final_sync == pytest.approx(6.5)
    assert found.total == pytest.approx(36.5)
    assert (found.guest_writes, found.copy_moves) == (MIB, 10 * MIB)


def test_a_full_copy_says_nothing_of_what_the_guest_writes() -> None:
    assert cutover.predict(KNOWN, synced(60.0, 55.0, 10**9, "full"), 3600.0).guest_writes == 0


def predictions(*totals: float) -> list[Prediction]:
    return [Prediction(10.0, total - 30.0, 20.0, "measured", MIB, 10 * MIB) for total in totals]


VM: Any = SimpleNamespace(name="web01")


def test_it_stops_where_what_is_fixed_is_too_much() -> None:
    with pytest.raises(PreconditionError, match=r"will not fit into 25.0 s: shutdown, move and boot alone take 30.0 s"):
        cutover._give_up_where_hopeless(VM, When(max_downtime=25.0), predictions(40.0))


def test_it_stops_where_three_syncs_bring_it_no_nearer() -> None:
    when = When(max_downtime=35.0)
    cutover._give_up_where_hopeless(VM, when, predictions(90.0, 70.0, 60.0, 50.0))
    with raises(PreconditionError, ErrorCode.DOWNTIME_TOO_LONG):
        cutover._give_up_where_hopeless(VM, when, predictions(90.0, 60.0, 61.0, 60.0, 62.0))
    cutover._give_up_where_hopeless(VM, when, predictions(90.0, 60.0, 61.0, 60.0, 34.0))


def step(name: str, begin: float, end: float, status: str = "completed", job: str = "one") -> JoblogStep:
    moment = datetime(2026, 11, 24, 12, 0)
    return JoblogStep(
        job_id=job,
        correlation_id="c",
        sequence=1,
        name=name,
        status=status,
        started_at=moment + timedelta(seconds=begin),
        completed_at=moment + timedelta(seconds=end),
    )


def test_the_downtime_begins_with_the_shutdown_and_counts_when_nobody_worked() -> None:
    steps = [
        step("preflight", 0, 1),
        step("shutdown-source", 1, 4),
        step("final-sync", 4, 9, "interrupted"),
        step("preflight", 60, 61, job="two"),
        step("shutdown-source", 61, 61, job="two"),
        step("final-sync", 61, 63, job="two"),
        step("start", 64, 65, job="two"),
        step("boot-check", 65, 70, job="two"),
        step("find-machine", 90, 91, job="three"),
    ]
    found = measure(steps)
    assert found is not None
    assert (found.seconds, found.over) == (69.0, True)
    assert [(span.step, span.seconds) for span in found.spans][:3] == [
        ("shutdown-source", 3.0),
        ("final-sync", 5.0),
        (NOBODY, 51.0),
    ]
    assert [span.seconds for span in found.spans if span.step == "final-sync"] == [5.0, 3.0]
    assert sum(span.seconds for span in found.spans) == found.seconds


def test_without_a_shutdown_there_is_no_downtime() -> None:
    assert measure([step("preflight", 0, 1)]) is None


def test_a_downtime_that_goes_on_is_not_over() -> None:
    found = measure([step("shutdown-source", 0, 1), step("final-sync", 1, 2, "failed")])
    assert found is not None
    assert not found.over
