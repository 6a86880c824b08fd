"""One volume from all four sides: CloudStack, Linux, the exporter's folder, the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from migratekit_core.config.schema import Daemon
from migratekit_core.models.volumes import DeviceMapping, NbdExport
from migratekit_core.volumes.daemon import devices, records
from migratekit_core.volumes.daemon.devices import Device
from migratekit_core.volumes.daemon.exports.exporter import Exporter
from migratekit_core.volumes.daemon.storage import Storage, Volume


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


@dataclass(frozen=True)
class Sides:
    """Where to look."""

    settings: Daemon
    storage: Storage
    exporter: Exporter
    volumes: Engine


def at(sides: Sides, volume_id: str) -> Seen:
    """Look at one volume, now."""
    mapping, export = records.mapping(sides.volumes, volume_id), records.export(sides.volumes, volume_id)
    return _seen(sides, volume_id, sides.storage.get(volume_id), mapping, export)


def at_all(sides: Sides) -> list[Seen]:
    """Look at every volume that carries our tag, and at every other one that a row tells of."""
    known = {volume.id: volume for volume in sides.storage.ours()}
    mappings = {row.volume_id: row for row in records.mappings(sides.volumes)}
    exports = {row.volume_id: row for row in records.exports(sides.volumes)}
    found = []
    for volume_id in dict.fromkeys([*known, *mappings, *exports]):
        volume = known.get(volume_id) or sides.storage.get(volume_id)
        found.append(_seen(sides, volume_id, volume, mappings.get(volume_id), exports.get(volume_id)))
    return found


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


def _seen(
    sides: Sides, volume_id: str, volume: Volume | None, mapping: DeviceMapping | None, export: NbdExport | None
) -> Seen:
    device = devices.find(sides.settings.device_dir, volume_id)
    target = sides.exporter.target(export.export_name) if export is not None else None
    paths = [device.path if device else None, Path(export.device_path) if export else None]
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
    )
