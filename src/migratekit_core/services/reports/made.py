"""What was made in the cloud, by the joblog's events, and where it is now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlmodel import col, select

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.joblog import JoblogEvent
from migratekit_core.db.models.oma import ReplicationJob, VmDisk
from migratekit_core.db.models.volumes import DeviceMapping
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import Found, lots
from migratekit_core.services.reports.model import Made

DELETED = "deleted"
VOLUME, SNAPSHOT, MACHINE = "volume", "snapshot", "machine"
MADE_BY: dict[str | None, str] = {
    EventKind.VOLUME_CREATED: VOLUME,
    EventKind.VOLUME_MADE: VOLUME,
    EventKind.SNAPSHOT_TAKEN: SNAPSHOT,
    EventKind.MACHINE_EXISTS: MACHINE,
}
GONE_BY: dict[str | None, str] = {
    EventKind.VOLUME_DELETED: VOLUME,
    EventKind.SNAPSHOT_DELETED: SNAPSHOT,
    EventKind.MACHINE_DESTROYED: MACHINE,
}
ID_OF = {VOLUME: "volume_id", SNAPSHOT: "snapshot_id", MACHINE: "vm_id"}


def collect(databases: Databases, found: Sequence[Found], rows: Iterable[ReplicationJob]) -> tuple[Made, ...]:
    """Return what the jobs made, in the order of time, and volumes of replications whose jobs were pruned."""
    things: dict[tuple[str, str], Made] = {}
    gone: set[tuple[str, str]] = set()
    for one, event in _events(found):
        fields = event.fields or {}
        made, deleted = MADE_BY.get(event.kind), GONE_BY.get(event.kind)
        if made and fields.get(ID_OF[made]):
            thing = _thing(made, one, event, fields)
            known = things.get((made, thing.id))
            # The daemon's event and its client's tell of the same: what one does not know the other may.
            things[made, thing.id] = replace(known, name=known.name or thing.name) if known else thing
        elif deleted and fields.get(ID_OF[deleted]):
            gone.add((deleted, str(fields[ID_OF[deleted]])))
    for volume_id, name, size in _recorded(databases, [row.id for row in rows]):
        things.setdefault((VOLUME, volume_id), Made(VOLUME, volume_id, name, "replication", "", None, "", size))
    places = _places(databases, [key[1] for key in things if key[0] == VOLUME])
    ordered = sorted(things.items(), key=lambda item: (item[1].at is not None, item[1].at or 0, item[0]))
    return tuple(
        replace(thing, where=DELETED if key in gone else _where(thing, places.get(thing.id))) for key, thing in ordered
    )


def _events(found: Sequence[Found]) -> Iterator[tuple[Found, JoblogEvent]]:
    pairs = [(one, event) for tree in found for one in tree.tree() for event in one.events]
    yield from sorted(pairs, key=lambda pair: pair[1].created_at)


def _thing(what: str, one: Found, event: JoblogEvent, fields: dict[str, Any]) -> Made:
    size = fields.get("size")
    return Made(
        what=what,
        id=str(fields[ID_OF[what]]),
        name=str(fields.get("name", "")),
        by=one.job.kind,
        job_id=one.job.id,
        at=event.created_at,
        where="",
        size=size if isinstance(size, int) else None,
    )


def _recorded(databases: Databases, job_ids: list[str]) -> Iterator[tuple[str, str, int]]:
    with session(databases.oma) as db:
        for lot in lots(job_ids):
            for disk in db.exec(select(VmDisk).where(col(VmDisk.job_id).in_(lot))).all():
                if disk.ossea_volume_id is not None:
                    yield disk.ossea_volume_id, disk.label, disk.size_gb << 30


def _places(databases: Databases, volume_ids: list[str]) -> dict[str, DeviceMapping]:
    """Return where volumes are attached; nothing where the daemon's database is not to be had."""
    found: dict[str, DeviceMapping] = {}
    try:
        with session(databases.volumes) as db:
            for lot in lots(volume_ids):
                for row in db.exec(select(DeviceMapping).where(col(DeviceMapping.volume_id).in_(lot))).all():
                    found[row.volume_id] = row
    except MigrateKitError:
        return {}
    return found


def _where(thing: Made, place: DeviceMapping | None) -> str:
    if thing.what != VOLUME or place is None:
        return ""
    return f"OMA, {place.device_path}" if place.device_path else f"machine {place.vm_id}"
