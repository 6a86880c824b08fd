"""What each recorded call found: the state of the things it names, and what else there was.

Most calls need no more than what their parameters name, in the usual state. The others are in SITUATIONS, by the name
of the recording; a name that ends with a star stands for all that begin like it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lab.cloudstack import catalogue

from .facts import KINDS
from .world import World

Row = dict[str, Any]


def prepare(world: World) -> None:
    """Make the cloud that the world's recording found."""
    name = world.recording.name
    for pattern, situation in SITUATIONS.items():
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            situation(world)
            break
    if world.recording.command.startswith("list"):
        _listed(world)
    _named(world)


def _listed(world: World) -> None:
    """What a list shows is there, and something of a stranger's, which no list may show."""
    for name, rows in world.recording.body.items():
        if isinstance(rows, list) and name in ("volume", "virtualmachine", "snapshot", "tag"):
            for row in rows:
                _SHOWN[name](world, row)
    if world.recording.server == "more":
        world.volume("00000000-0000-4000-8000-000000000001", account="t2user", name="stranger")
        world.snapshot("00000000-0000-4000-8000-000000000002", account="t2user", name="stranger", volumeid="")


def _volume(world: World, row: Row) -> None:
    vm_id = row.get("virtualmachineid")
    if vm_id and vm_id not in world.cloud.vms:
        world.machine(vm_id, row["vmstate"], root=None, name=row["vmname"], displayname=row["vmdisplayname"])
    world.volume(
        row["id"], state=row["state"], type=row["type"], size=row["size"], virtualmachineid=vm_id,
        deviceid=row.get("deviceid"), attached=row.get("attached"), created=row["created"], account=world.owner(row),
        diskofferingid=row.get("diskofferingid"), templateid=row.get("templateid"),
    )  # fmt: skip
    for tag in row["tags"]:
        world.tag(row["id"], tag["key"], tag["value"], owner=tag.get("account") or world.owner(row))


def _machine(world: World, row: Row) -> None:
    world.machine(row["id"], row["state"], details=dict(row["details"]), nics=world.nics(row))


def _snapshot(world: World, row: Row) -> None:
    world.snapshot(row["id"], state=row["state"])
    for tag in row["tags"]:
        world.tag(row["id"], tag["key"], tag["value"], "Snapshot", owner=tag.get("account") or world.owner(row))


def _tag(world: World, row: Row) -> None:
    world.tag(row["resourceid"], row["key"], row["value"], row["resourcetype"], owner=world.owner(row))


_SHOWN: dict[str, Callable[[World, Row], None]] = {
    "volume": _volume, "virtualmachine": _machine, "snapshot": _snapshot, "tag": _tag,
}  # fmt: skip


def _named(world: World) -> None:
    """What the parameters name is there, unless the situation has put it there already."""
    cloud = world.cloud
    alone = world.recording.command == "listVolumes"
    for value in world.parameters.values():
        for entity_id in value.split(","):
            kind = world.facts.kind_of(entity_id)
            known = {**cloud.volumes, **cloud.vms, **cloud.snapshots}
            if kind not in KINDS.values() or entity_id in known or entity_id in cloud.removed.get(kind, ()):
                continue
            if kind == "volume":
                world.volume(entity_id)
            elif kind == "virtualmachine":
                world.machine(entity_id, root=None if alone else "")
            elif kind == "snapshot":
                world.snapshot(entity_id)


SITUATIONS: dict[str, Callable[[World], None]] = {}

__all__ = ["SITUATIONS", "catalogue", "prepare"]
