"""Disks whose content is one file of a datastore: which they are, and where that file is.

While a snapshot is open every write of the guest goes to a delta file, so the base file is frozen: what is read there
is the disk as it was at the snapshot. That holds only where the file *is* the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine

OBJECT_STORES = {"VSAN": "vSAN", "VSAND": "vSAN", "VVOL": "a vVol"}
"""Datastores, by vSphere's type in capitals, that keep a disk as an object and have no flat file."""


def refusal(disk: Disk, vm: VirtualMachine) -> str:
    """Return why the disk's base file is not the disk itself, or "" where it is.

    `disk` is the one of the snapshot's own configuration, which names the file that the snapshot froze.
    """
    if disk.has_parent:
        return "it already had a snapshot (or is a linked clone): its content is spread over several files"
    if not disk.backing.startswith("FlatVer"):
        return f"its backing is {disk.backing}, not a flat file"
    if "independent" in disk.mode:
        return f"its mode is {disk.mode}: snapshots leave it out, so it is never frozen"
    if not disk.path.endswith(".vmdk") or not disk.datastore:
        return f"its file {disk.path!r} is no VMDK on a datastore"
    if disk.encrypted:
        return "it is encrypted by vSphere: its file is ciphertext"
    store = vm.datastore_of(disk)
    kind = OBJECT_STORES.get(store.type.upper()) if store is not None else None
    if kind:
        return f"datastore {disk.datastore} is {kind}: there is no flat file on it"
    return ""


def flat_file(disk: Disk) -> str:
    """Return the path of the disk's flat file within its datastore."""
    return disk.path.partition("]")[2].strip().removesuffix(".vmdk") + "-flat.vmdk"
