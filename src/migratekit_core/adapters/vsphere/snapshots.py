"""Snapshots of ours: made, found again, and removed. One of another tool, or of another installation of MigrateKit, is
never touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere import consolidation
from migratekit_core.adapters.vsphere.changes import carry_out
from migratekit_core.adapters.vsphere.client import faults
from migratekit_core.adapters.vsphere.tasks import settle, wait
from migratekit_core.common import failpoints as points
from migratekit_core.common.vsphere_names import shown

PREFIX = "migratekit-"
"""How the name of each of MigrateKit's snapshots begins."""
_NAME = re.compile(PREFIX + r"(?:([0-9a-f]{12})-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
"""Behind it stand the installation's id and the job's; version 0.1.0 wrote the job's alone."""


@dataclass(frozen=True)
class Owner:
    """Whose snapshots are ours."""

    installation: str
    """Its id."""
    knows: Callable[[str], bool]
    """Whether this installation has, or had, the job with an id."""

    def name(self, job_id: str) -> str:
        """Return the name of a snapshot of a job's."""
        return f"{PREFIX}{self.installation}-{job_id}"

    def owns(self, name: str) -> bool:
        """Return whether the snapshot with this name was made by this installation."""
        found = _NAME.fullmatch(name)
        if found is None:
            return False
        installation, job_id = found.groups()
        return installation == self.installation if installation is not None else self.knows(job_id)


def create(vm: Any, name: str, description: str) -> Any:
    """Take a snapshot without memory and without quiescing; return its managed object. `name`: of `Owner.name`.

    Crash-consistent, as a power cut would leave the disks: it never hangs on a guest's agent.
    """
    with faults(f"snapshot of {shown(vm.name)}"), points.call("CreateSnapshot"):
        before = {snapshot._moId for snapshot, _ in made(vm)}
        return carry_out(
            vm,
            lambda: wait(vm.CreateSnapshot_Task(name=name, description=description, memory=False, quiesce=False)),
            lambda: next((new for new, called in made(vm) if new._moId not in before and called == name), None),
        )


def made(vm: Any) -> Iterator[tuple[Any, str]]:
    """Yield (snapshot, its name) of each snapshot that any MigrateKit made, the children before their parents."""
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

    def find() -> Any:
        return next((found for found, _ in made(vm) if found._moId == snapshot_id), None)

    snapshot = find()
    if snapshot is None:
        return False
    with faults(f"removal of the snapshot of {shown(vm.name)}"), points.call("RemoveSnapshot"):
        try:
            carry_out(
                vm,
                lambda: wait(snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True)) or True,
                lambda: True if find() is None else None,
            )
        except (vim.fault.NotFound, vmodl.fault.ManagedObjectNotFound):
            return False
        except vmodl.MethodFault:
            # It may be gone, and only its disks left behind: that is consolidation's.
            if find() is not None or not consolidation.needed(vm):
                raise
    return True


def remove_named(vm: Any, name: str) -> None:
    """Remove what is called so, once the machine works on nothing: a call without an answer may make it only now."""
    settle(vm)
    for snapshot, called in list(made(vm)):
        if called == name:
            remove(vm, snapshot._moId)


def remove_all_ours(vm: Any, owner: Owner) -> list[str]:
    """Remove every snapshot that this installation made of the machine; return their names."""
    names = []
    for snapshot, name in list(made(vm)):
        if owner.owns(name) and remove(vm, snapshot._moId):
            names.append(name)
    return names
