"""The machines of the source: `list_vms` yields all of them as they are read, `find_vm` the one that is meant."""

from migratekit_core.adapters.vsphere.inventory.filters import Filter, choose, left_out, similar, who_is_left_out
from migratekit_core.adapters.vsphere.inventory.model import (
    Controller,
    Datastore,
    Device,
    Disk,
    GuestAddress,
    GuestVolume,
    Nic,
    Snapshot,
    VirtualMachine,
)
from migratekit_core.adapters.vsphere.inventory.reading import (
    Identities,
    deleted,
    find_vm,
    identities,
    list_vms,
    managed_object,
    read_disks,
    read_tracking,
)
from migratekit_core.common.vsphere_names import forms, shown, shown_path

__all__ = [
    "Controller",
    "Datastore",
    "Device",
    "Disk",
    "Filter",
    "GuestAddress",
    "GuestVolume",
    "Identities",
    "Nic",
    "Snapshot",
    "VirtualMachine",
    "choose",
    "deleted",
    "find_vm",
    "forms",
    "identities",
    "left_out",
    "list_vms",
    "managed_object",
    "read_disks",
    "read_tracking",
    "shown",
    "shown_path",
    "similar",
    "who_is_left_out",
]
