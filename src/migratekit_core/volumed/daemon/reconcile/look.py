"""One volume from all four sides: CloudStack, Linux, the exporter's folder, the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from migratekit_core.config.schema import Daemon
from migratekit_core.db.models.volumes import DeviceMapping, NbdExport
from migratekit_core.volumed import devices
from migratekit_core.volumed.daemon import guard, records
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.storage import Storage, Volume
from migratekit_core.volumed.devices import Device, Named, Places


@dataclass(frozen=True)
class Seen:
    """What the four sides say of one volume."""

    volume_id: str
    oma_vm_id: str
    port: int
    """The exporter's."""
    volume: Volume | None
    """CloudStack: None where it has none with this id."""
    device: Device | None
    """Linux."""
    mapping: DeviceMapping | None
    export: NbdExport | None
    target: Path | None
    """The exporter: where the name of `export` leads; None where it serves no such name."""
    clients: Callable[[], int]
    """Counts the connections to the export, wherever it leads."""
    given: bool = True
    """Whether the daemon itself gave the name of `export` to this volume."""
    refused: str = ""
    """Why the guard lets nobody serve the volume, "" where it may be."""
    rivals: tuple[Path, ...] = ()
    """Linux: the devices that have the volume's serial, where several do; `device` is None then."""


@dataclass(frozen=True)
class Sides:
    """Where to look."""

    settings: Daemon
    places: Places
    storage: Storage
    exporter: Exporter
    volumes: Engine
    oma: Engine


def at(sides: Sides, volume_id: str) -> Seen:
    """Look at one volume, now."""
    mapping, export = records.mapping(sides.volumes, volume_id), records.export(sides.volumes, volume_id)
    volume = sides.storage.get(volume_id)
    return _seen(sides, devices.scan(sides.places), volume_id, volume, mapping, export)


def at_all(sides: Sides) -> list[Seen]:
    """Look at every volume that carries our tag, and at every other one that a row tells of."""
    known = {volume.id: volume for volume in sides.storage.ours()}
    mappings = {row.volume_id: row for row in records.mappings(sides.volumes)}
    exports = {row.volume_id: row for row in records.exports(sides.volumes)}
    ids = dict.fromkeys([*known, *mappings, *exports])
    volumes = {volume_id: known.get(volume_id) or sides.storage.get(volume_id) for volume_id in ids}
    shown = devices.scan(sides.places)
    return [
        _seen(sides, shown, volume_id, volume, mappings.get(volume_id), exports.get(volume_id))
        for volume_id, volume in volumes.items()
    ]


def strays(sides: Sides) -> list[str]:
    """Return the names that the exporter serves and no row knows."""
    # The folder first: an export's row is there before its name is, and goes after it.
    served = sides.exporter.names()
    known = {row.export_name for row in records.exports(sides.volumes)}
    return [name for name in served if name not in known]


def connections(exporter: Exporter, *paths: Path | None) -> int:
    """Return how many connections use any of these devices, also of those that Linux has removed under them."""
    open_at = {path for path in paths if path is not None}
    return sum(exporter.clients(path) + exporter.clients(Path(f"{path} (deleted)")) for path in open_at)


def _refused(sides: Sides, volume: Volume | None) -> str:
    guarded = guard.Sides(sides.storage, sides.places, sides.exporter, sides.volumes, sides.oma)
    refusal = guard.refusal_to_serve(guarded, volume) if volume is not None else None
    return refusal.why if refusal is not None else ""


def _seen(
    sides: Sides,
    shown: list[Named],
    volume_id: str,
    volume: Volume | None,
    mapping: DeviceMapping | None,
    export: NbdExport | None,
) -> Seen:
    claimed = devices.claims(shown, volume_id)
    device = devices.the_device(claimed)
    target = sides.exporter.target(export.export_name) if export is not None else None
    paths: list[Path | None] = [*claimed, Path(export.device_path) if export else None]
    paths.append(target.resolve() if target else None)
    return Seen(
        volume_id,
        sides.storage.oma_vm_id(),
        sides.exporter.port,
        volume,
        device,
        mapping,
        export,
        target,
        partial(connections, sides.exporter, *paths),
        export is not None and sides.exporter.given_to(export.export_name) == volume_id,
        _refused(sides, volume) if export is not None else "",
        tuple(sorted(claimed)) if len(claimed) > 1 else (),
    )
