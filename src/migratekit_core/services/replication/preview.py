"""What a sync would do, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import find_vm
from migratekit_core.common.units import human_bytes
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.schema import require_schema
from migratekit_core.services.replication import forecast, leftover, replica, targets
from migratekit_core.services.replication.room import readable
from migratekit_core.services.replication.sync import check_source, failed_over, refuse_unfit_oma


@dataclass(frozen=True)
class SyncPlan:
    """A sync that was not run."""

    vm_name: str
    kind: str
    steps: tuple[str, ...]


def preview(runtime: Runtime, name: str, compare: bool = False) -> SyncPlan:
    """Return what `replicate` would do now. Raises what it would raise before it changes anything."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        rooms = readable(service, vm)
    over = replica.live_failover(runtime.databases.oma, vm.uuid)
    if over is not None:
        raise failed_over(vm, over)
    check_source(runtime, vm)
    known = replica.of_disks(runtime.databases.oma, vm)
    daemon = runtime.volumes()
    try:
        refuse_unfit_oma(daemon, vm, known)
        new = targets.without_volume(daemon, vm, known)
        if new and (offering := daemon.oma().get("backup_offering")):
            runtime.observer.note(
                f"the OMA has the backup offering {offering}: CloudStack may refuse to attach volumes"
            )
    finally:
        daemon.close()
    steps = []
    if pending := leftover.pending(runtime.databases.oma, vm.uuid):
        steps.append(f"finish the removal of an earlier snapshot ({pending})")
    if vm.consolidation_needed:
        steps.append("consolidate the machine's disks")
    if not vm.cbt_enabled:
        steps.append("switch changed-block tracking on (a short snapshot makes it effective)")
    kind = replica.INCREMENTAL
    for disk in vm.disks:
        row = known.get(disk.key)
        if row is None or disk in new:
            steps.append(f"create a volume for {disk.label} ({human_bytes(disk.capacity_bytes)})")
            kind = replica.FULL
        elif row.disk_change_id is None and not compare:
            kind = replica.FULL
    copying = "copy what is allocated" if kind == replica.FULL else "copy what changed since the last sync"
    if compare and known:
        copying = "compare each disk with its volume by digests, and copy the blocks that differ"
    steps += [
        "attach the volumes to the OMA and export them",
        "snapshot the machine",
        copying,
        *forecast.of_sync(runtime.databases.oma, runtime.config.source, vm, known, rooms).lines,
        "remove the snapshot and the exports",
    ]
    return SyncPlan(vm.name, kind, tuple(steps))
