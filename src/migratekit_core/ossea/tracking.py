"""Records asynchronous jobs of CloudStack in `cloudstack_job_tracking`."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.db.engine import session
from migratekit_core.models.oma import CloudstackJob


class TrackedJobs:
    """The jobs of one operation."""

    def __init__(self, engine: Engine, operation: str, correlation_id: str, parent_job_id: str | None = None) -> None:
        self._engine = engine
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
        with session(self._engine) as db:
            db.add(row)

    def ended(self, job_id: str, status: str) -> None:
        """Write down how the job ended."""
        with session(self._engine) as db:
            row = db.exec(select(CloudstackJob).where(CloudstackJob.cloudstack_job_id == job_id)).one_or_none()
            if row is not None:
                row.cloudstack_status = status
                row.status = "completed" if status == "succeeded" else "failed"
