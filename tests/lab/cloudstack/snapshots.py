"""createSnapshot and deleteSnapshot: a point in time, kept as a sparse copy of the volume's file."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import answers, files
from .access import check_owner
from .call import Call, Work, mappings, need, text
from .errors import invalid_value, runtime
from .model import Snapshot, Tag, now
from .state import check_limits, forget
from .volumes import existing


def create_snapshot(call: Call) -> Work:
    cloud = call.cloud
    volume = existing(call, need(call, "volumeid"))
    if volume.state != "Ready":
        raise invalid_value(f"Volume {volume.id} is {volume.state}; only a Ready one can be snapshotted.")
    vm = cloud.vms.get(volume.virtualmachineid or "")
    if vm and vm.state == "Running" and not cloud.config.kvm_snapshot:
        raise runtime("Snapshots of volumes of running machines are off here (global setting kvm.snapshot.enabled).")
    if vm and vm.state in ("Destroyed", "Expunging"):
        raise runtime(f"Volume {volume.id} belongs to a machine that is {vm.state}.")
    check_limits(cloud, volume.account, snapshot=1)
    snapshot = Snapshot(
        id=str(uuid.uuid4()), name=text(call, "name") or f"{volume.name}_{now()[:19]}", account=volume.account,
        volumeid=volume.id, volumename=volume.name, volumetype=volume.type, zoneid=volume.zoneid, size=volume.size,
        state="Creating", created=now(), diskofferingid=volume.diskofferingid, templateid=volume.templateid,
    )  # fmt: skip
    cloud.snapshots[snapshot.id] = snapshot

    def run() -> Mapping[str, Any]:
        if volume.id not in cloud.volumes:  # deleted while this job waited for its turn
            raise runtime(f"The snapshot of volume {volume.id} failed.")
        state, size = cloud.config.state, cloud.volumes[volume.id].size
        files.create(files.snapshot_path(state, snapshot.id), size, files.volume_path(state, volume.id))
        with cloud.lock:
            cloud.snapshots[snapshot.id] = replace(snapshot, size=size, state="BackedUp")
            cloud.tags += [
                Tag(snapshot.id, "Snapshot", pair["key"], pair.get("value", ""), snapshot.account)
                for pair in mappings(call, "tags")
            ]
            return {"snapshot": answers.made_snapshot(cloud, cloud.snapshots[snapshot.id])}

    def undo() -> None:
        with cloud.lock:
            if snapshot.id in cloud.snapshots:
                cloud.snapshots[snapshot.id] = replace(snapshot, state="Error")

    resources = [f"volume:{volume.id}", f"snapshot:{snapshot.id}"]
    resources += [f"virtualmachine:{vm.id}"] if vm else []
    return Work(run, tuple(resources), "Snapshot", snapshot.id, snapshot.id, undo)


def delete_snapshot(call: Call) -> Work:
    cloud, snapshot_id = call.cloud, need(call, "id")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            snapshot = cloud.snapshots.get(snapshot_id)
            if snapshot is None:
                raise invalid_value(f"Snapshot {snapshot_id} does not exist any more.")
            check_owner(call, snapshot.account)
            forget(cloud, "snapshot", snapshot_id)
        files.delete(files.snapshot_path(cloud.config.state, snapshot_id))
        return {"success": True}

    return Work(run, (f"snapshot:{snapshot_id}",), "Snapshot", snapshot_id)
