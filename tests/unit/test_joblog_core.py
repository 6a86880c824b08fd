"""What can be asked of the joblog: filters, what runs, cancelling, pruning; on SQLite, where it takes no server."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import CancelledError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.joblog import Tracker, cancel
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.gauge import Gauge
from migratekit_core.joblog.listing import Filter
from migratekit_core.joblog.live import snapshot
from migratekit_core.joblog.prune import prune
from migratekit_core.joblog.records import records
from migratekit_core.joblog.search import check_status, find, parse_since, trees
from tests.coded import raises


@pytest.fixture
def tracker(databases: Databases) -> Tracker:
    return Tracker(databases.oma)


def age(databases: Databases, job_id: str, **of: float) -> None:
    """Make a job older, and what is in it."""
    with session(databases.oma) as db:
        row = db.get(JoblogJob, job_id)
        assert row is not None
        row.started_at -= timedelta(**of)
        if row.completed_at is not None:
            row.completed_at -= timedelta(**of)
        for step in db.exec(select(JoblogStep).where(JoblogStep.job_id == job_id)):
            step.started_at -= timedelta(**of)
        for event in db.exec(select(JoblogEvent).where(JoblogEvent.job_id == job_id)):
            event.created_at -= timedelta(**of)


def test_jobs_are_found_by_every_filter(tracker: Tracker, databases: Databases) -> None:
    with (
        tracker.job("replication", owner="one") as first,
        tracker.job("volume-attach", owner="v", parent=first) as inner,
    ):
        pass
    with pytest.raises(ValueError, match="x"), tracker.job("verify", owner="two") as second:
        raise ValueError("x")
    age(databases, first.id, days=3)

    def found(**wanted: object) -> list[str]:
        return [job.id for job in find(databases.oma, Filter(**wanted))]  # type: ignore[arg-type]

    assert found() == [second.id, first.id]
    assert found(nested=True) == [inner.id, second.id, first.id] or found(nested=True) == [
        second.id,
        inner.id,
        first.id,
    ]
    assert found(owners=("one", "three")) == [first.id]
    assert found(kinds=("verify",)) == [second.id]
    assert found(statuses=("completed", "cancelled")) == [first.id]
    assert found(since=utcnow() - timedelta(days=1)) == [second.id]
    assert found(limit=1) == [second.id]


def test_since_is_a_time_ago_or_a_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in (("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("1w", 604800)):
        assert abs((utcnow() - parse_since(text)).total_seconds() - seconds) < 5
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_since("2026-01-02") == datetime(2026, 1, 1, 23)
        assert parse_since("2026-07-02T08:30") == datetime(2026, 7, 2, 6, 30)
        assert parse_since("2026-07-02T08:30+00:00") == datetime(2026, 7, 2, 8, 30)
    finally:
        monkeypatch.undo()
        time.tzset()
    for wrong in ("", "yesterday", "-1h", "25:00"):
        with pytest.raises(ValueError, match="is no time"):
            parse_since(wrong)
    with pytest.raises(ValueError, match="running, completed, failed, interrupted, cancelled"):
        check_status("done")


def test_what_runs_is_seen_with_its_steps_and_disks(tracker: Tracker, databases: Databases) -> None:
    with tracker.job("failover", owner="vm") as outer, outer.step("final-sync"):
        with tracker.job("replication", owner="vm", parent=outer) as inner, inner.step("copy"):
            inner.progress("Hard disk 1", 30, 100, 10.0)
            inner.progress("Hard disk 1", 40, 100, 10.0)
            inner.progress("Hard disk 2", 100, 100, 0.0)
            [seen] = snapshot(databases.oma).jobs
            assert (seen.id, seen.kind, seen.steps) == (outer.id, "failover", ("final-sync", "copy"))
            assert [(item.name, item.done, item.total) for item in seen.items] == [
                ("Hard disk 1", 40, 100), ("Hard disk 2", 100, 100),
            ]  # fmt: skip
            assert (seen.done, seen.total, seen.rate, seen.seconds_left) == (140, 200, 10, 6.0)
            assert snapshot(databases.oma, owners=("other",)).jobs == ()
    assert snapshot(databases.oma).jobs == ()
    [ended] = snapshot(databases.oma, (outer.id,)).jobs
    assert (ended.status, ended.steps) == ("completed", ())


def test_progress_is_written_once_a_second_and_at_the_end(tracker: Tracker, databases: Databases) -> None:
    gauge = Gauge()
    with tracker.job("replication", owner="vm") as job:
        written = []
        for done in (1, 2, 3, 100):
            gauge.update(job, "disk", done, 100, 1.0)
            written.append(snapshot(databases.oma).jobs[0].items[0].done)
    assert written == [1, 1, 1, 100]


def test_what_a_step_waits_for_at_the_source_is_seen_as_long_as_it_runs(tracker: Tracker, databases: Databases) -> None:
    def waiting() -> str:
        return snapshot(databases.oma).jobs[0].waiting

    with tracker.job("replication", owner="vm") as job:
        with job.step("remove-snapshot") as step:
            assert waiting() == ""
            step.log(EventKind.SOURCE_TASK_RUNS, task="VirtualMachine.removeSnapshot", progress=41, seconds=60)
            assert "VirtualMachine.removeSnapshot, 41 %" in waiting()
            step.log(EventKind.SOURCE_ASKS, question="Moved or copied?", choices=["Moved", "Copied"])
            assert "Moved or copied?" in waiting()
        with job.step("unexport-volumes"):
            assert waiting() == ""


def test_a_job_that_is_asked_to_stop_stops_at_its_next_turn(tracker: Tracker, databases: Databases) -> None:
    with pytest.raises(CancelledError) as caught, tracker.job("failover", owner="vm") as outer:
        with outer.step("final-sync"), tracker.job("replication", owner="vm", parent=outer) as inner:
            inner.stop_if_cancelled()
            [row] = tracker.jobs(beginning=outer.id)
            assert cancel.ask(tracker, row, "password=abcdef") is True
            assert cancel.ask(tracker, row, "again") is False
            assert snapshot(databases.oma).jobs[0].asked_to_stop
            inner.stop_if_cancelled()
    assert caught.value.exit_code == 130
    assert "[redacted]" in caught.value.why
    assert "abcdef" not in caught.value.why
    assert [job.status for job in tracker.jobs()] == ["cancelled", "cancelled"]
    assert [step.status for step in tracker.steps(outer.id)] == ["cancelled"]
    with raises(PreconditionError, ErrorCode.JOB_NOT_LISTENING):
        cancel.ask(tracker, tracker.jobs(beginning=outer.id)[0], "")


def test_another_job_does_not_stop(tracker: Tracker) -> None:
    with tracker.job("replication", owner="a") as one, tracker.job("replication", owner="b") as other:
        cancel.ask(tracker, tracker.jobs(beginning=one.id)[0], "")
        other.stop_if_cancelled()
        assert one.cancel_requested() is not None


def test_after_the_point_of_no_return_nobody_cancels(tracker: Tracker) -> None:
    with tracker.job("failover", owner="vm") as outer, tracker.job("replication", owner="vm", parent=outer) as inner:
        inner.point_of_no_return("the new machine is being made", hint("go back: ", migratekit("rollback", "web01")))
        for job in (outer, inner):
            with raises(PreconditionError, ErrorCode.JOB_NOT_LISTENING) as caught:
                cancel.ask(tracker, tracker.jobs(beginning=job.id)[0], "")
            assert caught.value.why == "the new machine is being made"
            assert caught.value.todo.render(["--oma", "east"]) == "go back: migratekit --oma east rollback web01"
        inner.stop_if_cancelled()


def test_whoever_cancels_first_is_heard_before_the_point_of_no_return(tracker: Tracker) -> None:
    with pytest.raises(CancelledError), tracker.job("failover", owner="vm") as job:
        cancel.ask(tracker, tracker.jobs(beginning=job.id)[0], "")
        job.point_of_no_return("too late")
    assert tracker.jobs()[0].status == "cancelled"


def test_what_does_not_stop_half_way_says_so(tracker: Tracker) -> None:
    with tracker.job("failover", owner="vm") as outer, tracker.job("volume-attach", owner="v", parent=outer) as inner:
        with raises(PreconditionError, ErrorCode.JOB_NOT_LISTENING):
            cancel.ask(tracker, tracker.jobs(beginning=inner.id)[0], "")


def test_a_watch_stops_what_runs(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "LOOK_SECONDS", 0.02)
    stopped = threading.Event()
    with pytest.raises(CancelledError), tracker.job("replication", owner="vm") as job, cancel.watched(job, stopped.set):
        cancel.ask(tracker, tracker.jobs()[0], "")
        assert stopped.wait(20)
        raise KeyboardInterrupt  # what engines that were stopped end with
    with (
        pytest.raises(KeyboardInterrupt),
        tracker.job("replication", owner="vm") as job,
        cancel.watched(job, stopped.set),
    ):
        raise KeyboardInterrupt  # Ctrl-C is no cancellation
    assert [row.status for row in tracker.jobs()] == ["interrupted", "cancelled"]


def test_old_jobs_are_pruned_whole_and_only_when_over(tracker: Tracker, databases: Databases) -> None:
    with tracker.job("replication", owner="old") as old, old.step("s") as step:
        step.log(EventKind.DISK_COPIED)
        old.progress("disk", 1, 1, 0)
        with tracker.job("volume-attach", owner="v", parent=old) as old_inner:
            pass
    with tracker.job("replication", owner="young") as young:
        pass
    with tracker.job("replication", owner="long") as long:
        for job in (old, old_inner, long):
            age(databases, job.id, days=100)
        # One that began long ago, with a job within it that has ended, still runs.
        with tracker.job("volume-attach", owner="v", parent=long) as long_inner:
            pass
        age(databases, long_inner.id, days=100)
        before = utcnow() - timedelta(days=90)
        planned = prune(databases, before, dry_run=True)
        assert len(tracker.jobs()) == 5
        done = prune(databases, before)
        assert planned == done
        assert (done.jobs, done.steps, done.events, done.kept) == (2, 1, 1, 1)
        assert {job.id for job in tracker.jobs()} == {young.id, long.id, long_inner.id}
    assert tracker.steps(old.id) == []
    assert tracker.events(old.id) == []
    assert prune(databases, before).jobs == 0, "it ended just now"


def test_the_record_of_a_cut_over_is_kept(tracker: Tracker, databases: Databases) -> None:
    with tracker.job("failover", owner="vm") as failover, failover.step("shutdown") as step:
        step.log(EventKind.DISK_COPIED)
        with tracker.job("volume-attach", owner="v", parent=failover) as inner:
            pass
    with tracker.job("replication", owner="vm") as sync:
        pass
    for job in (failover, inner, sync):
        age(databases, job.id, days=100)
    done = prune(databases, utcnow() - timedelta(days=90))
    assert (done.jobs, done.steps, done.events, done.audit) == (1, 0, 0, 1)
    assert {job.id for job in tracker.jobs()} == {failover.id, inner.id}
    assert len(tracker.events(failover.id)) == 1


def test_a_job_that_something_was_noted_of_lately_is_kept(tracker: Tracker, databases: Databases) -> None:
    with tracker.job("replication", owner="vm") as job:
        pass
    age(databases, job.id, days=100)
    job.log(EventKind.DISK_COPIED)
    assert prune(databases, utcnow() - timedelta(days=90)).jobs == 0
    assert len(tracker.events(job.id)) == 1


def test_many_jobs_are_pruned_in_lots(tracker: Tracker, databases: Databases) -> None:
    for _ in range(205):
        with tracker.job("replication", owner="old"):
            pass
    assert prune(databases, utcnow() + timedelta(seconds=1)).jobs == 205
    assert tracker.jobs() == []


def test_a_job_is_told_as_lines_in_the_order_of_time(tracker: Tracker, databases: Databases) -> None:
    with pytest.raises(ValueError, match="broken"), tracker.job("replication", owner="vm") as job:
        with job.step("one") as step:
            step.log(EventKind.HASHED, bytes=1)
        with job.step("two"), tracker.job("volume-attach", owner="v", parent=job) as inner:
            inner.log(EventKind.ATTACHED)
        raise ValueError("broken")
    [tree] = trees(databases.oma, tracker.jobs(beginning=job.id))
    told = [(line.step, line.event or line.message) for line in records(tree)]
    assert told == [
        ("", "replication of vm began"), ("one", "running"), ("one", "hashed"), ("one", "completed"),
        ("two", "running"),
        ("", "volume-attach of v began"), ("", "attached"), ("", "volume-attach completed"), ("two", "completed"),
        ("", "replication failed: ValueError: broken"),
    ]  # fmt: skip
    assert len({line.key for line in records(tree)}) == len(told)


def test_a_job_of_a_host_that_is_gone_is_given_up_and_one_of_this_host_is_not(
    tracker: Tracker, databases: Databases
) -> None:
    with tracker.job("replication", owner="vm") as here:
        row = tracker.jobs(beginning=here.id)[0]
        with raises(PreconditionError, ErrorCode.JOB_ALIVE):
            cancel.give_up(tracker, row)
        with session(databases.oma) as db:
            for number, parent in (("far", None), ("far-inner", "far")):
                db.add(
                    JoblogJob(
                        id=number,
                        parent_job_id=parent,
                        correlation_id="c",
                        kind="replication",
                        owner="vm",
                        pid=1,
                        status="running",
                        host="gone01",
                        process_started="x",
                    )
                )
        assert tracker.mark_interrupted() == []
        cancel.give_up(tracker, next(job for job in tracker.jobs() if job.id == "far"))
    states = {job.id: job.status for job in tracker.jobs()}
    assert states == {here.id: "completed", "far": "interrupted", "far-inner": "interrupted"}
    [event] = tracker.events("far")
    assert event.kind == EventKind.GIVEN_UP
    assert (event.fields or {})["host"] == "gone01"
    with raises(PreconditionError, ErrorCode.JOB_ALIVE):
        cancel.give_up(tracker, next(job for job in tracker.jobs() if job.id == "far"))
