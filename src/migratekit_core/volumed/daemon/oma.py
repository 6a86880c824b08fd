"""The virtual machine that the daemon runs on, as CloudStack has it, and what keeps it from taking disks."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.volumed.daemon.storage import Storage


@dataclass(frozen=True)
class Oma:
    """What CloudStack says of it."""

    id: str
    name: str
    account: str
    """Empty in a project."""
    hypervisor: str
    vm_snapshots: int | None
    """None where the role lacks listVMSnapshot."""
    backup_offering: str
    """Empty: none."""
    data_disks: int
    """How many are attached now, whosoever they are."""
    max_disks: int | None
    """How many CloudStack attaches: as configured (ossea.max_disks), or as a refusal said; None: not known."""


def look(storage: Storage) -> Oma:
    """Return what CloudStack says of the OMA. Raises PreconditionError where it is not there or cannot be used."""
    row = storage.oma_row()
    vm_id = str(row["id"])
    return Oma(
        id=vm_id,
        name=str(row.get("name", "")),
        account=str(row.get("account", "")),
        hypervisor=str(row.get("hypervisor", "")),
        vm_snapshots=storage.vm_snapshots(vm_id),
        backup_offering=str(row.get("backupofferingname") or row.get("backupofferingid") or ""),
        data_disks=sum(volume.type != "ROOT" for volume in storage.attached_to(vm_id)),
        max_disks=storage.max_disks(),
    )


def unfit(oma: Oma) -> MigrateKitError | None:
    """Return why the OMA takes no disk now, or None.

    A backup offering is no such reason by itself: backup.enable.attach.detach.of.volumes may allow it, and an
    ordinary account cannot read that setting.
    """
    if oma.vm_snapshots:
        number = "a VM snapshot" if oma.vm_snapshots == 1 else f"{oma.vm_snapshots} VM snapshots"
        return PreconditionError(
            f"the OMA {oma.name} takes no disks",
            f"it has {number}: CloudStack attaches and detaches no disk of a virtual machine that has any",
            f"delete the VM snapshots of {oma.name} in CloudStack, then run again",
            code=ErrorCode.VM_HAS_SNAPSHOTS,
        )
    return None


def require_fit(storage: Storage) -> None:
    """Raise what keeps the OMA from taking a disk: before anything is made for it."""
    problem = unfit(look(storage))
    if problem is not None:
        raise problem
