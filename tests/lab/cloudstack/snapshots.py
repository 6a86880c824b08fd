"""createSnapshot and deleteSnapshot: a point in time, kept as a sparse copy of the volume's file."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import answers, catalogue, files, storage, texts
from .access import check_owner
from .call import Call, Work, check_length, flag, mappings, need, text
from .errors import invalid_value, runtime
from .lookup import existing
from .model import GIB, Snapshot, Tag, Vm, Volume, now
from .state import check_limits, forget


def create_snapshot(call: Call) -> Work:
    cloud = call.cloud
    volume = existing(call, need(call, "volumeid"))
    _check_wishes(call)
    if volume.state != "Ready":
        raise invalid_value(
            f"Volume: {texts.volume(volume)} is not in Ready state but {volume.state}. Cannot take snapshot."
        )
    vm = cloud.vms.get(volume.virtualmachineid or "")
    if vm and vm.state == "Running" and _is_kvm(vm) and not cloud.config.kvm_snapshot:
        raise runtime(
            "KVM Snapshot is not supported for Running VMs. It is disabled by default due to a possible volume "
            "corruption in certain cases. To enable it set global settings kvm.snapshot.enabled to True. See the "
            "documentation for more details."
        )
    if vm and vm.state in ("Destroyed", "Expunging"):
        raise runtime(f"Volume {volume.id} belongs to a machine that is {vm.state}.")
    check_limits(cloud, volume.account, snapshot=1)
    snapshot = Snapshot(
        id=str(uuid.uuid4()), name=text(call, "name") or f"{volume.name}_{now()[:19]}", account=volume.account,
        volumeid=volume.id, volumename=volume.name, volumetype=volume.type, zoneid=volume.zoneid, size=volume.size,
        state="Creating", created=now(), diskofferingid=volume.diskofferingid, templateid=volume.templateid,
    )  # fmt: skip
    cloud.snapshots[snapshot.id] = snapshot

    def begin() -> Callable[[], None]:
        if volume.id not in cloud.volumes or flag(call, "quiescevm"):  # deleted while this job waited for its turn
            raise runtime(
                f"Failed to create snapshot due to an internal error creating snapshot for volume {volume.id}"
            )
        cloud.snapshots[snapshot.id] = replace(snapshot, state="BackingUp")
        return storage.at_work(cloud, volume.id, "Snapshotting")

    def run() -> Mapping[str, Any]:
        state, size = cloud.config.state, cloud.volumes[volume.id].size
        files.create(files.snapshot_path(state, snapshot.id), size, files.volume_path(state, volume.id))
        with cloud.lock:
            cloud.volumes[volume.id] = replace(cloud.volumes[volume.id], state="Ready")
            cloud.snapshots[snapshot.id] = replace(snapshot, size=size, state="BackedUp")
            cloud.tags += [
                Tag(snapshot.id, "Snapshot", pair["key"], pair.get("value", ""), snapshot.account)
                for pair in mappings(call, "tags")
            ]
            told = _told(call, volume)
            return {"snapshot": answers.made_snapshot(cloud, cloud.snapshots[snapshot.id]) | told}

    def undo() -> None:
        with cloud.lock:
            if snapshot.id in cloud.snapshots:
                cloud.snapshots[snapshot.id] = replace(snapshot, state="Error")

    resources = [f"volume:{volume.id}", f"snapshot:{snapshot.id}"]
    resources += [f"virtualmachine:{vm.id}"] if vm else []
    seconds = cloud.config.snapshot_seconds_per_gib * volume.size / GIB
    return Work(run, tuple(resources), "Snapshot", snapshot.id, snapshot.id, undo, begin=begin, seconds=seconds)


def _check_wishes(call: Call) -> None:
    """What the lab's storage cannot do, and a name that is too long."""
    check_length(call, "name", "snapshotName")
    if text(call, "locationtype"):
        raise invalid_value("VolumeId: 1 LocationType is supported only for managed storage")


def _is_kvm(vm: Vm) -> bool:
    return bool(catalogue.row("template", vm.templateid)["hypervisor"] == "KVM")


def _told(call: Call, volume: Volume) -> dict[str, str]:
    """The state that the job tells where it is another one than the lists have: of a detached volume, or too early."""
    if flag(call, "asyncbackup"):
        return {"state": "BackingUp"}
    return {} if volume.virtualmachineid else {"state": "Allocated"}


def delete_snapshot(call: Call) -> Work:
    cloud, snapshot_id = call.cloud, need(call, "id")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            snapshot = cloud.snapshots.get(snapshot_id)
            if snapshot is None:
                raise invalid_value(f"Snapshot [{texts.snapshot(snapshot_id, None)}] is already destroyed")
            check_owner(call, snapshot.account)
            forget(cloud, "snapshot", snapshot_id)
        files.delete(files.snapshot_path(cloud.config.state, snapshot_id))
        return {"success": True}

    return Work(run, (f"snapshot:{snapshot_id}",), "Snapshot", snapshot_id)
