"""What each operation does. Every action looks before it acts, so running one again after a crash finishes it.

Each takes its context and the operation's row, and returns the operation's response.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.config.schema import Daemon
from migratekit_core.db.engine import session
from migratekit_core.errors import BusyError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.joblog import Job
from migratekit_core.models.base import utcnow
from migratekit_core.models.volumes import DeviceMapping, NbdExport, VolumeOperation
from migratekit_core.ossea.tracking import TrackedJobs
from migratekit_core.units import MIB
from migratekit_core.volumes.daemon import devices
from migratekit_core.volumes.daemon.exports.nbdkit import NbdkitExporter
from migratekit_core.volumes.daemon.storage import Storage, Volume, is_gone
from migratekit_core.volumes.names import export_name, safe

HASH_CHUNK = 8 * MIB
GRACE_SECONDS = 5.0
"""How long a volume that is attached already may take to show up, before it is attached again."""
ELSEWHERE = "elsewhere"
"""linux_state of a volume that is attached to another machine than this one."""


@dataclass(frozen=True)
class Context:
    """What actions work with."""

    settings: Daemon
    storage: Storage
    exporter: NbdkitExporter
    volumes: Engine
    oma: Engine
    job: Job

    def jobs(self, operation: VolumeOperation) -> TrackedJobs:
        """Return where the operation's CloudStack jobs are recorded."""
        return TrackedJobs(self.oma, operation.type, self.job.correlation_id, operation.id)


Response = dict[str, Any]


def create(context: Context, operation: VolumeOperation) -> Response:
    """Create a volume. Its name holds the operation's id: after a crash it is found by it, and not made twice."""
    request = operation.request
    name = f"mk-{safe(request['name'])}-{operation.id[:8]}"
    with context.job.step("create-volume") as step:
        volume = context.storage.named(name)
        if volume is None:
            volume = context.storage.create(name, request["size"], request["tags"], context.jobs(operation))
        else:
            volume = context.storage.tag(volume, request["tags"], context.jobs(operation))
        step.log("volume created", volume_id=volume.id, name=name, size=volume.size)
    return {"volume_id": volume.id, "name": name, "size": volume.size}


def delete(context: Context, operation: VolumeOperation) -> Response:
    """Delete a volume that is neither attached nor exported; one that does not exist is deleted already."""
    volume_id = _volume_id(operation)
    volume = context.storage.get(volume_id)
    if volume is not None and volume.vm_id is not None:
        raise PreconditionError(
            f"volume {volume_id} is attached", f"to virtual machine {volume.vm_id}", "detach it before it is deleted"
        )
    with context.job.step("delete-volume"):
        if volume is not None:
            try:
                context.storage.delete(volume_id)
            except MigrateKitError as error:
                if not is_gone(error):
                    raise
        _forget_mapping(context, volume_id)
    return {"volume_id": volume_id, "existed": volume is not None}


def attach(context: Context, operation: VolumeOperation) -> Response:
    """Attach a volume to the OMA, or to the machine of the request; on the OMA, find its device and check its size."""
    volume_id = _volume_id(operation)
    volume = _volume(context, volume_id)
    oma_vm_id = context.storage.oma_vm_id()
    vm_id = operation.request.get("vm_id") or oma_vm_id
    if volume.vm_id is not None and volume.vm_id != vm_id:
        raise PreconditionError(
            f"volume {volume_id} is attached already", f"to virtual machine {volume.vm_id}", "detach it there first"
        )
    # The first attach is what makes CloudStack allocate a new volume; before it the size is only a promise.
    _record_mapping(context, volume_id, vm_id, volume.size, cloudstack="attaching", linux="absent", path=None)
    with context.job.step("attach-volume") as step:
        jobs = context.jobs(operation)
        if volume.vm_id == oma_vm_id and not devices.appears(context.settings.device_dir, volume_id, GRACE_SECONDS):
            # An attach that Linux never saw: waiting longer does not help, doing it again does.
            step.log("attached but without a device, attaching again", level="warning", volume_id=volume_id)
            context.storage.detach(volume_id, jobs)
            volume = replace(volume, vm_id=None)
        if volume.vm_id is None:
            try:
                volume = context.storage.attach(volume_id, vm_id, operation.request.get("device_id"), jobs)
            except OperationFailedError:
                # The call of a daemon that was killed may have been under way; then this one came second.
                volume = _volume(context, volume_id)
                if volume.vm_id != vm_id:
                    raise
        step.log("attached", volume_id=volume_id, vm_id=vm_id, device_id=volume.device_id)
    if vm_id != oma_vm_id:
        _record_mapping(context, volume_id, vm_id, volume.size, cloudstack="attached", linux=ELSEWHERE, path=None)
        return {"volume_id": volume_id, "vm_id": vm_id, "device_path": None, "size": volume.size}
    with context.job.step("find-device") as step:
        device = devices.wait_for(context.settings.device_dir, volume_id, volume.size, context.settings.device_timeout)
        step.log("device found", device=str(device.path), size=device.size)
    path = str(device.path)
    _record_mapping(context, volume_id, vm_id, device.size, cloudstack="attached", linux="attached", path=path)
    return {"volume_id": volume_id, "vm_id": vm_id, "device_path": path, "size": device.size}


def detach(context: Context, operation: VolumeOperation) -> Response:
    """Detach a volume that is not exported, and wait until Linux has let go of it, too."""
    volume_id = _volume_id(operation)
    with session(context.volumes) as db:
        exported = db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one_or_none()
    if exported is not None:
        raise PreconditionError(
            f"volume {volume_id} is exported", f"as {exported.export_name}", "unexport it before it is detached"
        )
    volume = _volume(context, volume_id)
    with context.job.step("detach-volume") as step:
        device = devices.find(context.settings.device_dir, volume_id)
        if device is not None:
            devices.flush(device)
        if volume.vm_id is not None:
            try:
                context.storage.detach(volume_id, context.jobs(operation))
            except OperationFailedError:
                # As in attach: a call that was under way may have done it.
                if _volume(context, volume_id).vm_id is not None:
                    raise
        if device is not None:
            devices.wait_gone(context.settings.device_dir, volume_id, context.settings.device_timeout)
        step.log("detached", volume_id=volume_id, vm_id=volume.vm_id)
    _forget_mapping(context, volume_id)
    return {"volume_id": volume_id, "vm_id": volume.vm_id}


def export(context: Context, operation: VolumeOperation) -> Response:
    """Export an attached volume under a name that cannot be guessed, and prove that it can be connected to."""
    volume_id = _volume_id(operation)
    device = devices.find(context.settings.device_dir, volume_id)
    with session(context.volumes) as db:
        mapping = db.exec(select(DeviceMapping).where(DeviceMapping.volume_id == volume_id)).one_or_none()
        row = db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one_or_none()
        if mapping is None or mapping.linux_state != "attached" or device is None:
            raise PreconditionError(
                f"volume {volume_id} cannot be exported", "it is not attached to the OMA", "attach it first"
            )
        if row is None:
            name = export_name(operation.request["vm_name"], operation.request["disk"])
            row = NbdExport(
                volume_id=volume_id,
                export_name=name,
                device_path=str(device.path),
                port=context.exporter.port,
                status="creating",
            )
            db.add(row)
        else:
            name = row.export_name
    with context.job.step("export-volume") as step:
        context.exporter.add(name, device.link)
        context.exporter.prove(name, device.size)
        step.log("exported", volume_id=volume_id, export=name, port=context.exporter.port)
    with session(context.volumes) as db:
        row = db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one()
        row.status, row.device_path = "active", str(device.path)
    return {"volume_id": volume_id, "export_name": name, "port": context.exporter.port, "size": device.size}


def unexport(context: Context, operation: VolumeOperation) -> Response:
    """Take an export back. Refused with BusyError while somebody is connected to it."""
    volume_id = _volume_id(operation)
    with session(context.volumes) as db:
        row = db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one_or_none()
        if row is None:
            return {"volume_id": volume_id, "existed": False}
        name = row.export_name
    device = devices.find(context.settings.device_dir, volume_id)
    with context.job.step("unexport-volume") as step:
        # Removed first, then counted: a client that comes in between would otherwise keep on writing unseen.
        context.exporter.remove(name)
        clients = context.exporter.clients(device.path) if device is not None else 0
        if device is not None and clients:
            context.exporter.add(name, device.link)
            raise BusyError(
                f"export {name} is in use", f"{clients} connections are open", "wait for the copy to end, or stop it"
            )
        step.log("export removed", volume_id=volume_id, export=name)
    with session(context.volumes) as db:
        row = db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one_or_none()
        if row is not None:
            db.delete(row)
    return {"volume_id": volume_id, "existed": True}


def snapshot(context: Context, operation: VolumeOperation) -> Response:
    """Take a snapshot, after everything this machine has cached of the volume was written."""
    volume_id = _volume_id(operation)
    name = f"mk-{safe(operation.request['name'])}-{operation.id[:8]}"
    with context.job.step("snapshot-volume") as step:
        device = devices.find(context.settings.device_dir, volume_id)
        if device is not None:
            devices.flush(device)
        taken = context.storage.snapshot_named(volume_id, name)
        if taken is None:
            taken = context.storage.snapshot(volume_id, name, context.jobs(operation))
        step.log("snapshot taken", volume_id=volume_id, snapshot_id=taken.id, name=name)
    return {"volume_id": volume_id, "snapshot_id": taken.id, "name": name}


def clone(context: Context, operation: VolumeOperation) -> Response:
    """Create a volume from a snapshot; found again by its name after a crash, as with `create`."""
    request = operation.request
    name = f"mk-{safe(request['name'])}-{operation.id[:8]}"
    with context.job.step("create-volume-from-snapshot") as step:
        volume = context.storage.named(name)
        jobs = context.jobs(operation)
        if volume is None:
            volume = context.storage.create_from_snapshot(name, request["snapshot_id"], request["tags"], jobs)
        else:
            volume = context.storage.tag(volume, request["tags"], jobs)
        step.log("volume created", volume_id=volume.id, snapshot_id=request["snapshot_id"], size=volume.size)
    return {"volume_id": volume.id, "name": name, "size": volume.size}


def delete_snapshot(context: Context, operation: VolumeOperation) -> Response:
    """Delete a snapshot; one that does not exist is deleted already."""
    snapshot_id = operation.request["snapshot_id"]
    with context.job.step("delete-snapshot"):
        found = context.storage.snapshot_by_id(snapshot_id)
        if found is not None:
            context.storage.delete_snapshot(snapshot_id, context.jobs(operation))
    return {"snapshot_id": snapshot_id, "existed": found is not None}


def checksum(context: Context, operation: VolumeOperation) -> Response:
    """Hash the first `length` bytes of an attached volume where it is, so that no data crosses the tunnel."""
    volume_id = _volume_id(operation)
    device = devices.find(context.settings.device_dir, volume_id)
    if device is None:
        raise PreconditionError(
            f"volume {volume_id} cannot be hashed", "it is not attached to the OMA", "attach it first"
        )
    length = operation.request.get("length") or device.size
    with context.job.step("checksum-volume"), device.link.open("rb", buffering=0) as file:
        digest = hashlib.blake2b(digest_size=32)
        left = length
        while left:
            chunk = file.read(min(HASH_CHUNK, left))
            if not chunk:
                raise PreconditionError(
                    f"volume {volume_id} is shorter than {length} bytes",
                    f"it ends {left} bytes before",
                    "check its size",
                )
            digest.update(chunk)
            left -= len(chunk)
            os.posix_fadvise(file.fileno(), 0, length - left, os.POSIX_FADV_DONTNEED)
    return {"volume_id": volume_id, "algorithm": "blake2b-256", "digest": digest.hexdigest(), "length": length}


ACTIONS: dict[str, Callable[[Context, VolumeOperation], Response]] = {
    "create": create,
    "delete": delete,
    "attach": attach,
    "detach": detach,
    "export": export,
    "unexport": unexport,
    "snapshot": snapshot,
    "clone": clone,
    "delete-snapshot": delete_snapshot,
    "checksum": checksum,
}


def _volume_id(operation: VolumeOperation) -> str:
    assert operation.volume_id is not None, "the API sets it for every operation on a volume"
    return operation.volume_id


def _volume(context: Context, volume_id: str) -> Volume:
    volume = context.storage.get(volume_id)
    if volume is None:
        raise PreconditionError(
            f"no volume {volume_id}", "CloudStack does not know it (any more)", "look with: migratekit volumes list"
        )
    return volume


def _record_mapping(
    context: Context, volume_id: str, vm_id: str, size: int, *, cloudstack: str, linux: str, path: str | None
) -> None:
    with session(context.volumes) as db:
        row = db.exec(select(DeviceMapping).where(DeviceMapping.volume_id == volume_id)).one_or_none()
        if row is None:
            row = DeviceMapping(
                volume_id=volume_id, vm_id=vm_id, cloudstack_state=cloudstack, linux_state=linux, size=size
            )
            db.add(row)
        row.vm_id, row.size, row.device_path = vm_id, size, path
        row.cloudstack_state, row.linux_state, row.last_sync = cloudstack, linux, utcnow()


def _forget_mapping(context: Context, volume_id: str) -> None:
    with session(context.volumes) as db:
        row = db.exec(select(DeviceMapping).where(DeviceMapping.volume_id == volume_id)).one_or_none()
        if row is not None:
            db.delete(row)
