"""What a report says. Sizes in bytes, times in seconds or UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migratekit_core.joblog.search import Found


@dataclass(frozen=True)
class SyncedDisk:
    """One disk of a sync."""

    label: str
    volume_id: str | None
    capacity: int
    full: bool
    reason: str
    changed: int
    """What vSphere named as allocated or changed."""
    read: int
    moved: int
    """What crossed the tunnel as data."""
    seconds: float


@dataclass(frozen=True)
class Sync:
    """One sync."""

    job_id: str
    kind: str
    """`full` or `incremental`."""
    status: str
    started: datetime | None
    seconds: float | None
    changed: int
    moved: int
    disks: tuple[SyncedDisk, ...]
    error: str

    @property
    def rate(self) -> float | None:
        """Return bytes per second over the whole sync, with everything around the copy."""
        return self.moved / self.seconds if self.seconds else None


@dataclass(frozen=True)
class CheckedDisk:
    """One disk of a verification."""

    label: str
    result: str
    """`identical` or `different`."""
    compared: int
    pending: int
    differing: int
    source_digest: str
    volume_digest: str
    note: str


@dataclass(frozen=True)
class Verified:
    """One verification."""

    job_id: str
    status: str
    at: datetime
    disks: tuple[CheckedDisk, ...]


@dataclass(frozen=True)
class Cutover:
    """A cut-over (`live`) or a rehearsal (`test`)."""

    id: str
    kind: str
    status: str
    machine_id: str | None
    networks: dict[str, Any]
    started: datetime | None
    completed: datetime | None
    downtime: float | None
    """From the order to shut the source down until the new machine runs; None for a rehearsal, or while it is not."""
    error: str


@dataclass(frozen=True)
class Made:
    """Something that was made in the cloud."""

    what: str
    """`volume`, `snapshot`, `machine`."""
    id: str
    name: str
    by: str
    """Kind of the job that made it."""
    job_id: str
    at: datetime | None
    where: str
    """Where it is now as far as the databases know: attached to what, deleted …"""
    size: int | None


@dataclass(frozen=True)
class Machine:
    """The source."""

    name: str
    uuid: str
    path: str
    vcenter: str
    datacenter: str


@dataclass(frozen=True)
class Report:
    """Everything about a machine, or about one job."""

    title: str
    machine: Machine | None
    jobs: tuple[Found, ...]
    """The newest first."""
    syncs: tuple[Sync, ...]
    """The oldest first."""
    verified: tuple[Verified, ...]
    cutovers: tuple[Cutover, ...]
    made: tuple[Made, ...]
    networks: dict[str, str]
    """The configured mapping: source network to CloudStack network."""
    left_out: int
    """Older jobs that the joblog has and the report has not."""
