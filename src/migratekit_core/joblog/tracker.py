"""The tracker: `with tracker.job(…) as job: with job.step(…) as step:` and the database knows where we are.

A step is committed as `running` before its block starts and with its outcome after it ends. A process that is killed
in between leaves `running` behind, which the next start turns into `interrupted` (`Tracker.mark_interrupted`).
Nothing reaches the database without having its secrets masked.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import session, write
from migratekit_core.errors import MigrateKitError
from migratekit_core.joblog.process import started, this_process
from migratekit_core.models.base import utcnow
from migratekit_core.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.redact import redact, redact_fields

T = TypeVar("T")

RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"


class Tracker:
    """Records jobs in the OMA database. `observer` is told of each step, for whoever shows progress."""

    def __init__(self, engine: Engine, observer: Callable[[str, str, str], None] | None = None) -> None:
        self._engine = engine
        self._observer = observer or (lambda job, step, status: None)

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
        row = JoblogJob(
            id=str(uuid.uuid4()),
            parent_job_id=parent.id if parent else parent_id,
            correlation_id=correlation_id or (parent.correlation_id if parent else str(uuid.uuid4())),
            kind=kind,
            owner=owner,
            status=RUNNING,
            host=host,
            pid=pid,
            process_started=process_started,
        )
        job = Job(self, row.id, row.correlation_id, kind)
        self._write(lambda db: db.add(row))
        try:
            yield job
        except BaseException as error:
            self._end(JoblogJob, job.id, error)
            raise
        self._end(JoblogJob, job.id, None)

    def mark_interrupted(self) -> list[JoblogJob]:
        """Mark the jobs of this host whose process is gone, and their open steps, as interrupted; return those jobs."""
        host, _, _ = this_process()

        def mark(db: Session) -> list[JoblogJob]:
            rows = db.exec(select(JoblogJob).where(JoblogJob.status == RUNNING, JoblogJob.host == host)).all()
            gone = [row for row in rows if started(row.pid) != row.process_started]
            for row in gone:
                row.status, row.completed_at = INTERRUPTED, utcnow()
                open_steps = select(JoblogStep).where(JoblogStep.job_id == row.id, JoblogStep.status == RUNNING)
                for step in db.exec(open_steps).all():
                    step.status, step.completed_at = INTERRUPTED, utcnow()
            return gone

        return self._write(mark)

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

    def _end(self, table: type[JoblogJob] | type[JoblogStep], key: Any, error: BaseException | None) -> None:
        def change(db: Session) -> None:
            row = db.get(table, key)
            assert row is not None, "rows of the joblog are not deleted while their job runs"
            row.completed_at = utcnow()
            if error is None:
                row.status = COMPLETED
                return
            row.status = INTERRUPTED if isinstance(error, KeyboardInterrupt | GeneratorExit) else FAILED
            row.error_message = redact(describe(error))

        self._write(change)


def describe(error: BaseException) -> str:
    """Return one line for an error; of a foreign one only its type and text, never a traceback with values in it."""
    return str(error) if isinstance(error, MigrateKitError) else f"{type(error).__name__}: {error}"


class Job:
    """A running job."""

    def __init__(self, tracker: Tracker, job_id: str, correlation_id: str, kind: str) -> None:
        self.tracker = tracker
        self.id = job_id
        self.correlation_id = correlation_id
        self.kind = kind
        self._sequence = 0

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Record the block as the job's next step."""
        self._sequence += 1
        row = JoblogStep(
            job_id=self.id, correlation_id=self.correlation_id, sequence=self._sequence, name=name, status=RUNNING
        )
        self.tracker._write(lambda db: db.add(row))
        step = Step(self, row.id, name)
        self.tracker._observer(self.kind, name, RUNNING)
        try:
            yield step
        except BaseException as error:
            self.tracker._end(JoblogStep, row.id, error)
            self.tracker._observer(self.kind, name, FAILED)
            raise
        self.tracker._end(JoblogStep, row.id, None)
        self.tracker._observer(self.kind, name, COMPLETED)

    def log(self, message: str, *, level: str = "info", **fields: Any) -> None:
        """Record an event of the job itself."""
        self._event(None, message, level, fields)

    def _event(self, step_id: int | None, message: str, level: str, fields: dict[str, Any]) -> None:
        row = JoblogEvent(
            job_id=self.id,
            step_id=step_id,
            correlation_id=self.correlation_id,
            level=level,
            message=redact(message),
            fields=redact_fields(fields) or None,
        )
        self.tracker._write(lambda db: db.add(row))


class Step:
    """A running step."""

    def __init__(self, job: Job, step_id: int | None, name: str) -> None:
        self.job = job
        self.id = step_id
        self.name = name

    def log(self, message: str, *, level: str = "info", **fields: Any) -> None:
        """Record an event: a message for people, and its figures (bytes, seconds, ids) for machines."""
        self.job._event(self.id, message, level, fields)
