"""How a disk's content lies on a datastore, and why a reader does not read it.

A disk that a snapshot froze is a flat file, byte for byte, or one of the layouts here, or several. A reader names those
that it reads; every reader reads a flat file. Rules of assess ask about the same layouts.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine

OBJECT_STORES = {"VSAN": "vSAN", "VSAND": "vSAN", "VVOL": "a vVol"}
"""Datastores, by vSphere's type in capitals, that keep a disk as an object and have no flat file."""
FLAT = "FlatVer"
RAW_DEVICE = "RawDiskMapping"


class Layout(StrEnum):
    """A layout in which the file of the datastore is not the disk."""

    CHAIN = "chain"
    """On top of another disk: an earlier snapshot, or a linked clone."""
    RAW_DEVICE = "raw-device"
    """A raw device mapping in virtual mode."""
    SPARSE = "sparse"
    """SE sparse, hosted sparse, PMem: a format that scatters the content."""
    ENCRYPTED = "encrypted"
    """By vSphere."""
    OBJECT = "object"
    """On vSAN or a vVol."""


ALL = frozenset(Layout)


def layouts(disk: Disk, vm: VirtualMachine) -> dict[Layout, str]:
    """Return the layouts of a disk, each with what to say of it; nothing of a flat file.

    `disk` is the one of the snapshot's own configuration, which names the file that the snapshot froze.
    """
    found = dict[Layout, str]()
    if disk.has_parent:
        found[Layout.CHAIN] = (
            "it already had a snapshot (or is a linked clone): its content is spread over several files"
        )
    elif disk.backing.startswith(RAW_DEVICE):
        found[Layout.RAW_DEVICE] = f"its backing is {disk.backing}: it maps a LUN"
    elif not disk.backing.startswith(FLAT):
        found[Layout.SPARSE] = f"its backing is {disk.backing}, not a flat file"
    if disk.encrypted:
        found[Layout.ENCRYPTED] = "it is encrypted by vSphere: its file is ciphertext"
    store = vm.datastore_of(disk)
    kind = OBJECT_STORES.get(store.type.upper()) if store is not None else None
    if kind:
        found[Layout.OBJECT] = f"datastore {disk.datastore} is {kind}: there is no flat file on it"
    return found


def never_frozen(disk: Disk) -> str:
    """Return why no snapshot freezes a disk, so that no reader can read it; "" where one does."""
    if "independent" in disk.mode:
        return f"its mode is {disk.mode}: snapshots leave it out, so it is never frozen"
    if disk.rdm_mode == "physicalMode":
        return "it maps a LUN in physical mode: snapshots leave it out, so it is never frozen"
    return ""


def refusal(reads: AbstractSet[Layout], disk: Disk, vm: VirtualMachine) -> str:
    """Return why a reader of flat files and the layouts `reads` cannot read a disk of a snapshot; "" where it can."""
    reason = never_frozen(disk)
    if reason:
        return reason
    for layout, text in layouts(disk, vm).items():
        if layout not in reads:
            return text
    if not disk.path:
        return "vSphere names no file of it"
    if not disk.path.endswith(".vmdk") or not disk.datastore:
        return f"its file {disk.path!r} is no VMDK on a datastore"
    return ""


def flat_file(disk: Disk) -> str:
    """Return the path of the disk's flat file within its datastore.

    While a snapshot is open every write of the guest goes to a delta file, so this file is frozen: what is read there
    is the disk as it was at the snapshot.
    """
    return disk.path.partition("]")[2].strip().removesuffix(".vmdk") + "-flat.vmdk"
