"""What each operation does. Every action looks before it acts, so running one again after a crash finishes it.

Each takes its context and the operation's row, and returns the operation's response.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from migratekit_core.adapters.cloudstack.patience import InterruptedJobError, await_result
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.joblog.events import EventKind
from migratekit_core.volumed import devices
from migratekit_core.volumed.daemon import checksum, oma, ownership, records, room, snapshots
from migratekit_core.volumed.daemon.context import COPY_SECONDS, Context, Response, name_of, volume_id_of
from migratekit_core.volumed.daemon.outcome import ascertain, attempt
from migratekit_core.volumed.daemon.reconcile.repair import reconcile
from migratekit_core.volumed.daemon.records import ABSENT, ATTACHED, ATTACHING, DETACHED, ELSEWHERE
from migratekit_core.volumed.daemon.storage import Volume
from migratekit_core.volumed.daemon.unwritten import told
from migratekit_core.volumed.names import export_name

GRACE_SECONDS = 5.0
"""How long a volume that is attached already may take to show up, before it is attached again."""
FAILED_STATES = frozenset({"Destroy", "Destroyed", "Expunging", "Expunged", "Error", "UploadError"})


def create(context: Context, operation: VolumeOperation) -> Response:
    """Create a volume. Its name holds the operation's id: after a crash it is found by it, and not made twice."""
    name, jobs = name_of(operation), context.jobs(operation)

    def make() -> Volume:
        # One that the OMA cannot take would only be left behind.
        oma.require_fit(context.storage)
        return context.storage.create(name, operation.request["size"], jobs)

    return _made(context, operation, "create-volume", make)


def _made(
    context: Context,
    operation: VolumeOperation,
    step_name: str,
    make: Callable[[], Volume],
    fill: Callable[[Volume], None] = lambda volume: None,
) -> Response:
    """Make a volume, tag it, and wait until it is filled. One that cannot be is deleted: nobody would know whose it
    is."""
    name, tags, jobs = name_of(operation), operation.request["tags"], context.jobs(operation)
    storage, patience = context.storage, context.settings.settle_timeout

    def tagged() -> Volume | None:
        found = storage.named(name)
        return found if found is not None and found.tags.items() >= tags.items() else None

    with context.job.step(step_name) as step:
        volume = storage.named(name) or ascertain(make, lambda: storage.named(name), patience)
        ownership.own(context.volumes, volume.id, ownership.CREATED)
        context.passed(operation, "made")
        # The next operation on it shall not be told that there is no such volume.
        await_result(lambda: storage.get(volume.id), patience)
        try:
            volume = ascertain(lambda: storage.tag(volume, tags, jobs), tagged, patience)
            fill(volume)
        except MigrateKitError:
            left = attempt(lambda: storage.delete(volume.id))
            if left is None:
                ownership.disown(context.volumes, volume.id)
            step.log(
                EventKind.VOLUME_TAKEN_BACK, level="warning", volume_id=volume.id, error=str(left) if left else None
            )
            raise
        step.log(EventKind.VOLUME_CREATED, volume_id=volume.id, name=name, size=volume.size)
    return {"volume_id": volume.id, "name": name, "size": volume.size}


def _await_ready(context: Context, volume: Volume, seconds: float) -> None:
    """Wait until a volume that is being filled from a snapshot is whole. Raises OperationFailedError where it is not
    within `seconds`."""

    def ready() -> bool | None:
        found = context.storage.get(volume.id)
        if found is None or found.state in FAILED_STATES:
            raise OperationFailedError(
                f"volume {volume.name} was not made",
                f"CloudStack has it as {found.state if found else 'deleted'}",
                "look at its events in CloudStack, then run again",
                code=ErrorCode.VOLUME_FAILED,
                facts={"volume_id": volume.id},
            )
        return True if found.state == "Ready" else None

    if await_result(ready, seconds) is None:
        raise OperationFailedError(
            f"volume {volume.name} is not ready after {seconds:.0f} s",
            "CloudStack still copies the snapshot into it, or was restarted while it did",
            "look at its events in CloudStack, then run again",
            code=ErrorCode.VOLUME_FAILED,
            facts={"volume_id": volume.id},
        )


def delete(context: Context, operation: VolumeOperation) -> Response:
    """Delete a volume that is neither attached nor exported; one that does not exist is deleted already."""
    volume_id = volume_id_of(operation)
    volume = _settled(context)
    if volume is not None and volume.vm_id is not None:
        raise PreconditionError(
            f"volume {volume_id} is attached",
            f"to virtual machine {volume.vm_id}",
            "detach it before it is deleted",
            code=ErrorCode.ATTACHED,
            facts={"volume_id": volume_id},
        )
    _refuse_exported(context, volume_id, "deleted")
    with context.job.step("delete-volume"):
        if volume is not None:
            ascertain(
                lambda: context.storage.delete(volume_id),
                lambda: True if context.storage.get(volume_id) is None else None,
                context.settings.settle_timeout,
            )
        context.passed(operation, "deleted")
        records.forget_mapping(context.volumes, volume_id)
        ownership.disown(context.volumes, volume_id)
    return {"volume_id": volume_id, "existed": volume is not None}


def attach(context: Context, operation: VolumeOperation) -> Response:
    """Attach a volume to the OMA, or to the machine of the request; on the OMA, find its device and check its size."""
    volume_id = volume_id_of(operation)
    volume = _settled(context) or _volume(context, volume_id)
    oma_vm_id = context.storage.oma_vm_id()
    vm_id = operation.request.get("vm_id") or oma_vm_id
    if volume.vm_id is not None and volume.vm_id != vm_id:
        raise PreconditionError(
            f"volume {volume_id} is attached already",
            f"to virtual machine {volume.vm_id}",
            "detach it there first",
            code=ErrorCode.ATTACHED,
            facts={"volume_id": volume_id},
        )
    # The first attach is what makes CloudStack allocate a new volume; before it the size is only a promise.
    records.record_mapping(
        context.volumes, volume_id, vm_id, volume.size, cloudstack=ATTACHING, linux=ABSENT, path=None
    )
    context.passed(operation, "intent-recorded")
    pool = volume.pool_id
    try:
        volume = _attached(context, operation, volume, vm_id)
    except MigrateKitError:
        # Attached nowhere is what it was before, and what is true where CloudStack says so.
        if (found := _seen(context, volume_id)) is not None and found.vm_id is None:
            records.forget_mapping(context.volumes, volume_id)
        raise
    if vm_id != oma_vm_id:
        records.record_mapping(
            context.volumes, volume_id, vm_id, volume.size, cloudstack=ATTACHED, linux=ELSEWHERE, path=None
        )
        # CloudStack copies a volume of another cluster's pool to one of the machine's, and does not say so.
        moved = {"moved_from": pool, "moved_to": volume.pool_id} if pool and volume.pool_id not in (None, pool) else {}
        return {"volume_id": volume_id, "vm_id": vm_id, "device_path": None, "size": volume.size, **moved}
    records.record_mapping(context.volumes, volume_id, vm_id, volume.size, cloudstack=ATTACHED, linux=ABSENT, path=None)
    context.passed(operation, "attached-recorded")
    with context.job.step("find-device") as step:
        device = devices.wait_for(context.places, volume_id, volume.size, context.settings.device_timeout)
        step.log(EventKind.DEVICE_FOUND, device=str(device.path), size=device.size)
    path = str(device.path)
    records.record_mapping(
        context.volumes, volume_id, vm_id, device.size, cloudstack=ATTACHED, linux=ATTACHED, path=path
    )
    return {"volume_id": volume_id, "vm_id": vm_id, "device_path": path, "size": device.size}


def _attached(context: Context, operation: VolumeOperation, volume: Volume, vm_id: str) -> Volume:
    """Return the volume when CloudStack has it attached to the machine."""
    storage, jobs, device_id = context.storage, context.jobs(operation), operation.request.get("device_id")

    def look() -> Volume | None:
        found = storage.get(volume.id)
        return found if found is not None and found.vm_id == vm_id else None

    with context.job.step("attach-volume") as step:
        here = vm_id == volume.vm_id == storage.oma_vm_id()
        if here and devices.appears(context.places, volume.id, GRACE_SECONDS) is None:
            # An attach that Linux never saw: waiting longer does not help, doing it again does.
            step.log(EventKind.DEVICE_MISSING, level="warning", volume_id=volume.id)
            _detached(context, operation, volume.id)
            context.passed(operation, "detached-again")
            volume = replace(volume, vm_id=None)
        if volume.vm_id is None:

            def act() -> Volume:
                attach = partial(storage.attach, volume.id, vm_id, device_id, jobs)
                return ascertain(attach, look, context.settings.settle_timeout)

            volume = room.found(context, step, volume, act) if vm_id == storage.oma_vm_id() else act()
        step.log(EventKind.ATTACHED, volume_id=volume.id, vm_id=vm_id, device_id=volume.device_id)
    return volume


def _detached(context: Context, operation: VolumeOperation, volume_id: str) -> None:
    """Have CloudStack detach a volume; one that a lost call has detached, or that is gone, is detached."""

    def look() -> bool | None:
        found = context.storage.get(volume_id)
        return True if found is None or found.vm_id is None else None

    jobs = context.jobs(operation)
    ascertain(lambda: context.storage.detach(volume_id, jobs), look, context.settings.settle_timeout)


def detach(context: Context, operation: VolumeOperation) -> Response:
    """Detach a volume that is not exported, and wait until Linux has let go of it, too."""
    volume_id = volume_id_of(operation)
    _refuse_exported(context, volume_id, "detached")
    volume = _volume(context, volume_id)
    only_from = operation.request.get("only_from")
    if only_from and volume.vm_id not in (None, only_from):
        raise PreconditionError(
            f"volume {volume_id} is attached elsewhere",
            f"to virtual machine {volume.vm_id}",
            "detach it there by hand",
            code=ErrorCode.ATTACHED_ELSEWHERE,
            facts={"volume_id": volume_id},
        )
    with context.job.step("detach-volume") as step:
        if context.admitted.tags:
            _mark(context, operation, volume)
        device = devices.find(context.places, volume_id)
        if device is not None:
            devices.flush(device)
        mapping = records.mapping(context.volumes, volume_id)
        # The lists may not show yet that it is attached: whoever has its device, or a row, asks all the same.
        vm_id = volume.vm_id or (mapping.vm_id if mapping else None) or (device and context.storage.oma_vm_id())
        if vm_id is not None:
            _detached(context, operation, volume_id)
        context.passed(operation, "detached")
        if device is not None:
            # Until Linux has let go, too, the row says so: reconcile shows it where this fails.
            told(
                partial(
                    records.record_mapping,
                    context.volumes,
                    volume_id,
                    vm_id or "",
                    volume.size,
                    cloudstack=DETACHED,
                    linux=ATTACHED,
                    path=str(device.path),
                )
            )
            context.passed(operation, "detached-recorded")
            devices.wait_gone(context.places, volume_id, context.settings.device_timeout)
        step.log(EventKind.DETACHED, volume_id=volume_id, vm_id=vm_id)
    told(lambda: _forget(context, volume_id))
    return {"volume_id": volume_id, "vm_id": vm_id}


def _mark(context: Context, operation: VolumeOperation, volume: Volume) -> None:
    """Have CloudStack say whose a template's root disk is: once it is detached nothing else would."""
    tags, storage = context.admitted.tags, context.storage

    def tagged() -> Volume | None:
        found = storage.get(volume.id)
        return found if found is not None and found.tags.items() >= tags.items() else None

    tag = partial(storage.tag, volume, tags, context.jobs(operation))
    ascertain(tag, tagged, context.settings.settle_timeout)
    ownership.own(context.volumes, volume.id, ownership.TEMPLATE_ROOT)


def export(context: Context, operation: VolumeOperation) -> Response:
    """Export an attached volume under a name that cannot be guessed, and prove that it can be connected to."""
    volume_id = volume_id_of(operation)
    device = devices.find(context.places, volume_id)
    mapping = records.mapping(context.volumes, volume_id)
    if mapping is None or (mapping.cloudstack_state, mapping.linux_state) != (ATTACHED, ATTACHED) or device is None:
        raise PreconditionError(
            f"volume {volume_id} cannot be exported",
            "it is not attached to the OMA",
            "attach it first",
            code=ErrorCode.NOT_ATTACHED,
            facts={"volume_id": volume_id},
        )
    port, path = context.exporter.port, str(device.path)
    name = _name_to_give(context, operation, volume_id)
    records.record_export(context.volumes, volume_id, name, path, port, "creating")
    context.passed(operation, "intent-recorded")
    with context.job.step("export-volume") as step:
        context.exporter.give(name, volume_id)
        context.exporter.add(name, device.link)
        context.passed(operation, "added")
        context.exporter.prove(name, device.size)
        step.log(EventKind.EXPORTED, volume_id=volume_id, export=name, port=port)
    records.record_export(context.volumes, volume_id, name, path, port, "active")
    return {"volume_id": volume_id, "export_name": name, "port": port, "size": device.size}


def _name_to_give(context: Context, operation: VolumeOperation, volume_id: str) -> str:
    """Return the name that the volume has been given, or a new one: what only a row says is no name of ours."""
    row = records.export(context.volumes, volume_id)
    if row is not None:
        if context.exporter.given_to(row.export_name) == volume_id:
            return row.export_name
        _take_back(context, row.export_name, volume_id)
    return export_name(operation.request["vm_name"], operation.request["disk"])


def _take_back(context: Context, name: str, volume_id: str) -> None:
    """Serve no export of a volume under a name any more; a row that has another volume's name takes nothing from it."""
    if context.exporter.given_to(name) in ("", volume_id):
        context.exporter.remove(name)


def unexport(context: Context, operation: VolumeOperation) -> Response:
    """Take an export back. Refused with BusyError while somebody is connected to it."""
    volume_id = volume_id_of(operation)
    row = records.export(context.volumes, volume_id)
    if row is None:
        return {"volume_id": volume_id, "existed": False}
    name = row.export_name
    # Taken back also where several devices have the serial: it may lead to the wrong one.
    claimed = devices.claims(devices.scan(context.places), volume_id)
    with context.job.step("unexport-volume") as step:
        target = context.exporter.target(name)
        # Removed first, then counted: a client that comes in between would otherwise keep on writing unseen.
        _take_back(context, name, volume_id)
        context.passed(operation, "removed")
        clients = sum(context.exporter.clients(path) for path in claimed)
        if clients:
            device = devices.the_device(claimed)
            back = device.link if device is not None else target
            if back is not None and context.exporter.given_to(name) in ("", volume_id):
                context.exporter.add(name, back)
            raise BusyError(
                f"export {name} is in use",
                f"{clients} connections are open",
                "wait for the copy to end, or stop it",
                code=ErrorCode.EXPORT_IN_USE,
                facts={"export": name, "clients": clients},
            )
        step.log(EventKind.EXPORT_REMOVED, volume_id=volume_id, export=name)
    told(lambda: records.forget_export(context.volumes, volume_id))
    if context.exporter.given_to(name) == volume_id:
        context.exporter.forget(name)
    return {"volume_id": volume_id, "existed": True}


def clone(context: Context, operation: VolumeOperation) -> Response:
    """Create a volume from a snapshot; found again by its name after a crash, as with `create`."""
    name, jobs, snapshot_id = name_of(operation), context.jobs(operation), operation.request["snapshot_id"]
    seconds = COPY_SECONDS

    def make() -> Volume:
        nonlocal seconds
        try:
            seconds = COPY_SECONDS
            return context.storage.create_from_snapshot(name, snapshot_id, jobs)
        except InterruptedJobError:
            # Nobody fills it any more.
            seconds = context.settings.settle_timeout
            raise

    return _made(
        context,
        operation,
        "create-volume-from-snapshot",
        make,
        lambda volume: _await_ready(context, volume, seconds),
    )


ACTIONS: dict[str, Callable[[Context, VolumeOperation], Response]] = {
    "create": create,
    "delete": delete,
    "attach": attach,
    "detach": detach,
    "export": export,
    "unexport": unexport,
    "snapshot": snapshots.snapshot,
    "clone": clone,
    "delete-snapshot": snapshots.delete_snapshot,
    "checksum": checksum.checksum,
    "reconcile": reconcile,
}


def _volume(context: Context, volume_id: str) -> Volume:
    """Return the volume that the guard has looked at."""
    volume = context.admitted.volume
    if volume is None:
        raise PreconditionError(
            f"no volume {volume_id}",
            "CloudStack does not know it (any more)",
            hint("look with: ", migratekit("volumes", "list")),
            code=ErrorCode.GONE,
            facts={"volume_id": volume_id},
        )
    return volume


def _settled(context: Context) -> Volume | None:
    """Return the operation's volume as CloudStack has it; where its lists do not show yet that we detached it, wait for
    them."""
    volume, patience = context.admitted.volume, context.settings.settle_timeout
    if volume is None or volume.vm_id is None or not records.detached_lately(context.volumes, volume.id, patience):
        return volume
    volume_id = volume.id

    def detached() -> Volume | None:
        found = context.storage.get(volume_id)
        return found if found is not None and found.vm_id is None else None

    return await_result(detached, patience) or context.storage.get(volume_id)


def _seen(context: Context, volume_id: str) -> Volume | None:
    """Return a volume if CloudStack can be asked."""
    try:
        return context.storage.get(volume_id)
    except MigrateKitError:
        return None


def _forget(context: Context, volume_id: str) -> None:
    """Delete the row of a volume that is attached nowhere; with that of an export which there was no room to delete."""
    records.forget_export(context.volumes, volume_id)
    records.forget_mapping(context.volumes, volume_id)


def _refuse_exported(context: Context, volume_id: str, done: str) -> None:
    exported = records.export(context.volumes, volume_id)
    if exported is None:
        return
    # A row that there was no room to delete promises what is neither served nor given any more.
    if context.exporter.target(exported.export_name) or context.exporter.given_to(exported.export_name):
        raise PreconditionError(
            f"volume {volume_id} is exported",
            f"as {exported.export_name}",
            f"unexport it before it is {done}",
            code=ErrorCode.EXPORTED,
            facts={"volume_id": volume_id},
        )
