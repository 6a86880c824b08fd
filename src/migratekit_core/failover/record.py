"""What is written down of a failover: its row, and the intents that let a killed run be taken up again."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Engine
from sqlmodel import col, select

from migratekit_core.db.engine import session
from migratekit_core.models.base import utcnow
from migratekit_core.models.oma import CloudstackJob, FailoverJob, FailoverState, ReplicationJob

LIVE, TEST = "live", "test"
RUNNING, COMPLETED, FAILED, CLEANED = "running", "completed", "failed", "cleaned"


class Record:
    """One failover's rows. Every method is one transaction."""

    def __init__(self, engine: Engine, failover_id: str) -> None:
        self._engine = engine
        self.id = failover_id

    def row(self) -> FailoverJob:
        """Return the failover_jobs row."""
        with session(self._engine) as db:
            row = db.get(FailoverJob, self.id)
            assert row is not None, "failovers are not deleted"
            return row

    def state(self) -> dict[str, Any]:
        """Return what is remembered beside the row."""
        with session(self._engine) as db:
            row = db.get(FailoverState, self.id)
            return dict(row.state) if row is not None else {}

    def remember(self, **values: Any) -> None:
        """Add to what is remembered."""
        with session(self._engine) as db:
            row = db.get(FailoverState, self.id)
            assert row is not None, "begin writes it"
            row.state = {**row.state, **values}

    def commit(self) -> None:
        """Pass the point from which the volumes belong to the new machine."""
        with session(self._engine) as db:
            row = db.get(FailoverState, self.id)
            assert row is not None, "begin writes it"
            row.committed = True

    def deployed(self, vm_id: str, cloudstack_job_id: str | None, correlation_id: str) -> None:
        """Store the new machine's id and the job that makes it, in one transaction."""
        with session(self._engine) as db:
            row = db.get(FailoverJob, self.id)
            assert row is not None, "failovers are not deleted"
            row.destination_vm_id = vm_id
            if cloudstack_job_id is not None:
                db.add(
                    CloudstackJob(
                        cloudstack_job_id=cloudstack_job_id,
                        cloudstack_command="deployVirtualMachine",
                        cloudstack_status="pending",
                        operation_type=f"failover-{row.job_type}",
                        correlation_id=correlation_id,
                        parent_job_id=self.id,
                        status="running",
                    )
                )

    def forget_machine(self) -> None:
        """Drop the machine that could not be made, and the intent to adopt it."""
        with session(self._engine) as db:
            row, state = db.get(FailoverJob, self.id), db.get(FailoverState, self.id)
            assert row is not None and state is not None, "begin writes them"
            row.destination_vm_id = None
            state.state = {**state.state, "deploy_intent": None}

    def end(self, status: str, error: str | None = None) -> None:
        """Store how it ended."""
        with session(self._engine) as db:
            row = db.get(FailoverJob, self.id)
            assert row is not None, "failovers are not deleted"
            row.status, row.error_message = status, error
            row.completed_at = utcnow()


def begin(engine: Engine, replication: ReplicationJob, kind: str, mappings: dict[str, str]) -> Record:
    """Write a new failover of a replica down, and return its record."""
    failover_id = str(uuid.uuid4())
    with session(engine) as db:
        db.add(
            FailoverJob(
                id=failover_id,
                replication_job_id=replication.id,
                vm_id=replication.source_vm_id,
                job_type=kind,
                status=RUNNING,
                network_mappings=mappings,
                started_at=utcnow(),
            )
        )
        db.flush()
        db.add(FailoverState(failover_job_id=failover_id, state={}))
    return Record(engine, failover_id)


def unfinished(engine: Engine, vm_uuid: str, kind: str) -> list[Record]:
    """Return the failovers of a kind that a machine still has something of: live ones that did not complete, test ones
    that were not cleaned up. The newest comes first."""
    done = [COMPLETED, CLEANED] if kind == LIVE else [CLEANED]
    with session(engine) as db:
        query = (
            select(FailoverJob)
            .where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == kind, col(FailoverJob.status).not_in(done))
            .order_by(col(FailoverJob.created_at).desc())
        )
        return [Record(engine, row.id) for row in db.exec(query).all()]
