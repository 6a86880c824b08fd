"""What is written down of a failover: its row, and the intents that let a killed run be taken up again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import CloudstackJob, FailoverJob, FailoverState, ReplicationJob
from migratekit_core.services.replication import replica
from migratekit_core.services.replication.replica import KEPT, UNKNOWN

LIVE, TEST = "live", "test"
RUNNING, COMPLETED, FAILED, CLEANED = "running", "completed", "failed", "cleaned"
ROLLING_BACK, ROLLED_BACK = replica.ROLLING_BACK, "rolled_back"
ENDED = {LIVE: (COMPLETED, ROLLED_BACK), TEST: (CLEANED,)}
"""Statuses of failovers that nothing has to be done about any more."""
MADE_FOR = "made_for"
"""Where a rehearsal's state remembers what it is part of; one that an operator made for a look has nothing there."""

TRIAL = "trial_key"
"""Where a failover's state remembers the idempotency key of its trial volume (ahead.py)."""


def made_ahead(row: FailoverJob, state: Mapping[str, Any]) -> bool:
    """Return whether there is, or may be, something that a failover has made before its source is to be shut down."""
    return row.destination_vm_id is not None or any(map(state.get, ("deploy_intent", TRIAL, "template_root")))


class Record:
    """One failover's rows. Every method is one transaction, and waits for a database that is away for a moment."""

    def __init__(self, engine: Engine, failover_id: str) -> None:
        self._engine = engine
        self.id = failover_id

    def row(self) -> FailoverJob:
        """Return the failover_jobs row."""
        return write(self._engine, self._row)

    def state(self) -> dict[str, Any]:
        """Return what is remembered beside the row."""

        def look(db: Session) -> dict[str, Any]:
            row = db.get(FailoverState, self.id)
            return dict(row.state) if row is not None else {}

        return write(self._engine, look)

    def remember(self, **values: Any) -> None:
        """Add to what is remembered."""

        def change(db: Session) -> None:
            row = self._state(db)
            row.state = {**row.state, **values}

        write(self._engine, change)

    def joined(self, job_id: str) -> None:
        """Count a job of the joblog as one of this failover's: its steps are part of what it took."""
        self.remember(jobs=[*dict.fromkeys([*self.state().get("jobs", []), job_id])])

    def commit(self) -> None:
        """Hand the volumes over: from here on the source is not replicated any more."""

        def change(db: Session) -> None:
            self._state(db).committed = True

        write(self._engine, change)

    def committed(self) -> bool:
        """Return whether the volumes were handed over."""

        def look(db: Session) -> bool:
            row = db.get(FailoverState, self.id)
            return row is not None and row.committed

        return write(self._engine, look)

    def roll_back(self, content: str) -> None:
        """Begin to give everything back; `content` is KEPT or UNKNOWN, which holds for good once it was found."""

        def change(db: Session) -> None:
            state = self._state(db)
            self._row(db).status = ROLLING_BACK
            found = {content, state.state.get("content", KEPT)}
            state.state = {**state.state, "content": UNKNOWN if UNKNOWN in found else KEPT}

        write(self._engine, change)

    def hand_back(self, content: str) -> None:
        """Give the volumes back to replication, and forget what is recorded of their content where it is UNKNOWN."""

        def change(db: Session) -> None:
            row = self._row(db)
            if content == UNKNOWN:
                replica.forget_content(db, row.vm_id)
            self._state(db).committed = False
            row.status, row.completed_at = ROLLED_BACK, utcnow()

        write(self._engine, change)

    def deployed(self, vm_id: str, cloudstack_job_id: str | None, correlation_id: str) -> None:
        """Store the new machine's id and the job that makes it, in one transaction."""

        def change(db: Session) -> None:
            row = self._row(db)
            row.destination_vm_id = vm_id
            known = select(CloudstackJob).where(CloudstackJob.cloudstack_job_id == cloudstack_job_id)
            # It may be there already: an attempt whose answer was lost.
            if cloudstack_job_id is not None and db.exec(known).first() is None:
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

        write(self._engine, change)

    def deploy_failed(self) -> bool:
        """Return whether CloudStack's newest job that was to make the new machine has failed."""
        mine = (CloudstackJob.parent_job_id == self.id, CloudstackJob.cloudstack_command == "deployVirtualMachine")
        query = select(CloudstackJob.cloudstack_status).where(*mine).order_by(col(CloudstackJob.id).desc())
        return write(self._engine, lambda db: db.exec(query).first()) == "failed"

    def forget_machine(self) -> None:
        """Drop the machine that could not be made, and the intent to adopt it."""

        def change(db: Session) -> None:
            state = self._state(db)
            self._row(db).destination_vm_id = None
            state.state = {**state.state, "deploy_intent": None}

        write(self._engine, change)

    def end(self, status: str, error: str | None = None) -> None:
        """Store how it ended."""

        def change(db: Session) -> None:
            row = self._row(db)
            row.status, row.error_message = status, error
            row.completed_at = utcnow()

        write(self._engine, change)

    def _row(self, db: Session) -> FailoverJob:
        row = db.get(FailoverJob, self.id)
        assert row is not None, "failovers are not deleted"
        return row

    def _state(self, db: Session) -> FailoverState:
        row = db.get(FailoverState, self.id)
        assert row is not None, "begin writes it"
        return row


def begin(
    engine: Engine, replication: ReplicationJob, kind: str, mappings: dict[str, str], **remembered: Any
) -> Record:
    """Write a new failover of a replica down, with what has to be remembered from its begin; return its record."""
    failover_id, began = str(uuid.uuid4()), utcnow()

    def change(db: Session) -> None:
        if db.get(FailoverJob, failover_id) is not None:  # an attempt whose answer was lost
            return
        db.add(
            FailoverJob(
                id=failover_id,
                replication_job_id=replication.id,
                vm_id=replication.source_vm_id,
                job_type=kind,
                status=RUNNING,
                network_mappings=mappings,
                started_at=began,
            )
        )
        db.flush()
        db.add(FailoverState(failover_job_id=failover_id, state=remembered))

    write(engine, change)
    return Record(engine, failover_id)


def unfinished(engine: Engine, vm_uuid: str, kind: str) -> list[Record]:
    """Return the failovers of a kind that a machine still has something of: live ones that neither completed nor were
    rolled back, test ones that were not cleaned up. The newest comes first."""
    query = (
        select(FailoverJob.id)
        .where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == kind)
        .where(col(FailoverJob.status).not_in(ENDED[kind]))
        .order_by(col(FailoverJob.created_at).desc())
    )
    return [Record(engine, failover_id) for failover_id in write(engine, lambda db: list(db.exec(query).all()))]


def newest(engine: Engine, vm_uuid: str, kind: str) -> Record | None:
    """Return a machine's newest failover of a kind, whatever became of it."""
    query = select(FailoverJob.id).where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == kind)
    found = write(engine, lambda db: db.exec(query.order_by(col(FailoverJob.created_at).desc())).first())
    return Record(engine, found) if found is not None else None


def newest_first(engine: Engine, vm_uuid: str, kind: str) -> Iterator[Record]:
    """Yield a machine's failovers of a kind, the newest first, whatever became of them."""
    query = select(FailoverJob.id).where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == kind)
    found = write(engine, lambda db: db.exec(query.order_by(col(FailoverJob.created_at).desc())).all())
    yield from (Record(engine, one) for one in found)


def by_id(engine: Engine, failover_id: str) -> Record | None:
    """Return a failover, or None where its row is lost."""
    known = write(engine, lambda db: db.get(FailoverJob, failover_id) is not None)
    return Record(engine, failover_id) if known else None
