"""What is done with one machine of a wave. Each can be done again after it was killed at any moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import find_vm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.units import human_bytes
from migratekit_core.context import Runtime
from migratekit_core.db.wavestates import CUTOVER, REHEARSE, REPLICATE, ROLLBACK
from migratekit_core.services.failover import cleanup, live, rehearsal, rollback
from migratekit_core.services.replication import replica, sync, verify

WAVE = "wave"
"""What a wave's rehearsals are made for."""


def perform(runtime: Runtime, task: str, vm: str, *, verify: bool) -> dict[str, Any]:
    """Do a task with the machine of an instanceUuid; return what is worth keeping of it.

    `verify`: compare the replica with its source after a sync. Raises whatever the work raises.
    """
    does: dict[str, Callable[[], dict[str, Any]]] = {
        REPLICATE: lambda: _replicate(runtime, vm, verify),
        REHEARSE: lambda: _rehearse(runtime, vm),
        CUTOVER: lambda: _cut_over(runtime, vm),
        ROLLBACK: lambda: _roll_back(runtime, vm),
    }
    return does[task]()


def _replicate(runtime: Runtime, vm: str, check: bool) -> dict[str, Any]:
    done = sync.replicate(runtime, vm)
    found: dict[str, Any] = {
        "job_id": done.job_id,
        "kind": done.kind,
        "bytes_moved": done.moved,
        "seconds": round(done.seconds, 3),
    }
    if check:
        compared = verify.verify(runtime, vm)
        if not compared.identical:
            different = sum(length for disk in compared.disks for _, length in disk.different)
            raise OperationFailedError(
                f"the replica of {done.vm.name} differs from its source",
                f"{human_bytes(different)} are not the same",
                hint("run: ", migratekit("replicate", done.vm.name, "--compare")),
                code=ErrorCode.DATA_DIFFERS,
                facts={"vm": done.vm.name, "bytes": different},
            )
        found["verified"] = True
    return found


def _rehearse(runtime: Runtime, vm: str) -> dict[str, Any]:
    _clear(runtime, vm)
    done = rehearsal.rehearse(runtime, vm, made_for=WAVE)
    # A whole wave of copies would need the cloud twice. One that did not pass is left to be looked at.
    cleanup.clean(runtime, vm)
    return {
        "job_id_rehearsal": done.job_id,
        "rehearsal_seconds": round(done.seconds, 3),
    }


def _clear(runtime: Runtime, vm: str) -> None:
    """Take away what a wave's rehearsal has left: of a killed worker, or of an older replica. One that an operator has
    made is somebody's to look at: PreconditionError."""
    rehearsal.refuse_standing(runtime, cleanup.find(runtime, vm), but_for=WAVE)
    cleanup.clean(runtime, vm)


def _cut_over(runtime: Runtime, vm: str) -> dict[str, Any]:
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        machine = find_vm(service, vm)
    over = replica.live_failover(runtime.databases.oma, machine.uuid)
    if over is not None and over.status == replica.COMPLETED:
        # Its worker died between the end of the failover and saying so.
        return {"destination_vm_id": over.destination_vm_id, "failover_id": over.id}
    _clear(runtime, vm)
    done = live.failover(runtime, vm, live.Options())
    return {
        "failover_id": done.failover_id,
        "job_id_failover": done.job_id,
        "destination_vm_id": done.destination_vm_id,
        "downtime_seconds": round(done.downtime.seconds, 3),
    }


def _roll_back(runtime: Runtime, vm: str) -> dict[str, Any]:
    done = rollback.rollback(runtime, vm)
    return {"job_id_rollback": done.job_id, "source": done.source}
