"""Records asynchronous jobs of CloudStack in `cloudstack_job_tracking`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Engine
from sqlmodel import Session, select

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import CloudstackJob


class TrackedJobs:
    """The jobs of one operation."""

    def __init__(
        self,
        engine: Engine,
        operation: str,
        correlation_id: str,
        parent_job_id: str | None = None,
        put: Callable[[Callable[[Session], object]], object] | None = None,
    ) -> None:
        """`put` writes a change; None: at once, waiting for a database that is away."""
        self._put = put or (lambda change: write(engine, change))
        self._operation = operation
        self._correlation_id = correlation_id
        self._parent_job_id = parent_job_id

    def started(self, job_id: str, command: str) -> None:
        """Write the job down before it is waited for."""
        row = CloudstackJob(
            cloudstack_job_id=job_id,
            cloudstack_command=command,
            cloudstack_status="pending",
            operation_type=self._operation,
            correlation_id=self._correlation_id,
            parent_job_id=self._parent_job_id,
            status="running",
        )
        self._put(lambda db: db.merge(row))

    def ended(self, job_id: str, status: str) -> None:
        """Write down how the job ended."""
        self._put(lambda db: _ended(db, job_id, status))


class _Recorded:
    """A job whose row is there already."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def started(self, job_id: str, command: str) -> None:
        """Nothing: it was before."""

    def ended(self, job_id: str, status: str) -> None:
        """Write down how the job ended."""
        write(self._engine, lambda db: _ended(db, job_id, status))


def settle(engine: Engine, cloud: Cloud, parent_job_id: str) -> int:
    """Wait for the jobs that a process which was killed had CloudStack do, and write down how they ended; return how
    many there were. What they did, or did not, is for the caller to look at."""

    def running(db: Session) -> list[CloudstackJob]:
        query = select(CloudstackJob).where(
            CloudstackJob.parent_job_id == parent_job_id, CloudstackJob.status == "running"
        )
        return list(db.exec(query).all())

    left = write(engine, running)
    for job in left:
        with suppress(OperationFailedError, PreconditionError):
            cloud.wait(job.cloudstack_job_id, job.cloudstack_command, _Recorded(engine))
    return len(left)


def _ended(db: Session, job_id: str, status: str) -> None:
    row = db.exec(select(CloudstackJob).where(CloudstackJob.cloudstack_job_id == job_id)).one_or_none()
    if row is not None:
        row.cloudstack_status = status
        row.status = "completed" if status == "succeeded" else "failed"
