"""Replica volumes that nothing needs any more: of a disk that was removed from its machine, or that has another volume
by now, and of a machine that vCenter does not have any more. They are named, with the commands that remove them, and
never deleted: that is an operator's decision.

Only what this database knows is judged: several OMAs, each with its own, may share an account. Volumes that no sync has
ever recorded are `cleanup --orphans`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import Identities, identities
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.hints import Command, migratekit
from migratekit_core.context import Runtime
from migratekit_core.db.engine import session
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationJob, VmDisk
from migratekit_core.db.models.sources import SourceVm, SourceVolume
from migratekit_core.services.replication.replica import COMPLETED, FAILED, ROLLING_BACK, RUNNING
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import TAG

DISK_REMOVED, DISK_REPLACED, MACHINE_DELETED = "disk-removed", "disk-replaced", "machine-deleted"
AT_ONCE = 500
"""Ids in one statement."""
ELSEWHERE = "elsewhere"
"""linux_state of a volume that another machine than the OMA has: it is in use, whatever the rows say."""


@dataclass(frozen=True)
class Origin:
    """What the database knows of a replica's volume."""

    volume_id: str
    vm: str
    vm_uuid: str
    vcenter: str
    """Host name of the vCenter that its machine was last synced from."""
    disk: str
    """The disk's label."""
    last_sync: datetime | None
    """UTC: the end of the newest completed sync that wrote to it."""
    gone: str
    """DISK_REMOVED, DISK_REPLACED, or "" for the volume of a disk as it was at the last completed sync."""
    held: bool
    """Whether a live failover has the machine's volumes, or is on its way."""


@dataclass(frozen=True)
class SurplusVolume:
    """A replica's volume that nothing needs any more."""

    volume_id: str
    name: str
    vm: str
    vm_uuid: str
    disk: str
    size_bytes: int
    reason: str
    last_sync: datetime | None
    exported: bool
    attached: bool

    @property
    def why(self) -> str:
        """Return the reason as a sentence's end."""
        return {
            DISK_REMOVED: f"{self.disk} is no disk of {self.vm} any more",
            DISK_REPLACED: f"{self.disk} of {self.vm} has another volume by now",
            MACHINE_DELETED: f"vCenter does not have {self.vm} any more",
        }[self.reason]

    @property
    def commands(self) -> tuple[Command, ...]:
        """Return what removes it, one after the other."""
        words = (("unexport", self.exported), ("detach", self.attached), ("delete", True))
        return tuple(migratekit("volumes", word, self.volume_id) for word, needed in words if needed)


@dataclass(frozen=True)
class Surplus:
    """What was found, and what could not be looked at."""

    volumes: tuple[SurplusVolume, ...] = ()
    not_checked: tuple[str, ...] = ()
    """Reasons."""


def of_machine(engine: Engine, volumes: VolumeClient, vm_uuid: str) -> tuple[SurplusVolume, ...]:
    """Return the surplus volumes of a machine that is in vCenter. Raises what the database or the daemon reports."""
    with session(engine) as db:
        ids = set(db.exec(select(SourceVolume.volume_id).where(SourceVolume.vm_id == vm_uuid)).all())
        ids -= {
            str(disk.ossea_volume_id) for _, disk in _disks(db, [*_newest(db, [vm_uuid], completed=False).values()])
        }
        known = {origin.volume_id: origin for origin in _origins(db, sorted(ids)) if origin.gone} if ids else {}
    # Most of them were deleted long ago.
    listed = [found for found in map(volumes.get, known) if found is not None and TAG in found["tags"]]
    return _judged(listed, known, None)


def find(runtime: Runtime, listed: Sequence[dict[str, Any]], vm_uuid: str | None = None) -> Surplus:
    """Return which of the daemon's volumes are surplus; with `vm_uuid` only that machine's.

    vCenter is asked where it is configured. What cannot be asked is told, and raises nothing.
    """
    replicas = [volume for volume in listed if vm_uuid is None or volume["tags"].get(TAG) == vm_uuid]
    if not replicas:
        return Surplus()
    try:
        known = origins(runtime.databases.oma, [volume["id"] for volume in replicas])
    except MigrateKitError as error:
        return Surplus((), (f"which volumes are no replica's any more, for the database was not read: {error}",))
    there, not_checked = _there(runtime, known.values())
    return Surplus(_judged(replicas, known, there), not_checked)


def origins(engine: Engine, volume_ids: Sequence[str]) -> dict[str, Origin]:
    """Return what is recorded of each of these volumes; of some there may be nothing. Raises what `session` does, at
    once where the database does not answer."""
    with session(engine) as db:
        return {origin.volume_id: origin for origin in _origins(db, volume_ids)}


def _judged(
    listed: Sequence[dict[str, Any]], known: dict[str, Origin], there: Identities | None
) -> tuple[SurplusVolume, ...]:
    found = []
    for volume in listed:
        origin = known.get(volume["id"])
        reason = _reason(origin, there) if origin is not None and volume["linux_state"] != ELSEWHERE else ""
        if origin is not None and reason:
            found.append(
                SurplusVolume(
                    volume_id=volume["id"],
                    name=volume["name"],
                    vm=origin.vm,
                    vm_uuid=origin.vm_uuid,
                    disk=origin.disk,
                    size_bytes=volume["size"],
                    reason=reason,
                    last_sync=origin.last_sync,
                    exported=volume["export_name"] is not None,
                    attached=volume["vm_id"] is not None,
                )
            )
    return tuple(found)


def _reason(origin: Origin, there: Identities | None) -> str:
    if origin.gone or origin.held:
        return origin.gone
    return MACHINE_DELETED if there is not None and not there.may_have(origin.vm_uuid, origin.vm) else ""


def _there(runtime: Runtime, known: Iterable[Origin]) -> tuple[Identities | None, tuple[str, ...]]:
    """Return who is in vCenter, where that has to be known, and what was not checked."""
    asked = [origin for origin in known if not origin.gone and not origin.held]
    if not asked:
        return None, ()
    what = "whether the machines of the replicas are still in vCenter"
    vcenter = runtime.config.vcenter
    if vcenter is None:
        return None, (f"{what}: no vCenter is configured here",)
    others = sorted({origin.vcenter for origin in asked} - {vcenter.host})
    not_checked = tuple(f"{what}: those of {host}, for {vcenter.host} was asked" for host in others)
    mine = {origin.vm_uuid: origin.vm for origin in asked if origin.vcenter == vcenter.host}
    if not mine:
        return None, not_checked
    try:
        with client.connect(vcenter, runtime.observer.note) as service:
            there = identities(service)
    except MigrateKitError as error:
        return None, (*not_checked, f"{what}: {error}")
    if not there.uuids:
        return None, (*not_checked, f"{what}: {vcenter.host} shows this account no machine")
    # Those of other vCenters count as there.
    elsewhere = {origin.vm_uuid for origin in asked} - mine.keys()
    return Identities(there.uuids | elsewhere, there.unknown), not_checked


def _origins(db: Session, volume_ids: Sequence[str]) -> Iterator[Origin]:
    rows: list[tuple[VmDisk, ReplicationJob]] = []
    synced: dict[str, datetime | None] = {}
    this = col(VmDisk.ossea_volume_id) == col(SourceVolume.volume_id)
    # Each looks at the end of an index: a volume has thousands of rows, one for each sync.
    newest_row = select(VmDisk.id).where(this).order_by(col(VmDisk.id).desc()).limit(1).scalar_subquery()
    ended = (
        select(ReplicationJob.completed_at)
        .join(VmDisk, col(VmDisk.job_id) == ReplicationJob.id)
        .where(this, ReplicationJob.status == COMPLETED)
        .order_by(col(VmDisk.id).desc())
        .limit(1)
        .scalar_subquery()
    )
    for ids in _cut(volume_ids):
        found = db.exec(
            select(SourceVolume.volume_id, newest_row, ended).where(col(SourceVolume.volume_id).in_(ids))
        ).all()
        synced |= {volume_id: at for volume_id, _, at in found}
        joined = select(VmDisk, ReplicationJob).join(ReplicationJob, col(VmDisk.job_id) == ReplicationJob.id)
        rows += db.exec(joined.where(col(VmDisk.id).in_([row for _, row, _ in found]))).all()
    uuids = sorted({job.source_vm_id for _, job in rows})
    # What the last completed sync has left counts until the next one is completed, too: until then it is all there is.
    newest = _newest(db, uuids, completed=False)
    current = _disks(db, [*newest.values(), *_newest(db, uuids, completed=True).values()])
    volumes = {(uuid, disk.ossea_volume_id) for uuid, disk in current}
    disks = {(uuid, disk.disk_id) for uuid, disk in current}
    held = _held(db, uuids)
    for disk, job in rows:
        uuid, volume_id = job.source_vm_id, str(disk.ossea_volume_id)
        gone = DISK_REPLACED if (uuid, disk.disk_id) in disks else DISK_REMOVED
        latest = newest.get(uuid, job)
        yield Origin(
            volume_id=volume_id,
            vm=latest.source_vm_name,
            vm_uuid=uuid,
            vcenter=latest.vcenter_host,
            disk=disk.label,
            last_sync=synced.get(volume_id),
            gone="" if (uuid, volume_id) in volumes else gone,
            held=uuid in held,
        )


def _newest(db: Session, uuids: Sequence[str], *, completed: bool) -> dict[str, ReplicationJob]:
    """Return the newest sync of each machine, of the completed ones or of all."""
    found: dict[str, ReplicationJob] = {}
    for some in _cut(uuids):
        pointer = col(SourceVm.completed_job_id if completed else SourceVm.newest_job_id)
        query = select(ReplicationJob).join(SourceVm, pointer == ReplicationJob.id)
        found |= {job.source_vm_id: job for job in db.exec(query.where(col(SourceVm.vm_id).in_(some))).all()}
    return found


def _disks(db: Session, jobs: Sequence[ReplicationJob]) -> list[tuple[str, VmDisk]]:
    """Return the disks of syncs, each with its machine's uuid."""
    machines = {job.id: job.source_vm_id for job in jobs}
    found: list[tuple[str, VmDisk]] = []
    for ids in _cut(sorted(machines)):
        rows = db.exec(select(VmDisk).where(col(VmDisk.job_id).in_(ids))).all()
        found += [(machines[disk.job_id], disk) for disk in rows]
    return found


def _held(db: Session, uuids: Sequence[str]) -> set[str]:
    """Return the machines whose volumes a live failover has taken, or is about to."""
    found: set[str] = set()
    for some in _cut(uuids):
        taken = col(FailoverState.committed) | col(FailoverJob.status).in_((RUNNING, FAILED, ROLLING_BACK))
        query = (
            select(FailoverJob.vm_id)
            .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
            .where(FailoverJob.job_type == "live", col(FailoverJob.vm_id).in_(some), taken)
        )
        found |= set(db.exec(query).all())
    return found


def _cut(values: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, AT_ONCE)):
        yield some
