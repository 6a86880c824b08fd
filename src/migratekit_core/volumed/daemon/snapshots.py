"""Taking and deleting snapshots."""

from __future__ import annotations

from migratekit_core.adapters.cloudstack.patience import await_result
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.joblog.events import EventKind
from migratekit_core.volumed import devices
from migratekit_core.volumed.daemon.context import COPY_SECONDS, Context, Response, name_of, volume_id_of
from migratekit_core.volumed.daemon.outcome import ascertain
from migratekit_core.volumed.daemon.storage import Snapshot


def snapshot(context: Context, operation: VolumeOperation) -> Response:
    """Take a snapshot, after everything this machine has cached of the volume was written."""
    volume_id, name, jobs = volume_id_of(operation), name_of(operation), context.jobs(operation)
    storage = context.storage

    def look() -> Snapshot | None:
        """Return the snapshot when it is whole; one that failed is taken away, and is none."""
        found = storage.snapshot_named(volume_id, name)
        if found is None or found.state != "Error":
            return found if found is not None and found.state == "BackedUp" else None
        storage.delete_snapshot(found.id, jobs)
        return None

    with context.job.step("snapshot-volume") as step:
        device = devices.find(context.places, volume_id)
        if device is not None:
            devices.flush(device)
        taken = look()
        if taken is None and storage.snapshot_named(volume_id, name) is not None:
            # The call of a daemon that was killed is under way.
            taken = await_result(look, COPY_SECONDS)
        if taken is None:
            taken = ascertain(lambda: storage.snapshot(volume_id, name, jobs), look, context.settings.settle_timeout)
        context.passed(operation, "taken")
        step.log(EventKind.SNAPSHOT_TAKEN, volume_id=volume_id, snapshot_id=taken.id, name=name)
    return {"volume_id": volume_id, "snapshot_id": taken.id, "name": name}


def delete_snapshot(context: Context, operation: VolumeOperation) -> Response:
    """Delete a snapshot; one that does not exist is deleted already."""
    snapshot_id, jobs, storage = operation.request["snapshot_id"], context.jobs(operation), context.storage
    with context.job.step("delete-snapshot"):
        found = storage.snapshot_by_id(snapshot_id)
        if found is not None:
            ascertain(
                lambda: storage.delete_snapshot(snapshot_id, jobs),
                lambda: True if storage.snapshot_by_id(snapshot_id) is None else None,
                context.settings.settle_timeout,
            )
    return {"snapshot_id": snapshot_id, "existed": found is not None}
