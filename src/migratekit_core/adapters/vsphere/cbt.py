"""Changed-block tracking: switched on, made effective, and asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.changes import carry_out
from migratekit_core.adapters.vsphere.client import fault_text, faults
from migratekit_core.adapters.vsphere.inventory import read_disks, read_tracking
from migratekit_core.adapters.vsphere.session import answer_within
from migratekit_core.adapters.vsphere.tasks import wait
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.common.vsphere_names import shown

EVERYTHING = "*"
"""The change id that asks for all allocated areas."""
ANSWER_SECONDS = 900.0
"""How long vSphere may take to tell what changed: on a large disk, or a busy host, longer than for any other call."""


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


def enable(vm: Any) -> bool:
    """Switch change tracking on for `vm` and all its disks; return whether it was off.

    A running machine begins to track at its next snapshot (`missing` tells). Raises PreconditionError where the machine
    has snapshots, for vSphere cannot begin to track on top of one, and where a disk is excluded by a setting.
    """
    tracking = read_tracking(vm)
    has_snapshots = vm.snapshot is not None
    refuse_unfit(shown(vm.name), tracking.flag or tracking.setting, tracking.excluded, has_snapshots)
    if tracking.flag or has_snapshots:
        return False
    with faults(f"change tracking of {shown(vm.name)}"):
        carry_out(
            vm,
            lambda: wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True))) or True,
            lambda: read_tracking(vm).flag or None,
        )
    return True


def refuse_unfit(name: str, on: bool, excluded: Mapping[str, str], has_snapshots: bool) -> None:
    """Raise PreconditionError where not all disks of a machine can be tracked.

    `on`: whether tracking is; `excluded`: disks and the settings that exclude them.
    """
    if excluded:
        disks = ", ".join(f"{label} ({key})" for label, key in excluded.items())
        raise PreconditionError(
            f"changed-block tracking is switched off for disks of {name}",
            f"by an advanced setting: {disks}",
            "remove the setting in vCenter, then run the command again",
            code=ErrorCode.CBT_IMPOSSIBLE,
            facts={"vm": name, "settings": ", ".join(sorted(excluded.values()))},
        )
    if not on and has_snapshots:
        raise PreconditionError(
            f"changed-block tracking is off for {name}, and cannot be switched on",
            "the machine has snapshots",
            "remove or consolidate them in vCenter, then run the command again",
            code=ErrorCode.CBT_IMPOSSIBLE,
            facts={"vm": name},
        )


def missing(snapshot: Any) -> list[str]:
    """Return the labels of the disks of a snapshot that have no change id: tracking began with it, or does nothing.

    A live disk may have none though it is tracked (recorded of a 6.7 U3 with vSAN), so only snapshots are asked.
    """
    return [disk.label for disk in read_disks(snapshot) if disk.change_id is None]


def allocated(vm: Any, snapshot: Any, disk_key: int, capacity: int) -> list[Area] | None:
    """Return where a disk of `snapshot` may hold anything but zeros, one area at least; None where vSphere cannot tell.

    Storage other than VMFS may refuse the question, or answer it with one area, the whole disk. No area at all is not
    believed: old faults of change tracking answer so of disks that hold data, and who believes it loses them all.
    """
    try:
        return list(changed_areas(vm, snapshot, disk_key, capacity, EVERYTHING)) or None
    except (EpochLostError, vmodl.fault.NotSupported, vmodl.fault.SystemError):
        return None


def changed_areas(vm: Any, snapshot: Any, disk_key: int, capacity: int, change_id: str) -> Iterator[Area]:
    """Yield the areas of a disk that changed between `change_id` and `snapshot`, in ascending order.

    `capacity` is the disk's in the *snapshot*, in bytes: asking beyond it is an error of vSphere's. Answers come in
    pages of some 2,000 areas. Raises EpochLostError where vSphere does not accept the change id.
    """
    offset = 0
    while offset < capacity:
        try:
            with answer_within(ANSWER_SECONDS):
                info = vm.QueryChangedDiskAreas(
                    snapshot=snapshot, deviceKey=disk_key, startOffset=offset, changeId=change_id
                )
        except (vim.fault.FileFault, vmodl.fault.InvalidArgument) as fault:
            raise EpochLostError(
                f"vSphere does not know what changed on disk {disk_key} of {shown(vm.name)}",
                f"change id {change_id}: {fault_text(fault)}",
                "a full sync is needed",
                code=ErrorCode.CBT_EPOCH_LOST,
                facts={"vm": shown(vm.name), "disk": disk_key},
            ) from None
        for area in info.changedArea or []:
            # Never trusted beyond the disk: what lies behind its end is not ours to write.
            end = min(area.start + area.length, capacity)
            if end > area.start:
                yield Area(area.start, end - area.start)
        following = info.startOffset + info.length
        if following <= offset:
            raise OperationFailedError(
                f"changed areas of disk {disk_key} of {shown(vm.name)} do not advance",
                f"vSphere answered {info.length} bytes at offset {info.startOffset}",
                "run the command again; if it stays so, switch change tracking off and on",
                code=ErrorCode.BAD_ANSWER,
                facts={"vm": shown(vm.name), "disk": disk_key},
            )
        offset = following
