"""What a process leaves behind that is killed in a step, and what the next start makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.process import started, this_process

CHILD = """
import sys
from pathlib import Path
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases
from migratekit_core.joblog import Tracker

tracker = Tracker(open_databases(Database(directory=Path(sys.argv[1]))).oma)
with tracker.job("replication", owner="child") as job:
    with job.step("before"):
        pass
    with job.step("within"):
        print(job.id, flush=True)
        sys.stdin.read()
"""


@contextmanager
def child_in_a_step(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process that stands in a step of a job until its stdin closes; yield it and the job's id."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def states(tracker: Tracker, job_id: str) -> list[str]:
    [job] = tracker.jobs(beginning=job_id)
    return [job.status, *(step.status for step in tracker.steps(job_id))]


def test_kill_9_leaves_running_and_the_next_start_marks_it(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with child_in_a_step(directory) as (child, job_id):
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert states(tracker, job_id) == ["running", "completed", "running"]
    assert [job.id for job in tracker.mark_interrupted()] == [job_id]
    assert states(tracker, job_id) == ["interrupted", "completed", "interrupted"]
    assert tracker.jobs()[0].completed_at is not None
    assert tracker.mark_interrupted() == []


def test_a_killed_process_that_nobody_waited_for_counts_as_gone(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with child_in_a_step(directory) as (child, job_id):
        os.kill(child.pid, signal.SIGKILL)
        # Until it is a zombie, which still has its pid; it is reaped below only.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert [job.id for job in tracker.mark_interrupted()] == [job_id]


def test_jobs_of_living_processes_are_left_alone(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with child_in_a_step(directory) as (child, job_id), tracker.job("own", owner="parent"):
        assert tracker.mark_interrupted() == []
        assert states(tracker, job_id) == ["running", "completed", "running"]
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait() == 0
        assert states(tracker, job_id) == ["completed", "completed", "completed"]


@pytest.mark.parametrize(
    ("host", "process_started", "marked"),
    [("some-other-host", "long-ago", False), (None, "long-ago", True)],
    ids=["other host", "pid used again"],
)
def test_what_is_not_certainly_gone_is_left_alone(
    databases: Databases, host: str | None, process_started: str, marked: bool
) -> None:
    here, pid, _ = this_process()
    row = JoblogJob(
        id="j", correlation_id="c", kind="k", owner="o", status="running",
        host=host or here, pid=pid, process_started=process_started,
    )  # fmt: skip
    with session(databases.oma) as db:
        db.add(row)
    tracker = Tracker(databases.oma)
    assert [job.id for job in tracker.mark_interrupted()] == (["j"] if marked else [])
    assert tracker.jobs()[0].status == ("interrupted" if marked else "running")


def test_a_process_is_told_from_others() -> None:
    own = started(os.getpid())
    assert own
    assert started(os.getpid()) == own
    assert started(1) not in ("", own)
    assert started(2**22 + 1) == ""
