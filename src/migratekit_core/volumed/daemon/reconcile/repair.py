"""The operation `reconcile`: looks at one volume once more, as its only writer, and puts right what loses nothing."""

from __future__ import annotations

from typing import Any

from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.joblog.events import EventKind
from migratekit_core.volumed.daemon import guard, records
from migratekit_core.volumed.daemon.context import Context, volume_id_of
from migratekit_core.volumed.daemon.reconcile import compare, look
from migratekit_core.volumed.daemon.reconcile.look import Seen


def reconcile(context: Context, operation: VolumeOperation) -> dict[str, Any]:
    """Repair a volume's drift; return which kinds were repaired, and which are left for an operator.

    What the periodic comparison saw may be over by now, so only what is so at this moment counts.
    """
    volume_id = volume_id_of(operation)
    sides = look.Sides(
        context.settings, context.places, context.storage, context.exporter, context.volumes, context.oma
    )
    with context.job.step("repair-volume") as step:
        found = compare.drifts(look.at(sides, volume_id))
        for drift in found:
            step.log(
                EventKind.DRIFT_CONFIRMED,
                level="warning",
                kind=drift.kind,
                what=drift.what,
                why=drift.why,
                safe=drift.safe,
            )
        safe = {drift.kind for drift in found if drift.safe}
        # The export first: it hangs on the row of the volume.
        for kind in (compare.EXPORT_STALE, compare.EXPORT_LOST, compare.EXPORT_ASTRAY, compare.EXPORT_ROW):
            if kind in safe:
                _export(context, look.at(sides, volume_id), kind)
        context.passed(operation, "export-repaired")
        if compare.ROW in safe:
            _row(context, look.at(sides, volume_id))
        context.passed(operation, "row-repaired")
        left = compare.drifts(look.at(sides, volume_id))
        step.log(EventKind.DRIFT_REPAIRED, volume_id=volume_id, kinds=sorted(safe), left=[drift.kind for drift in left])
    return {"volume_id": volume_id, "repaired": sorted(safe), "left": [drift.kind for drift in left]}


def _export(context: Context, seen: Seen, kind: str) -> None:
    row = seen.export
    if row is None:
        return
    if kind == compare.EXPORT_STALE:
        if context.exporter.given_to(row.export_name) not in ("", seen.volume_id):
            # Another volume's name, in a row that somebody wrote: only the row goes.
            records.forget_export(context.volumes, seen.volume_id)
            return
        context.exporter.remove(row.export_name)
        if seen.clients():
            # Somebody came in between: theirs until they end, and then the next comparison's.
            if seen.target is not None:
                context.exporter.add(row.export_name, seen.target)
            return
        records.forget_export(context.volumes, seen.volume_id)
        context.exporter.forget(row.export_name)
        return
    if seen.device is None or seen.volume is None:
        return
    # The comparison has said so; whether somebody uses the disk only the guard looks at.
    guard.require(context.guarded, seen.volume)
    context.exporter.add(row.export_name, seen.device.link)
    context.exporter.prove(row.export_name, seen.device.size)
    records.record_export(
        context.volumes, seen.volume_id, row.export_name, str(seen.device.path), seen.port, row.status
    )


def _row(context: Context, seen: Seen) -> None:
    place = compare.true_place(seen)
    if place is not None:
        records.record_mapping(
            context.volumes,
            seen.volume_id,
            place.vm_id,
            place.size,
            cloudstack=place.cloudstack,
            linux=place.linux,
            path=place.path,
        )
    elif seen.export is None:
        records.forget_mapping(context.volumes, seen.volume_id)
