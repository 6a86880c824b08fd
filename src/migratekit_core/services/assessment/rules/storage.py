"""Datastores: which reader they need, and whether they can bear a snapshot."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.readers.layout import Layout
from migratekit_core.adapters.vsphere.inventory import Datastore, Disk, VirtualMachine
from migratekit_core.common.units import GIB, human_bytes
from migratekit_core.services.assessment.rule import OTHER_READERS, Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site

ROOM_SHARE = 0.1
"""Of the disks' capacity: what a snapshot may take up in the hours of a first sync."""
LEAST_ROOM = 1 * GIB


def _of_type(vm: VirtualMachine, *types: str) -> Iterator[tuple[Disk, Datastore]]:
    for disk in vm.disks:
        store = vm.datastore_of(disk)
        if store is not None and store.type.upper() in types:
            yield disk, store


@machine_rule(
    "MK-STORE-001",
    Severity.BLOCKER,
    "disk on vSAN",
    why="vSAN keeps a disk as objects: its datastore browser serves the descriptor, but no flat file.",
    remedy=f"Move the disk to a VMFS or NFS datastore by storage vMotion; {OTHER_READERS}",
)
def vsan(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks on vSAN where files are read."""
    for disk, store in _of_type(vm, "VSAN", "VSAND"):
        if Layout.OBJECT in site.unread:
            yield Hit(f"datastore {store.name} is vSAN, which {site.named_readers} cannot read", disk.label)


@machine_rule(
    "MK-STORE-002",
    Severity.BLOCKER,
    "disk on a virtual volume (vVol)",
    why="The disk is an object of the storage array: there is no flat file on the datastore.",
    remedy=f"Move the disk to a VMFS or NFS datastore by storage vMotion; {OTHER_READERS}",
)
def vvol(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks on vVols where files are read."""
    for disk, store in _of_type(vm, "VVOL"):
        if Layout.OBJECT in site.unread:
            yield Hit(f"datastore {store.name} is a vVol, which {site.named_readers} cannot read", disk.label)


@machine_rule(
    "MK-STORE-003",
    Severity.INFO,
    "disk on NFS",
    why="All readers work. Removing a snapshot on NFS 3 can stun the guest for seconds where the disk is hot-added "
    "elsewhere; MigrateKit does not hot-add.",
    remedy="Nothing has to be done.",
)
def nfs(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks on NFS."""
    for disk, store in _of_type(vm, "NFS", "NFS41"):
        yield Hit(f"datastore {store.name} is {store.type}", disk.label)


@machine_rule(
    "MK-STORE-004",
    Severity.WARNING,
    "little free space for a snapshot",
    why="While a disk is copied the guest's writes go to a snapshot file on the same datastore. If it fills up, every "
    "machine on that datastore stops.",
    remedy="Free space, or move the machine; replicate it when it writes little.",
)
def little_room(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report datastores with less room than a long sync may need."""
    for store in vm.datastores:
        mine = sum(disk.capacity_bytes for disk in vm.disks if vm.datastore_of(disk) is store)
        wanted = max(int(mine * ROOM_SHARE), LEAST_ROOM)
        if mine and store.accessible and store.free_bytes < wanted:
            yield Hit(
                f"{human_bytes(store.free_bytes)} free, and {human_bytes(wanted)} are wise for this machine", store.name
            )


@machine_rule(
    "MK-STORE-005",
    Severity.BLOCKER,
    "datastore is not accessible",
    why="No host can reach the files of the machine.",
    remedy="Bring the datastore back (storage, paths, NFS server), then run the assessment again.",
)
def inaccessible(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report datastores that are gone."""
    for store in vm.datastores:
        if not store.accessible:
            yield Hit("vSphere calls it inaccessible", store.name)
