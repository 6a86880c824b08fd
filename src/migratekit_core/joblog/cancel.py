"""Asks a running job to stop, from any host that reaches the database, and lets the job find out at its turns.

The request is an event of the job's joblog. The job looks where it may stop (`Job.stop_if_cancelled`, between two
steps), and while it copies a watch looks for it (`watched`). A job that must not stop any more says so
(`Job.point_of_no_return`); both take the job's row first, so that either the request or the refusal comes first.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import CancelledError, MigrateKitError, PreconditionError
from migratekit_core.common.hints import Hint, from_fields, hint, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.db.engine import session
from migratekit_core.db.locks import is_held
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob
from migratekit_core.db.models.sources import SourceVm
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import descendants, first_event
from migratekit_core.joblog.states import RUNNING

if TYPE_CHECKING:
    from migratekit_core.joblog.tracker import Job, Tracker

LISTENING = frozenset({"replication", "verify", "failover", "test-failover"})
"""Kinds of jobs that look for a request while they run."""
LOOK_SECONDS = 1.0
"""How often a running copy is looked for a request."""


@dataclass(frozen=True)
class Request:
    """Somebody's request to stop."""

    by: str
    """User and host."""
    reason: str

    def error(self, kind: str) -> CancelledError:
        """Return what the job ends with."""
        why = f"asked by {self.by}" + (f": {self.reason}" if self.reason else "")
        return CancelledError(
            f"the {kind} was cancelled",
            why,
            "run the command again: it goes on from where it was",
            code=ErrorCode.CANCELLED,
        )


def requested(db: Session, family: Sequence[str]) -> Request | None:
    """Return the request for one of these jobs, the first of them."""
    event = first_event(db, family, EventKind.STOP_ASKED)
    if event is None:
        return None
    fields = event.fields or {}
    return Request(str(fields.get("by", "somebody")), str(fields.get("reason", "")))


def close(db: Session, family: Sequence[str], correlation_id: str, reason: str, todo: Hint) -> Request | None:
    """Refuse requests to these jobs from now on; return the one that came first, and then refuse nothing."""
    _hold(db, family)
    asked = requested(db, family)
    if asked is None:
        fields = {"reason": reason, "todo": str(todo), "hint": todo.fields()}
        for job_id in family:
            db.add(_event_row(job_id, correlation_id, EventKind.CANCEL_CLOSED, fields))
    return asked


def ask(tracker: Tracker, job: JoblogJob, reason: str) -> bool:
    """Ask a running job to stop; return whether nobody had done so before.

    Raises PreconditionError for one that has ended, does not listen, or has passed its point of no return.
    """
    fields = {"by": f"{_user()}@{socket.gethostname()}", "reason": redact(reason)}

    look = hint("look with: ", migratekit("jobs", "list", "--status", "running"))

    def change(db: Session) -> tuple[str, Hint, bool]:
        _hold(db, [job.id])
        now = db.get(JoblogJob, job.id, populate_existing=True)
        if now is None or now.status != RUNNING:
            return f"it is {now.status if now else 'gone'}", look, False
        closed = first_event(db, [job.id], EventKind.CANCEL_CLOSED)
        if closed is not None:
            told = {"reason": EventKind.CANCEL_CLOSED.text, "todo": "", **(closed.fields or {})}
            return str(told["reason"]), from_fields(told) or look, False
        if requested(db, [job.id]) is not None:
            return "", look, False
        db.add(_event_row(job.id, job.correlation_id, EventKind.STOP_ASKED, fields))
        return "", look, True

    problem, todo, first = check(job), look, False
    if not problem:
        problem, todo, first = tracker._write(change)
    if problem:
        raise PreconditionError(
            f"{job.kind} {job.id} cannot be cancelled",
            problem,
            todo,
            code=ErrorCode.JOB_NOT_LISTENING,
            facts={"job_id": job.id},
        )
    return first


def give_up(tracker: Tracker, job: JoblogJob) -> None:
    """Mark a running job, and what is within it, as interrupted: the host that it ran on is gone for good.

    Raises PreconditionError for one of this host, for one that has ended, and where its machine is still locked: then
    its process lives.
    """
    from migratekit_core.joblog.tracker import interrupt

    host, fields = socket.gethostname(), {"by": f"{_user()}@{socket.gethostname()}", "host": job.host}

    def change(db: Session) -> str:
        _hold(db, [job.id])
        now = db.get(JoblogJob, job.id, populate_existing=True)
        if now is None or now.status != RUNNING:
            return f"it is {now.status if now else 'deleted'}"
        if now.host == host:
            return "it runs on this host, where its process was looked for and found"
        named = select(SourceVm.vm_id).where(SourceVm.name == now.owner)
        if any(is_held(db, vm_id) for vm_id in db.exec(named).all()):
            return f"its machine is locked: the process on {now.host} lives"
        for row in [now, *descendants(db, [now.id])]:
            if row.status == RUNNING and row.host == now.host:
                interrupt(db, row)
        db.add(_event_row(now.id, now.correlation_id, EventKind.GIVEN_UP, fields))
        return ""

    problem = tracker._write(change)
    if problem:
        raise PreconditionError(
            f"{job.kind} {job.id} cannot be given up",
            problem,
            hint("look with: ", migratekit("jobs", "watch")),
            code=ErrorCode.JOB_ALIVE,
            facts={"job_id": job.id},
        )


def check(job: JoblogJob) -> str:
    """Return why a job of this kind cannot be asked; "" if it can."""
    if job.kind in LISTENING:
        return ""
    within = f"; it is part of job {job.parent_job_id}" if job.parent_job_id else ""
    return f"a {job.kind} does not stop half-way{within}"


@contextmanager
def watched(job: Job, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` once where somebody asks the job to stop while the block runs.

    The KeyboardInterrupt that the block then ends with becomes CancelledError.
    """
    found: list[Request] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            # A database that is away for a moment is asked again.
            with contextlib.suppress(MigrateKitError):
                asked = _look(job.tracker.engine, job.family)
                if asked is not None:
                    found.append(asked)
                    stop()
                    return

    watcher = threading.Thread(target=look, name="cancel-watch", daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        if found:
            raise found[0].error(job.kind) from None
        raise
    finally:
        ended.set()
        watcher.join(LOOK_SECONDS)


def wait(tracker: Tracker, job_id: str, seconds: float) -> JoblogJob:
    """Return a job when it has ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        tracker.mark_interrupted()
        [job] = tracker.jobs(beginning=job_id)
        if job.status != RUNNING or time.monotonic() > deadline:
            return job
        time.sleep(min(0.5, max(seconds, 0.01)))


def _look(engine: Engine, family: Sequence[str]) -> Request | None:
    with session(engine) as db:
        return requested(db, family)


def _hold(db: Session, job_ids: Sequence[str]) -> None:
    """Have others who want the same wait until this transaction ends (MariaDB; SQLite has one writer anyway)."""
    if db.get_bind().dialect.name == "sqlite":
        db.connection().exec_driver_sql("BEGIN IMMEDIATE")
        return
    db.exec(select(JoblogJob.id).where(col(JoblogJob.id).in_(job_ids)).with_for_update()).all()


def _event_row(job_id: str, correlation_id: str, kind: EventKind, fields: Mapping[str, Any]) -> JoblogEvent:
    return JoblogEvent(
        uid=uuid.uuid4().hex, job_id=job_id, correlation_id=correlation_id, level="warning", kind=kind,
        message=kind.said(dict(fields)), fields=dict(fields),
    )  # fmt: skip


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
