"""Decides, disk by disk, whether what changed is known, or everything has to be copied. Pure: facts in, plan out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from migratekit_core.adapters.vsphere.cbt import EVERYTHING, epoch, number
from migratekit_core.adapters.vsphere.inventory import Disk
from migratekit_core.common.units import GIB, round_up
from migratekit_core.db.models.oma import ReplicationCheckpoint, VmDisk
from migratekit_core.services.replication.replica import OVERWRITTEN


@dataclass(frozen=True)
class Resume:
    """An interrupted copy: below `position` the volume holds what the snapshot of `change_id` held."""

    change_id: str
    position: int


@dataclass(frozen=True)
class DiskPlan:
    """What to copy of one disk."""

    full: bool
    base: str
    """Change id to ask vSphere with; `*` for a full copy."""
    reason: str
    resume: Resume | None = None
    compare: bool = False
    """Whether digests tell what to copy, instead of vSphere."""


def plan_disk(
    disk: Disk, known: VmDisk | None, checkpoint: ReplicationCheckpoint | None, compare: bool = False
) -> DiskPlan:
    """Return the plan for a disk as the snapshot has it (`disk.change_id` is the snapshot's).

    `known` is what is recorded of its replica, `checkpoint` what an interrupted copy left. Nothing is guessed: what is
    not known to be on the volume is copied. With `compare` the volume itself is asked, whatever is recorded of it; an
    interrupted copy is not gone on with then.
    """
    plan = _plan(disk, known, checkpoint)
    if compare and known is not None and known.ossea_volume_id is not None:
        return replace(plan, resume=None, compare=True)
    return plan


def _plan(disk: Disk, known: VmDisk | None, checkpoint: ReplicationCheckpoint | None) -> DiskPlan:
    assert disk.change_id is not None, "the caller has seen to change tracking"
    resume = _resume(disk, known, checkpoint)
    if known is None or known.ossea_volume_id is None:
        return DiskPlan(True, EVERYTHING, "first sync")
    if known.capacity_bytes != disk.capacity_bytes:
        return DiskPlan(True, EVERYTHING, f"the disk was resized from {known.capacity_bytes} bytes")
    if known.disk_change_id is None:
        reason = "the first sync goes on" if resume else "no sync has completed yet"
        if known.sync_status == OVERWRITTEN:
            reason = "the machine in CloudStack has written to the volume since"
        return DiskPlan(True, EVERYTHING, reason, resume)
    if epoch(known.disk_change_id) != epoch(disk.change_id):
        return DiskPlan(True, EVERYTHING, "change tracking began anew (another epoch)", resume)
    if number(known.disk_change_id) > number(disk.change_id):
        return DiskPlan(True, EVERYTHING, "the machine was reverted: its change number went back")
    return DiskPlan(False, known.disk_change_id, "changed blocks are known", resume)


def fits(known: VmDisk, disk: Disk) -> bool:
    """Return whether a disk still fits into the volume that was made for it."""
    return round_up(disk.capacity_bytes, GIB) // GIB <= known.size_gb


def _resume(disk: Disk, known: VmDisk | None, checkpoint: ReplicationCheckpoint | None) -> Resume | None:
    if known is None or checkpoint is None or not checkpoint.position or disk.change_id is None:
        return None
    usable = (
        checkpoint.volume_id == known.ossea_volume_id
        and known.capacity_bytes == disk.capacity_bytes
        # What changed since the interrupted copy's snapshot has to be knowable, too.
        and epoch(checkpoint.snapshot_change_id) == epoch(disk.change_id)
        and number(checkpoint.snapshot_change_id) <= number(disk.change_id)
        and checkpoint.base_change_id == known.disk_change_id
    )
    return Resume(checkpoint.snapshot_change_id, checkpoint.position) if usable else None
