"""The volumes of one sync: made where they are missing, attached, exported, and left attached for the next one."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator
from functools import partial

from sqlmodel import Session, func, select

from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine
from migratekit_core.common.errors import BusyError
from migratekit_core.context import Runtime
from migratekit_core.db.engine import answers, write
from migratekit_core.db.models.oma import ReplicationJob, VmDisk
from migratekit_core.db.models.sources import SourceVolume
from migratekit_core.db.sources import note_volume
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.later import later
from migratekit_core.services.replication.plan import fits
from migratekit_core.services.replication.replica import is_replica_of
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import TAG

FENCE_SECONDS = 30.0
"""How long the engine of a killed run may still be connected before this run gives up waiting for it."""


@contextlib.contextmanager
def exported(
    runtime: Runtime, job: Job, vm: VirtualMachine, volumes: VolumeClient
) -> Iterator[dict[int, tuple[str, str]]]:
    """Have a volume for every disk, attached and exported; yield (volume id, export name) by device key.

    The exports end with the block; the volumes stay attached for the next sync.
    """
    made: dict[int, tuple[str, str]] = {}
    try:
        with job.step("prepare-volumes") as step:
            for disk in vm.disks:
                volume_id = _volume_of(runtime, job, vm, disk, volumes)
                attached = volumes.attach(volume_id)
                fence(volumes, volume_id)
                export = volumes.export(volume_id, vm.name, str(disk.key))["export_name"]
                made[disk.key] = (volume_id, export)
                step.log(EventKind.VOLUME_READY, disk=disk.label, volume_id=volume_id, export=export)
                device = attached["device_path"]
                write(runtime.databases.oma, partial(_record, job.id, volume_id, disk, export, device))
        yield made
    finally:
        if made:
            # Where the database is away the daemon cannot look what it exports: it is waited for first, as by a step.
            regardless = later(job) if answers(runtime.databases.oma) else contextlib.nullcontext(job)
            with regardless as undo, undo.step("unexport-volumes"):
                for volume_id, _ in made.values():
                    fence(volumes, volume_id)


def _record(job_id: str, volume_id: str, disk: Disk, export: str, device: str, db: Session) -> None:
    row = db.get(ReplicationJob, job_id)
    assert row is not None, "the sync made its row before its volumes"
    row.nbd_export_name, row.target_device = export, device
    is_replica_of(db, volume_id, disk)


def _volume_of(runtime: Runtime, job: Job, vm: VirtualMachine, disk: Disk, volumes: VolumeClient) -> str:
    """Return the volume of a disk, made now where there is none."""
    engine = runtime.databases.oma
    known = write(engine, lambda db: disk_row(db, job.id, disk).ossea_volume_id)
    if known is not None and volumes.get(known) is not None:
        return known

    def forget(db: Session) -> int:
        # Deleted behind our back: whatever was known of its content goes with it.
        row = disk_row(db, job.id, disk)
        row.ossea_volume_id = row.disk_change_id = None
        mine = (SourceVolume.vm_id == vm.uuid, SourceVolume.disk_id == str(disk.key))
        return db.exec(select(func.count()).select_from(SourceVolume).where(*mine)).one()

    def remember(db: Session) -> None:
        row = disk_row(db, job.id, disk)
        row.ossea_volume_id, row.disk_change_id = made["volume_id"], None
        note_volume(db, vm.uuid, str(disk.key), made["volume_id"])

    # The same key until a volume is recorded: a run that was killed in between finds its volume, not a second one.
    # Volumes recorded before (of a disk that outgrew them, or that a failover gave away) make it another one.
    generation = write(engine, forget)
    name = f"{vm.name}-{disk.key}"
    key = f"create-{vm.uuid}-{disk.key}-{disk.capacity_bytes}-{generation}-{zlib.crc32(name.encode()):08x}"
    tags = {TAG: vm.uuid, f"{TAG}-vm": vm.name, f"{TAG}-disk": str(disk.key)}
    made = volumes.create(name, disk.capacity_bytes, tags, key)
    write(engine, remember)
    return str(made["volume_id"])


def without_volume(volumes: VolumeClient, vm: VirtualMachine, known: dict[int, VmDisk]) -> list[Disk]:
    """Return the disks of a machine that a sync would make a volume for: there is none, it was deleted, or outgrown."""

    def has(disk: Disk) -> bool:
        row = known.get(disk.key)
        if row is None or row.ossea_volume_id is None or not fits(row, disk):
            return False
        return volumes.get(row.ossea_volume_id) is not None

    return [disk for disk in vm.disks if not has(disk)]


def disk_row(db: Session, job_id: str, disk: Disk) -> VmDisk:
    row: VmDisk = db.exec(select(VmDisk).where(VmDisk.job_id == job_id, VmDisk.disk_id == str(disk.key))).one()
    return row


def fence(volumes: VolumeClient, volume_id: str) -> None:
    """Take an export back, and shut out an engine that a killed run left behind: the export's name is gone for good."""
    deadline = time.monotonic() + FENCE_SECONDS
    while True:
        try:
            volumes.unexport(volume_id)
            return
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def delete_outgrown(
    job: Job, volumes: VolumeClient, known: dict[int, VmDisk], exports: dict[int, tuple[str, str]]
) -> None:
    """Delete the volumes of disks that have outgrown them: their content is in the new ones by now."""
    old = [
        row.ossea_volume_id
        for key, row in known.items()
        if row.ossea_volume_id is not None and key in exports and exports[key][0] != row.ossea_volume_id
    ]
    if not old:
        return
    with job.step("delete-outgrown-volumes") as step:
        for volume_id in old:
            volumes.unexport(volume_id)
            volume = volumes.get(volume_id)
            if volume is not None and volume["vm_id"] is not None:
                volumes.detach(volume_id)
            volumes.delete(volume_id)
            step.log(EventKind.VOLUME_DELETED, volume_id=volume_id)
