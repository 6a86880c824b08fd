"""The tracker: `with tracker.job(…) as job: with job.step(…) as step:` and the database knows where we are.

A step is committed as `running` before its block starts and with its outcome after it ends. A process that is killed
in between leaves `running` behind, which the next start turns into `interrupted` (`Tracker.mark_interrupted`).
Nothing reaches the database without having its secrets masked. A database that is away for a moment is waited for, and
what was to be written is written once, also where the answer to a commit got lost.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine, Table, update
from sqlmodel import Session, col, select

from migratekit_core.common import failpoints as points
from migratekit_core.common.errors import CancelledError, MigrateKitError
from migratekit_core.common.hints import NOTHING, Hint
from migratekit_core.common.redact import redact, redact_fields
from migratekit_core.db.engine import session, write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogProgress, JoblogStep
from migratekit_core.joblog import cancel
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.process import started, this_process
from migratekit_core.joblog.states import CANCELLED, COMPLETED, FAILED, INTERRUPTED, RUNNING

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """What the joblog records, for whoever writes a log beside it; its secrets are masked already."""

    level: str
    """`info`, `warning` or `error`."""
    event: str
    """Kind of the event; "" where the job ends."""
    message: str
    job_id: str
    kind: str
    """The job's kind."""
    correlation_id: str
    step: str
    """Name of the step; "" for the job itself."""
    fields: dict[str, Any]


class Tracker:
    """Records jobs in the OMA database. `observer` is told of each step, for whoever shows progress; `sink` of every
    event, and of how steps and jobs end, for whoever writes a log; `ended` of the id of each job that has ended and is
    within no other, for whoever exports it."""

    def __init__(
        self,
        engine: Engine,
        observer: Callable[[str, str, str], None] | None = None,
        sink: Callable[[Entry], None] | None = None,
        ended: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._observer = observer or (lambda job, step, status: None)
        self._sink = sink or (lambda entry: None)
        self._ended = ended or (lambda job_id: None)

    @property
    def engine(self) -> Engine:
        """Return the database that is written to."""
        return self._engine

    @contextmanager
    def job(
        self,
        kind: str,
        *,
        owner: str,
        parent: Job | None = None,
        parent_id: str | None = None,
        correlation_id: str = "",
    ) -> Iterator[Job]:
        """Record the block as a job of `kind` about `owner`; nested jobs share their parent's correlation id.

        A parent in another process is named by `parent_id`, with its `correlation_id`.
        """
        host, pid, process_started = this_process()
        job_id = str(uuid.uuid4())
        correlation = correlation_id or (parent.correlation_id if parent else str(uuid.uuid4()))
        within = parent.id if parent else parent_id

        def row() -> JoblogJob:
            return JoblogJob(
                id=job_id,
                parent_job_id=within,
                correlation_id=correlation,
                kind=kind,
                owner=owner,
                status=RUNNING,
                host=host,
                pid=pid,
                process_started=process_started,
                started_at=began,
            )

        began = utcnow()
        made = self._insert(row, lambda: select(JoblogJob).where(JoblogJob.id == job_id))
        job = Job(self, job_id, correlation, kind, parent)
        try:
            try:
                yield job
            except BaseException as error:
                self._end(made, error)
                job._tell("", "error", "", f"{kind} failed: {describe(error)}", {"owner": owner})
                raise
            self._end(made, None)
            job._tell("", "info", "", f"{kind} completed", {"owner": owner})
        finally:
            if within is None:
                self._ended(job.id)

    def mark_interrupted(self) -> list[JoblogJob]:
        """Mark the jobs of this host whose process is gone, and their open steps, as interrupted; return those jobs."""
        host, _, _ = this_process()

        def mark(db: Session) -> list[JoblogJob]:
            rows = db.exec(select(JoblogJob).where(JoblogJob.status == RUNNING, JoblogJob.host == host)).all()
            gone = [row for row in rows if started(row.pid) != row.process_started]
            for row in gone:
                interrupt(db, row)
            return gone

        gone = self._write(mark)
        for row in gone:
            if row.parent_job_id is None:
                self._ended(row.id)
        return gone

    def jobs(
        self,
        *,
        owner: str | None = None,
        status: str | None = None,
        beginning: str = "",
        parent_id: str | None = None,
        nested: bool = True,
        limit: int = 50,
    ) -> list[JoblogJob]:
        """Return jobs, the newest first: about `owner`, in `status`, with an id that begins with `beginning`, within
        job `parent_id`; without `nested` only those that are within none."""
        query = select(JoblogJob).order_by(col(JoblogJob.started_at).desc()).limit(limit)
        if not nested:
            query = query.where(col(JoblogJob.parent_job_id).is_(None))
        if parent_id is not None:
            query = query.where(JoblogJob.parent_job_id == parent_id)
        if beginning:
            query = query.where(col(JoblogJob.id).startswith(beginning, autoescape=True))
        if owner is not None:
            query = query.where(JoblogJob.owner == owner)
        if status is not None:
            query = query.where(JoblogJob.status == status)
        with session(self._engine) as db:
            return list(db.exec(query).all())

    def note(self, job: JoblogJob, kind: EventKind, fields: dict[str, Any]) -> None:
        """Record an event of a job that another process runs."""
        Job(self, job.id, job.correlation_id, job.kind).log(kind, **fields)

    def steps(self, job_id: str) -> list[JoblogStep]:
        """Return the steps of a job in their order."""
        with session(self._engine) as db:
            query = select(JoblogStep).where(JoblogStep.job_id == job_id).order_by(col(JoblogStep.sequence))
            return list(db.exec(query).all())

    def events(self, job_id: str) -> list[JoblogEvent]:
        """Return the events of a job in their order."""
        with session(self._engine) as db:
            query = select(JoblogEvent).where(JoblogEvent.job_id == job_id).order_by(col(JoblogEvent.id))
            return list(db.exec(query).all())

    def _write(self, change: Callable[[Session], T]) -> T:
        """Commit one change, waiting out a database that is away for a moment."""
        return write(self._engine, change)

    def _insert(self, make: Callable[[], T], known: Callable[[], Any]) -> T:
        """Commit a new row, once: `known` returns the query that finds it where an earlier attempt got through after
        all."""
        attempts = 0

        def change(db: Session) -> T:
            nonlocal attempts
            attempts += 1
            found: T | None = db.exec(known()).first() if attempts > 1 else None
            if found is not None:
                return found
            row = make()
            db.add(row)
            return row

        return self._write(change)

    def _end(self, row: JoblogJob | JoblogStep, error: BaseException | None) -> None:
        values: dict[str, Any] = {"status": outcome(error), "completed_at": utcnow()}
        if error is not None:
            values["error_message"] = redact(describe(error))
        rows: Table = row.__table__  # type: ignore[union-attr]

        def change(db: Session) -> None:
            # One statement: nothing of the row has to be read first.
            found: Any = db.connection().execute(update(rows).where(rows.c.id == row.id).values(values))
            assert found.rowcount == 1, "rows of the joblog are not deleted while their job runs"

        self._write(change)


def interrupt(db: Session, row: JoblogJob) -> None:
    """Mark a job whose process is gone, and its open steps, as interrupted."""
    row.status, row.completed_at = INTERRUPTED, utcnow()
    open_steps = select(JoblogStep).where(JoblogStep.job_id == row.id, JoblogStep.status == RUNNING)
    for step in db.exec(open_steps).all():
        step.status, step.completed_at = INTERRUPTED, utcnow()


def outcome(error: BaseException | None) -> str:
    """Return the status of what ended so."""
    if error is None:
        return COMPLETED
    if isinstance(error, CancelledError):
        return CANCELLED
    return INTERRUPTED if isinstance(error, KeyboardInterrupt | GeneratorExit) else FAILED


def describe(error: BaseException) -> str:
    """Return one line for an error; of a foreign one only its type and text, never a traceback with values in it."""
    return str(error) if isinstance(error, MigrateKitError) else f"{type(error).__name__}: {error}"


class Job:
    """A running job."""

    def __init__(
        self, tracker: Tracker, job_id: str, correlation_id: str, kind: str, parent: Job | None = None
    ) -> None:
        self.tracker = tracker
        self.id = job_id
        self.correlation_id = correlation_id
        self.kind = kind
        self.family: tuple[str, ...] = (job_id, *(parent.family if parent else ()))
        """This job and those that it is within: whoever asks one of them to stop asks this one."""
        self._sequence = itertools.count(1)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Record the block as the job's next step."""
        sequence, began = next(self._sequence), utcnow()

        def make() -> JoblogStep:
            return JoblogStep(
                job_id=self.id,
                correlation_id=self.correlation_id,
                sequence=sequence,
                name=name,
                status=RUNNING,
                started_at=began,
            )

        def known() -> Any:
            return select(JoblogStep).where(JoblogStep.job_id == self.id, JoblogStep.sequence == sequence)

        row = self.tracker._insert(make, known)
        step = Step(self, row)
        try:
            self.tracker._observer(self.kind, name, RUNNING)
            with points.inside(f"{self.kind}/{name}"):
                yield step
        except BaseException as error:
            self.tracker._end(row, error)
            self.tracker._observer(self.kind, name, outcome(error))
            raise
        self.tracker._end(row, None)
        self.tracker._observer(self.kind, name, COMPLETED)

    def log(self, kind: EventKind, /, *, level: str = "info", text: str | None = None, **fields: Any) -> None:
        """Record an event of the job itself."""
        self._event(None, kind, level, text, fields)

    def progress(self, item: str, done: int, total: int, rate: float) -> None:
        """Write down how far the job is with one thing: bytes, and bytes per second."""
        row = JoblogProgress(job_id=self.id, item=item, done=done, total=total, rate=int(rate), updated_at=utcnow())
        self.tracker._write(lambda db: db.merge(row))

    def cancel_requested(self) -> cancel.Request | None:
        """Return who asked this job, or one that it is within, to stop; None where nobody did."""
        return self.tracker._write(lambda db: cancel.requested(db, self.family))

    def stop_if_cancelled(self) -> None:
        """Raise CancelledError where somebody asked this job to stop; called where it may, between two steps."""
        asked = self.cancel_requested()
        if asked is not None:
            raise asked.error(self.kind)

    def point_of_no_return(self, reason: str, todo: Hint = NOTHING) -> None:
        """From here on nobody can cancel this job, or one that it is within; they are told `reason` and `todo`.

        Raises CancelledError where somebody was faster.
        """
        asked = self.tracker._write(lambda db: cancel.close(db, self.family, self.correlation_id, reason, todo))
        if asked is not None:
            raise asked.error(self.kind)

    def _event(self, step: Step | None, kind: EventKind, level: str, text: str | None, fields: dict[str, Any]) -> None:
        uid, now = uuid.uuid4().hex, utcnow()
        message = kind.said(fields) if text is None else text

        def make() -> JoblogEvent:
            return JoblogEvent(
                uid=uid,
                job_id=self.id,
                step_id=step.id if step is not None else None,
                correlation_id=self.correlation_id,
                level=level,
                kind=kind,
                message=redact(message),
                fields=redact_fields(fields) or None,
                created_at=now,
            )

        self.tracker._insert(make, lambda: select(JoblogEvent).where(JoblogEvent.uid == uid))
        self._tell(step.name if step is not None else "", level, kind, message, fields)

    def _tell(self, step: str, level: str, event: str, message: str, fields: dict[str, Any]) -> None:
        entry = Entry(
            level, event, redact(message), self.id, self.kind, self.correlation_id, step, redact_fields(fields)
        )
        self.tracker._sink(entry)


class Step:
    """A running step."""

    def __init__(self, job: Job, row: JoblogStep) -> None:
        self.job = job
        self.name = row.name
        self._row = row

    @property
    def id(self) -> int | None:
        """Return the key of its row; None where that is not written yet."""
        return self._row.id

    def log(self, kind: EventKind, /, *, level: str = "info", text: str | None = None, **fields: Any) -> None:
        """Record an event: its kind and figures (bytes, seconds, ids) for programs, and for people the kind's text, or
        another one."""
        self.job._event(self, kind, level, text, fields)
