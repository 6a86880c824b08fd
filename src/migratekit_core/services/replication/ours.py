"""Whose snapshots at the source are this installation's."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import Session

from migratekit_core.adapters.vsphere.snapshots import Owner
from migratekit_core.db.engine import write
from migratekit_core.db.installation import installation_id
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.oma import ReplicationJob


def owner(engine: Engine) -> Owner:
    """Return this installation as the owner of snapshots. Raises what `write` does."""

    def knows(job_id: str) -> bool:
        def look(db: Session) -> bool:
            # The joblog is pruned, replications are not; a verification is in the joblog alone.
            return db.get(ReplicationJob, job_id) is not None or db.get(JoblogJob, job_id) is not None

        return write(engine, look)

    return Owner(installation_id(engine), knows)
