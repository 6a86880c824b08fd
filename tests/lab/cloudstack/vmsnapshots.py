"""createVMSnapshot, listVMSnapshot and deleteVMSnapshot: a machine that has one takes and gives no volume."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import answers
from .access import visible
from .call import Call, Work, flag, need, text
from .errors import invalid_value
from .listings import Listing, matching
from .lookup import existing_vm
from .model import VmSnapshot, now


def create(call: Call) -> Work:
    """Take a snapshot of a machine and of all its volumes."""
    cloud, vm = call.cloud, existing_vm(call, need(call, "virtualmachineid"))
    if vm.state not in ("Running", "Stopped"):
        raise invalid_value("Creating vm snapshot failed due to VM is not in the running or Stopped state")
    made = now()
    snapshot = VmSnapshot(
        id=str(uuid.uuid4()), name=f"{vm.instancename}_VS_{made[:19].translate(str.maketrans('', '', '-:T'))}",
        displayname=text(call, "name") or vm.name, vmid=vm.id, account=vm.account, created=made, state="Creating",
        type="DiskAndMemory" if flag(call, "snapshotmemory") else "Disk",
    )  # fmt: skip
    cloud.vmsnapshots[snapshot.id] = snapshot

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            cloud.vmsnapshots[snapshot.id] = replace(snapshot, state="Ready")
            return {"vmsnapshot": _row(call, cloud.vmsnapshots[snapshot.id])}

    def undo() -> None:
        cloud.vmsnapshots.pop(snapshot.id, None)

    return Work(run, (f"virtualmachine:{vm.id}",), "VmSnapshot", None, snapshot.id, undo)


def delete(call: Call) -> Work:
    """Remove a snapshot of a machine."""
    cloud, snapshot_id = call.cloud, need(call, "vmsnapshotid")
    snapshot = cloud.vmsnapshots.get(snapshot_id)
    if snapshot is None:
        raise invalid_value(f"unable to find the vm snapshot with id {snapshot_id}")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            cloud.vmsnapshots.pop(snapshot_id, None)
            cloud.removed.setdefault("vmsnapshot", set()).add(snapshot_id)
        return {"success": True}

    return Work(run, (f"virtualmachine:{snapshot.vmid}",), "VmSnapshot")


def listed(call: Call) -> Listing:
    """The snapshots of machines."""
    rows = [_row(call, one) for one in call.cloud.vmsnapshots.values() if visible(call, one.account)]
    return "vmSnapshot", matching(call, rows, equal="virtualmachineid name state")


def _row(call: Call, snapshot: VmSnapshot) -> dict[str, Any]:
    vm = call.cloud.vms[snapshot.vmid]
    return {
        "id": snapshot.id, "name": snapshot.name, "displayname": snapshot.displayname, "type": snapshot.type,
        "state": snapshot.state, "created": snapshot.created, "current": True, "hypervisor": "KVM",
        "virtualmachineid": vm.id, "virtualmachinename": vm.name, "hasannotations": False, "tags": [],
        **answers.names_of(call.cloud, snapshot.account), **answers.zone_of(vm.zoneid),
    }  # fmt: skip
