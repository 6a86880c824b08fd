"""Which volume is the replica of which disk. A disk keeps its replica when it moves to another slot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migratekit_core.adapters.vsphere.inventory import Disk
from migratekit_core.db.models.oma import VmDisk


def matched(disks: Sequence[Disk], rows: Sequence[VmDisk], uuids: Mapping[str, str]) -> dict[int, VmDisk]:
    """Return what is recorded of each of these disks, by its device key now; a disk may have nothing.

    `uuids`: of the backings of the disks that volumes are replicas of, by volume id. First those count, then the device
    keys: a volume that an older version made has no uuid, and a disk that took another one's slot may have its volume,
    which change tracking tells to be copied anew. Of two disks with one uuid (a copied file) the one in the old slot is
    the old one.
    """
    left = {row.disk_id: row for row in rows}
    found: dict[int, VmDisk] = {}

    def uuid(row: VmDisk) -> str:
        return uuids.get(row.ossea_volume_id or "", "")

    def take(disk: Disk, row: VmDisk | None) -> None:
        if row is not None and disk.key not in found:
            found[disk.key] = left.pop(row.disk_id)

    for disk in disks:
        row = left.get(str(disk.key))
        if row is not None and disk.uuid and uuid(row) == disk.uuid:
            take(disk, row)
    for disk in disks:
        take(disk, next((row for row in left.values() if disk.uuid and uuid(row) == disk.uuid), None))
    for disk in disks:
        take(disk, left.get(str(disk.key)))
    return found
