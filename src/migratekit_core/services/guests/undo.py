"""The replica survives its conversion: snapshots before it, and volumes made of them in its place where it has to go.

CloudStack reverts a volume only on some primary storage and only on a stopped machine, so the way back is one that
every storage has: a volume of the snapshot takes the place of the converted one. What it holds is what the last sync
left, so its change id stays true and the next sync is incremental.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, select

from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import FailoverState, ReplicationCheckpoint, VmDisk
from migratekit_core.db.sources import note_volume
from migratekit_core.joblog import Job, Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.guests import tool
from migratekit_core.services.guests.record import Record
from migratekit_core.services.replication import replica, targets
from migratekit_core.services.replication.replica import KEPT, UNKNOWN
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import TAG

CONVERSION, EXPORTED = "conversion", "conversion_exports"
"""Where a failover's state remembers it, and which of its volumes are exported for it."""


@dataclass(frozen=True)
class Kept:
    """What is remembered of a conversion."""

    volumes: list[str]
    """What was to be protected."""
    snapshots: dict[str, str]
    """By volume, from before the conversion."""
    changed: bool
    """Whether the volumes may hold something else than what was synced."""
    done: bool
    replaced: dict[str, str]
    """The volume that was put in place of each."""


def of(record: Record) -> Kept | None:
    """Return what a failover remembers of a conversion; None where there was none, or it was undone."""
    state: dict[str, Any] | None = record.state().get(CONVERSION)
    if not state:
        return None
    return Kept(
        state.get("volumes", []),
        state.get("snapshots", {}),
        bool(state.get("changed")),
        bool(state.get("done")),
        state.get("replaced", {}),
    )


def remember(record: Record, **values: Any) -> None:
    """Add to what is remembered of a conversion."""
    record.remember(**{CONVERSION: {**(record.state().get(CONVERSION) or {}), **values}})


def unmount(record: Record) -> None:
    """Unmount what this run, or one that was killed, has mounted on this host."""
    tool.clear(record.id)


def exporting(record: Record, volume_ids: list[str]) -> None:
    """Remember which volumes are about to be exported, or that none is any more."""
    record.remember(**{EXPORTED: volume_ids})


def exported(record: Record) -> list[str]:
    """Return the volumes that were to be exported by a run that was killed, or is under way."""
    return record.state().get(EXPORTED) or []


def take_back_exports(volumes: VolumeClient, record: Record) -> None:
    """Take back the exports that a run which was killed has left. No sync of the machine may be under way."""
    for volume_id in exported(record):
        volume = volumes.get(volume_id)
        if volume is not None and volume["export_name"]:
            targets.fence(volumes, volume_id)
    exporting(record, [])


SNAPSHOT = re.compile(r"^mk-convert-([0-9a-f]{8})-")
"""How the volume daemon calls the snapshots from before a conversion (`snapshot_name` within it)."""


def snapshot_name(failover_id: str) -> str:
    """Return the name of the snapshots from before a conversion."""
    return f"convert-{failover_id[:8]}"


def protect(volumes: VolumeClient, job: Job, record: Record, volume_ids: list[str]) -> None:
    """Snapshot the volumes as they were synced; then, and only then, they may be changed."""
    with job.step("protect-replica") as step:
        # Which ones is written down before the first: a killed run's snapshots are found by their name.
        remember(record, volumes=volume_ids)
        taken: dict[str, str] = {}
        for volume_id in volume_ids:
            # Of this run only: what a killed one took was just deleted, and is not the state that is to be kept.
            key = f"convert-{record.id}-{job.id}-{volume_id}"
            taken[volume_id] = str(volumes.snapshot(volume_id, snapshot_name(record.id), key)["snapshot_id"])
            remember(record, snapshots=taken)
            step.log(EventKind.SNAPSHOT_TAKEN, volume_id=volume_id, snapshot_id=taken[volume_id])


def put_back(runtime: Runtime, volumes: VolumeClient, job: Job, record: Record) -> str | None:
    """Have the replica be what the last sync left, and forget the conversion; None where there was none.

    Returns KEPT, or UNKNOWN where a snapshot is gone: then what is recorded of the volume has to be forgotten. Each
    part looks before it acts, so running it again after a crash finishes it. The volumes must be on no machine but the
    OMA.
    """
    unmount(record)
    kept = of(record)
    if kept is None:
        return None
    content: str | None = None
    with job.step("put-back-replica") as step:
        if kept.changed:
            content = KEPT
            for volume_id in kept.volumes:
                if volume_id in kept.replaced:
                    continue
                # None where a cleanup has said that nobody wants to go back (`forget`).
                snapshot_id = kept.snapshots.get(volume_id)
                if snapshot_id is None or not _replace(runtime, volumes, record, step, volume_id, snapshot_id):
                    content = UNKNOWN
        _delete_snapshots(volumes, step, {*kept.snapshots.values(), *_by_name(volumes, record, kept)})
        after = of(record)
        for volume_id in after.replaced if after is not None else ():
            _discard(volumes, step, volume_id)
        also = {"content": content} if content is not None else {}
        record.remember(**{CONVERSION: None}, **also)
    return content


def forget(volumes: VolumeClient, job: Job, record: Record) -> tuple[str, ...]:
    """Delete the snapshots that a completed failover keeps for its way back; return their ids."""
    kept = of(record)
    if kept is None or not kept.snapshots:
        return ()
    with job.step("delete-conversion-snapshots") as step:
        _delete_snapshots(volumes, step, set(kept.snapshots.values()))
        remember(record, snapshots={})
    return tuple(kept.snapshots.values())


def _replace(
    runtime: Runtime, volumes: VolumeClient, record: Record, step: Step, volume_id: str, snapshot_id: str
) -> bool:
    """Put a volume of the snapshot in place of a volume; return whether that could be."""
    found = replica.newest(runtime.databases.oma, record.row().vm_id)
    row = next((disk for disk in found.disks if disk.ossea_volume_id == volume_id), None) if found else None
    assert found is not None and row is not None, "the failover was made of this replica, and holds its lock"
    volume = volumes.get(volume_id)
    if volume is not None and snapshot_id not in [snapshot["id"] for snapshot in volume["snapshots"]]:
        step.log(EventKind.CONVERSION_SNAPSHOT_GONE, level="warning", volume_id=volume_id, snapshot_id=snapshot_id)
        return False
    name = found.job.source_vm_name
    tags = {TAG: found.job.source_vm_id, f"{TAG}-vm": name, f"{TAG}-disk": row.disk_id}
    key = f"put-back-{record.id}-{snapshot_id}"
    made = str(volumes.clone(snapshot_id, f"{name}-{row.disk_id}", tags, key)["volume_id"])

    def change(db: Session) -> None:
        # One transaction: the replica is the one volume or the other, never both, and never none.
        disk, state = db.get(VmDisk, row.id), db.get(FailoverState, record.id)
        assert disk is not None and state is not None, "both were read above"
        disk.ossea_volume_id = made
        note_volume(db, found.job.source_vm_id, disk.disk_id, made)
        for left in db.exec(select(ReplicationCheckpoint).where(ReplicationCheckpoint.volume_id == volume_id)).all():
            db.delete(left)
        conversion = state.state[CONVERSION]
        replaced = {**conversion.get("replaced", {}), volume_id: made}
        state.state = {**state.state, CONVERSION: {**conversion, "replaced": replaced}}

    write(runtime.databases.oma, change)
    step.log(EventKind.REPLICA_PUT_BACK, volume_id=volume_id, snapshot_id=snapshot_id, new_volume_id=made)
    return True


def _by_name(volumes: VolumeClient, record: Record, kept: Kept) -> set[str]:
    found = [volume for volume_id in kept.volumes if (volume := volumes.get(volume_id)) is not None]
    begin = f"mk-{snapshot_name(record.id)}-"
    return {str(one["id"]) for volume in found for one in volume["snapshots"] if one["name"].startswith(begin)}


def _delete_snapshots(volumes: VolumeClient, step: Step, snapshots: set[str]) -> None:
    for snapshot_id in sorted(snapshots):
        volumes.delete_snapshot(snapshot_id)
        step.log(EventKind.SNAPSHOT_DELETED, snapshot_id=snapshot_id)


def _discard(volumes: VolumeClient, step: Step, volume_id: str) -> None:
    """Delete a volume whose place another has taken."""
    targets.fence(volumes, volume_id)
    volume = volumes.get(volume_id)
    if volume is not None and volume["vm_id"] is not None:
        volumes.detach(volume_id)
    volumes.delete(volume_id)
    step.log(EventKind.CONVERTED_VOLUME_DELETED, volume_id=volume_id)
