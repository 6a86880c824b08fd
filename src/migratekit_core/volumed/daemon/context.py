"""What every operation works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from migratekit_core.adapters.cloudstack.client import AsyncJobs
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.common.failpoints import Points
from migratekit_core.config.schema import Daemon
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.joblog import Job
from migratekit_core.joblog.later import LaterTracker
from migratekit_core.volumed.daemon import guard
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.points import PassedJobs
from migratekit_core.volumed.daemon.storage import Storage
from migratekit_core.volumed.devices import Places
from migratekit_core.volumed.names import safe

ORIGIN = "origin"
"""Key under which an operation's request remembers where it came from."""
COPY_SECONDS = 3600.0
"""How long CloudStack may take to copy a snapshot to or from secondary storage."""


@dataclass(frozen=True)
class Context:
    """What actions work with."""

    settings: Daemon
    places: Places
    storage: Storage
    exporter: Exporter
    volumes: Engine
    oma: Engine
    job: Job
    points: Points
    admitted: guard.Admitted
    """What the guard lets this operation act on."""
    within: Callable[[str, str, dict[str, Any]], None]
    """Runs an operation of this kind on another volume, with this request, as part of this one; raises its error."""

    @property
    def guarded(self) -> guard.Sides:
        """Return what the guard asks."""
        return guard.Sides(self.storage, self.places, self.exporter, self.volumes, self.oma)

    def jobs(self, operation: VolumeOperation) -> AsyncJobs:
        """Return where the operation's CloudStack jobs are recorded."""
        joblog = self.job.tracker
        # In order with the joblog's rows, where those may follow.
        put = joblog.write if isinstance(joblog, LaterTracker) else None
        tracked = TrackedJobs(self.oma, operation.type, self.job.correlation_id, operation.id, put)
        return PassedJobs(tracked, self.points, operation.type)

    def passed(self, operation: VolumeOperation, place: str) -> None:
        """Tell that a state was written down, or a thing outside the database changed."""
        self.points.reach(f"{operation.type}/{place}")


Response = dict[str, Any]


def volume_id_of(operation: VolumeOperation) -> str:
    """Return the volume that an operation is about."""
    assert operation.volume_id is not None, "the API sets it for every operation on a volume"
    return operation.volume_id


def name_of(operation: VolumeOperation) -> str:
    """Return the name in CloudStack of what an operation makes."""
    return f"mk-{safe(operation.request['name'])}-{operation.id[:8]}"
