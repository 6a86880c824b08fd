"""The joblog as another connection sees it: what is in the database while, before and after the work happens."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.redact import MASK, remember
from migratekit_core.db.engine import Databases
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.show import details


def seen(directory: Path, query: str) -> list[tuple[object, ...]]:
    """Ask the database on a connection of our own, as another process would."""
    connection = sqlite3.connect(directory / "oma.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


STEPS = "SELECT name, status FROM joblog_steps ORDER BY sequence"


def test_a_step_is_committed_before_its_block_and_after_it(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with tracker.job("replication", owner="web01") as job:
        assert seen(directory, "SELECT kind, owner, status, completed_at FROM joblog_jobs") == [
            ("replication", "web01", "running", None)
        ]
        with job.step("one"):
            assert seen(directory, STEPS) == [("one", "running")]
        assert seen(directory, STEPS) == [("one", "completed")]
        with job.step("two"):
            assert seen(directory, STEPS) == [("one", "completed"), ("two", "running")]
    [(status, completed)] = seen(directory, "SELECT status, completed_at FROM joblog_jobs")
    assert status == "completed"
    assert completed is not None


def test_nested_jobs_share_the_correlation_id(databases: Databases) -> None:
    tracker = Tracker(databases.oma)
    with (
        tracker.job("failover", owner="vm") as outer,
        tracker.job("replication", owner="vm", parent=outer) as inner,
        tracker.job("volume", owner="v", parent_id=inner.id, correlation_id=inner.correlation_id) as remote,
    ):
        pass
    with tracker.job("other", owner="vm") as other:
        pass
    rows = {row.id: row for row in tracker.jobs()}
    assert [rows[job.id].parent_job_id for job in (outer, inner, remote, other)] == [None, outer.id, inner.id, None]
    assert {rows[job.id].correlation_id for job in (outer, inner, remote)} == {outer.correlation_id}
    assert other.correlation_id != outer.correlation_id
    assert {row.id for row in tracker.jobs(nested=False)} == {outer.id, other.id}
    assert [row.id for row in tracker.jobs(parent_id=outer.id)] == [inner.id]


def test_every_row_carries_the_correlation_id(databases: Databases, directory: Path) -> None:
    with Tracker(databases.oma).job("a", owner="vm", correlation_id="from-elsewhere") as job, job.step("s") as step:
        step.log(EventKind.DISK_COPIED)
        job.log(EventKind.SETTINGS_ASKED)
    for table in ("joblog_jobs", "joblog_steps", "joblog_events"):
        rows = seen(directory, f"SELECT DISTINCT correlation_id FROM {table}")
        assert rows == [("from-elsewhere",)], table


def test_a_failure_is_recorded_masked_and_goes_on_up(databases: Databases, directory: Path) -> None:
    secret = remember("never-to-be-written")
    with pytest.raises(RuntimeError), Tracker(databases.oma).job("a", owner="vm") as job, job.step("s"):
        raise RuntimeError(f"refused {secret} at apiKey=unknown-one&x=1")
    expected = ("failed", f"RuntimeError: refused {MASK} at apiKey={MASK}&x=1")
    assert seen(directory, "SELECT status, error_message FROM joblog_steps") == [expected]
    assert seen(directory, "SELECT status, error_message FROM joblog_jobs") == [expected]


def test_our_own_errors_are_recorded_with_what_and_why(databases: Databases) -> None:
    tracker = Tracker(databases.oma)
    with pytest.raises(PreconditionError), tracker.job("a", owner="vm"):
        raise PreconditionError("no space", "the pool is full", "free some", code=ErrorCode.UNKNOWN)
    assert tracker.jobs()[0].error_message == "no space: the pool is full"


def test_a_step_that_fails_and_is_caught_does_not_fail_its_job(databases: Databases) -> None:
    tracker = Tracker(databases.oma)
    with tracker.job("a", owner="vm") as job:
        with pytest.raises(ValueError, match="x"), job.step("tried"):
            raise ValueError("x")
        with job.step("instead"):
            pass
    assert [step.status for step in tracker.steps(job.id)] == ["failed", "completed"]
    assert tracker.jobs()[0].status == "completed"


def test_an_interrupt_is_told_from_a_failure(databases: Databases) -> None:
    tracker = Tracker(databases.oma)
    with pytest.raises(KeyboardInterrupt), tracker.job("a", owner="vm") as job, job.step("s"):
        raise KeyboardInterrupt
    assert tracker.steps(job.id)[0].status == "interrupted"
    assert tracker.jobs()[0].status == "interrupted"


def test_events_are_structured_masked_and_in_order(databases: Databases, directory: Path) -> None:
    secret = remember("whispered-to-the-log")
    tracker = Tracker(databases.oma)
    with tracker.job("a", owner="vm") as job, job.step("s") as step:
        step.log(
            EventKind.TOOL_OUTPUT,
            text=f"asked with {secret}",
            bytes=12,
            password="plain",
            call={"url": f"https://x/?token={secret}"},
        )
        job.log(EventKind.CHANGES_UNKNOWN, level="warning")
    first, second = tracker.events(job.id)
    assert (first.kind, first.message, first.step_id, first.level) == (
        "tool-output",
        f"asked with {MASK}",
        step.id,
        "info",
    )
    assert first.fields == {"bytes": 12, "password": MASK, "call": {"url": f"https://x/?token={MASK}"}}
    assert (second.kind, second.step_id, second.level, second.fields) == ("changes-unknown", None, "warning", None)
    # Neither is it anywhere else in the files.
    for file in directory.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_whoever_watches_is_told_of_each_step(databases: Databases) -> None:
    told: list[tuple[str, str, str]] = []
    tracker = Tracker(databases.oma, lambda *what: told.append(what))
    with pytest.raises(ValueError, match="x"), tracker.job("a", owner="vm") as job:
        with job.step("one"):
            pass
        with job.step("two"):
            raise ValueError("x")
    assert told == [("a", "one", "running"), ("a", "one", "completed"), ("a", "two", "running"), ("a", "two", "failed")]


def test_jobs_are_found_by_owner_status_and_beginning(databases: Databases) -> None:
    tracker = Tracker(databases.oma)
    with tracker.job("a", owner="one") as first:
        pass
    with pytest.raises(ValueError, match="x"), tracker.job("a", owner="two") as second:
        raise ValueError("x")
    assert [row.id for row in tracker.jobs()] == [second.id, first.id]
    assert [row.id for row in tracker.jobs(limit=1)] == [second.id]
    assert [row.id for row in tracker.jobs(owner="one")] == [first.id]
    assert [row.id for row in tracker.jobs(status="failed")] == [second.id]
    assert [row.id for row in tracker.jobs(beginning=first.id[:20])] == [first.id]
    assert tracker.jobs(beginning="%") == []
    assert details(tracker, second.id[:20]).job.id == second.id
    for beginning in ("", "zzz"):
        with pytest.raises(PreconditionError):
            details(tracker, beginning)
