"""Changed-block tracking: switched on, made effective, and asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere import snapshots
from migratekit_core.adapters.vsphere.client import fault_text, faults, wait
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError

EVERYTHING = "*"
"""The change id that asks for all allocated areas."""


class EpochLostError(OperationFailedError):
    """vSphere does not know the change id any more: only a full sync, or a comparison, can tell what changed."""


@dataclass(frozen=True)
class Area:
    """A stretch of a disk, in bytes."""

    offset: int
    length: int


def epoch(change_id: str) -> str:
    """Return the uuid part of a change id `uuid/number`: numbers of different epochs cannot be compared."""
    return change_id.partition("/")[0]


def number(change_id: str) -> int:
    """Return the number part of a change id; it only grows within an epoch. -1 where it is none."""
    text = change_id.partition("/")[2]
    return int(text) if text.isdigit() else -1


def enable(vm: Any, job_id: str) -> bool:
    """Switch change tracking on for `vm` and all its disks, and make it effective; return whether it was off.

    A running machine starts tracking at its next stun, so a snapshot is made and removed. Raises PreconditionError
    where the machine has snapshots: vSphere cannot begin to track on top of one.
    """
    if tracked(vm):
        return False
    if vm.snapshot is not None:
        raise impossible(vm.name)
    with faults(f"change tracking of {vm.name}"):
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    if vm.runtime.powerState == vim.VirtualMachine.PowerState.poweredOn:
        stun = snapshots.create(vm, job_id, "MigrateKit: makes changed-block tracking effective; can be removed")
        snapshots.remove(vm, stun._moId)
    return True


def impossible(name: str) -> PreconditionError:
    """Return the error for a machine with snapshots whose change tracking is off."""
    return PreconditionError(
        f"changed-block tracking is off for {name}, and cannot be switched on",
        "the machine has snapshots",
        "remove or consolidate them in vCenter, then run the command again",
        code=ErrorCode.CBT_IMPOSSIBLE,
        facts={"vm": name},
    )


def tracked(vm: Any) -> bool:
    """Return whether tracking is on and every disk has a change id: the flag alone can lie, either way."""
    disks = [device for device in vm.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
    flag = bool(vm.config.changeTrackingEnabled)
    if vm.runtime.powerState != vim.VirtualMachine.PowerState.poweredOn:
        return flag
    return flag and all(getattr(disk.backing, "changeId", None) for disk in disks)


def changed_areas(vm: Any, snapshot: Any, disk_key: int, capacity: int, change_id: str) -> Iterator[Area]:
    """Yield the areas of a disk that changed between `change_id` and `snapshot`, in ascending order.

    `capacity` is the disk's in the *snapshot*, in bytes: asking beyond it is an error of vSphere's. Answers come in
    pages of some 2,000 areas. Raises EpochLostError where vSphere does not accept the change id.
    """
    offset = 0
    while offset < capacity:
        try:
            info = vm.QueryChangedDiskAreas(
                snapshot=snapshot, deviceKey=disk_key, startOffset=offset, changeId=change_id
            )
        except (vim.fault.FileFault, vmodl.fault.InvalidArgument) as fault:
            raise EpochLostError(
                f"vSphere does not know what changed on disk {disk_key} of {vm.name}",
                f"change id {change_id}: {fault_text(fault)}",
                "a full sync is needed",
                code=ErrorCode.CBT_EPOCH_LOST,
                facts={"vm": vm.name, "disk": disk_key},
            ) from None
        for area in info.changedArea or []:
            # Never trusted beyond the disk: what lies behind its end is not ours to write.
            end = min(area.start + area.length, capacity)
            if end > area.start:
                yield Area(area.start, end - area.start)
        following = info.startOffset + info.length
        if following <= offset:
            raise OperationFailedError(
                f"changed areas of disk {disk_key} of {vm.name} do not advance",
                f"vSphere answered {info.length} bytes at offset {info.startOffset}",
                "run the command again; if it stays so, switch change tracking off and on",
                code=ErrorCode.BAD_ANSWER,
                facts={"vm": vm.name, "disk": disk_key},
            )
        offset = following
