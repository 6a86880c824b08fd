"""What is free on datastores, and how far the deltas of a machine's snapshots have grown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.client import faults
from migratekit_core.adapters.vsphere.inventory.model import apart
from migratekit_core.common.vsphere_names import shown


@dataclass(frozen=True)
class Room:
    """A datastore's space, in bytes."""

    name: str
    free: int
    capacity: int


def rooms(service: Any, morefs: Iterable[str]) -> list[Room]:
    """Return the space of datastores, by their managed object ids. `service`: anything of pyVmomi's on the connection.

    vCenter's own figures may be minutes old, so it is asked to look first; where the account may not ask that, they
    have to do. Raises our errors.
    """
    found = []
    with faults("free space"):
        for moref in sorted(set(morefs)):
            store = vim.Datastore(moref, service._stub)
            with contextlib.suppress(vmodl.MethodFault):
                store.RefreshDatastore()
            summary = store.summary
            found.append(Room(shown(str(summary.name)), int(summary.freeSpace), int(summary.capacity)))
    return found


def delta_store(vm: Any) -> str | None:
    """Return the id of the datastore that the deltas of a machine's snapshots are made on, where that is not each
    disk's own: `workingDir`, which counts only together with `snapshot.redoNotWithParent`. Raises our errors.
    """
    with faults(f"settings of {shown(vm.name)}"):
        config = vm.config
        if config is None or not apart({str(option.key): str(option.value) for option in config.extraConfig}):
            return None
        name, closed, _ = str(config.files.snapshotDirectory or "").removeprefix("[").partition("]")
        return next((str(store._moId) for store in vm.datastore if closed and store.summary.name == name), None)


def delta_bytes(vm: Any) -> int:
    """Return how much the files that the machine's disks are written to now take, where they are deltas. Raises our
    errors."""
    with faults(f"files of {shown(vm.name)}"):
        with contextlib.suppress(vmodl.MethodFault):
            vm.RefreshStorageInfo()
        layout = vm.layoutEx
        if layout is None:
            return 0
        sizes = {file.key: int(file.size) for file in layout.file}
        tops = [disk.chain[-1] for disk in layout.disk if len(disk.chain) > 1]
        return sum(sizes.get(key, 0) for top in tops for key in top.fileKey)
