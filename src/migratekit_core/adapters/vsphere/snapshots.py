"""Snapshots of ours: made, found again, and removed. A snapshot of another tool is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import vim

from migratekit_core.adapters.vsphere.client import faults, wait
from migratekit_core.common import failpoints as points

PREFIX = "migratekit-"
"""How the name of each of our snapshots begins; behind it stands the replication job's id."""


def create(vm: Any, job_id: str, description: str) -> Any:
    """Take a snapshot without memory and without quiescing; return its managed object.

    Crash-consistent, as a power cut would leave the disks: it never hangs on a guest's agent.
    """
    with faults(f"snapshot of {vm.name}"), points.call("CreateSnapshot"):
        task = vm.CreateSnapshot_Task(name=PREFIX + job_id, description=description, memory=False, quiesce=False)
        return wait(task)


def ours(vm: Any) -> Iterator[tuple[Any, str]]:
    """Yield (snapshot, its name) of each snapshot that MigrateKit made, the children before their parents."""
    info = vm.snapshot
    roots = info.rootSnapshotList if info is not None else []
    for root in roots:
        yield from _walk(root)


def _walk(tree: Any) -> Iterator[tuple[Any, str]]:
    for child in tree.childSnapshotList or []:
        yield from _walk(child)
    if tree.name.startswith(PREFIX):
        yield tree.snapshot, tree.name


def remove(vm: Any, snapshot_id: str) -> bool:
    """Remove our snapshot with this managed object id and merge its delta; return whether there was one.

    Children stay: a snapshot that another tool took on top of ours is its own.
    """
    for snapshot, _ in ours(vm):
        if snapshot._moId == snapshot_id:
            with faults(f"removal of the snapshot of {vm.name}"):
                try:
                    with points.call("RemoveSnapshot"):
                        wait(snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True))
                except vim.fault.NotFound:
                    return False
            return True
    return False


def remove_all_ours(vm: Any) -> list[str]:
    """Remove every snapshot that MigrateKit made of this machine; return their names."""
    names = []
    for snapshot, name in list(ours(vm)):
        if remove(vm, snapshot._moId):
            names.append(name)
    return names
