"""What each recorded call found: the state of the things it names, and what else there was.

Most calls need no more than what their parameters name, in the usual state: a volume detached and Ready, a machine
running if it ever was seen running. The others are in `cases.py` by the name of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lab.cloudstack import catalogue, rows

from .cases import CASES, SETTINGS
from .facts import KINDS
from .world import CREATED, World

Row = dict[str, Any]

LISTED = {
    "zone": "zone", "serviceoffering": "serviceoffering", "diskoffering": "diskoffering", "network": "network",
    "template": "template", "ostype": "ostype",
}  # fmt: skip
"""Rows of lists that are the catalogue's."""
STRANGER = "t2user"
STRANGERS_VOLUME = "00000000-0000-4000-8000-000000000001"
STRANGERS_SNAPSHOT = "00000000-0000-4000-8000-000000000002"


def prepare(world: World, tables: catalogue.Tables) -> None:
    """Make the cloud that the world's recording found."""
    world.settings(**SETTINGS.get(world.recording.id, {}))
    catalogue.use(_as_it_was(world, tables))
    case = CASES.get(world.recording.id)
    if case:
        case(world)
    if world.recording.command.startswith("list"):
        _listed(world)
    _named(world)


def _as_it_was(world: World, tables: catalogue.Tables) -> catalogue.Tables:
    """The catalogue when a list was recorded: what it shows, and what it hides from this caller for a reason."""
    changed = dict(tables)
    for name, kind in LISTED.items():
        shown = world.recording.body.get(name)
        if isinstance(shown, list) and world.recording.command.startswith("list"):
            ids = {(row["id"], row.get("zoneid")) for row in shown}
            there = [row for row in tables[kind] if (row["id"], row.get("zoneid")) in ids]
            changed[kind] = [*there, *_fillers(kind, world.recording.body.get("count", 0) - len(shown), there)]
            changed[kind] += [row for row in tables[kind] if row not in there and _hidden(world, kind, row)]
    return changed


def _hidden(world: World, kind: str, row: Row) -> bool:
    """Whether a row was there already and must not be shown to this caller."""
    domain = world.cloud.account(world.recording.account).domainid
    if kind == "diskoffering":
        of_others = row.get("domainid") not in (None, domain) and world.recording.account != "rootadm"
        return bool(of_others or ("zoneid" in row and "zoneid" in world.parameters))
    if kind == "network" and row["_owner"] and row["acltype"] == "Account":
        return world.cloud.account(row["_owner"]).domainid != domain and world.recording.account == "mig"
    return kind == "template" and not row["isready"]


def _fillers(kind: str, count: int, known: list[Row]) -> list[Row]:
    """So many more rows that no page showed."""
    return [known[0] | {"id": rows.stable_id(kind, f"filler {number}")} for number in range(count)]


def _listed(world: World) -> None:
    """What a list shows is there, and something of a stranger's, which no list may show."""
    body = world.recording.body
    for name, make in _SHOWN.items():
        shown = body.get(name)
        for row in shown if isinstance(shown, list) else []:
            make(world, row)
    if world.recording.command == "listVolumes" and "tags[0].key" not in world.parameters:
        for number in range(body.get("count", 0) - len(body.get("volume", []))):
            world.volume(rows.stable_id("volume", f"filler {number}"), account=world.recording.account)
    if world.recording.server == "more":
        world.volume(STRANGERS_VOLUME, account=STRANGER, name="stranger")
        world.snapshot(STRANGERS_SNAPSHOT, account=STRANGER, name="stranger", volumeid="")


def _volume(world: World, row: Row) -> None:
    vm_id = row.get("virtualmachineid")
    if vm_id and vm_id not in world.cloud.vms:
        names = {"name": row["vmname"], "displayname": row["vmdisplayname"], "account": world.owner(row)}
        world.machine(vm_id, row["vmstate"], root=None, **names)
    world.volume(
        row["id"], state=row["state"], type=row["type"], size=row["size"], virtualmachineid=vm_id,
        deviceid=row.get("deviceid"), attached=row.get("attached"), created=row["created"], account=world.owner(row),
        diskofferingid=row.get("diskofferingid"), templateid=row.get("templateid"), miniops=row.get("miniops"),
        maxiops=row.get("maxiops"),
    )  # fmt: skip
    _tags(world, row, "Volume")
    if "jobid" in row:
        world.busy(f"volume:{row['id']}", row["jobid"])


def _tags(world: World, row: Row, kind: str) -> None:
    for tag in row["tags"]:
        world.tag(row["id"], tag["key"], tag["value"], kind, owner=tag["account"])


def _machine(world: World, row: Row) -> None:
    for tag in row["tags"]:
        world.tag(row["id"], tag["key"], tag["value"], "UserVm", owner=tag["account"])
    host = catalogue.rows("host")[0]["id"] if "hostcontrolstate" in row else None
    groups = tuple(group["id"] for group in row["securitygroup"])
    older = row.get("rootdevicetype") == "DATADISK"
    if older:
        _data_disk(world, row)
    world.machine(
        row["id"], row["state"], nics=world.nics(row), hostid=host, updated=row.get("lastupdated"),
        started="pooltype" in row, details={} if world.recording.account == "rootadm" else dict(row["details"]),
        bare=row.get("boottype") == "Bios", account=world.owner(row), securitygroups=groups,
    )  # fmt: skip
    if "diskofferingid" in row and not older:
        _data_disk(world, row)
    if "jobid" in row:
        world.busy(f"virtualmachine:{row['id']}", row["jobid"])


def _data_disk(world: World, row: Row) -> None:
    """A data disk of a machine that a row shows; put there first, it is older than the machine's root volume."""
    world.volume(
        rows.stable_id("volume", f"data of {row['id']}"), virtualmachineid=row["id"], deviceid=1, attached=CREATED,
        account=world.owner(row), diskofferingid=row["diskofferingid"],
    )  # fmt: skip


def _snapshot(world: World, row: Row) -> None:
    world.snapshot(row["id"], state=row["state"], volumetype=row["volumetype"])
    if row["volumestate"] != "Expunged":
        world.volume(row["volumeid"], state=row["volumestate"], account=world.owner(row))
    _tags(world, row, "Snapshot")
    if "jobid" in row:
        world.busy(f"snapshot:{row['id']}", row["jobid"])


def _tag(world: World, row: Row) -> None:
    world.tag(row["resourceid"], row["key"], row["value"], row["resourcetype"], owner=world.owner(row))


_SHOWN: dict[str, Callable[[World, Row], None]] = {
    "volume": _volume, "virtualmachine": _machine, "snapshot": _snapshot, "tag": _tag,
}  # fmt: skip


def _named(world: World) -> None:
    """What the parameters name is there, unless the situation has put it there already, or has said that it is not."""
    cloud = world.cloud
    for value in list(world.parameters.values()):
        for entity_id in value.split(","):
            kind = world.facts.kind_of(entity_id)
            known = {**cloud.volumes, **cloud.vms, **cloud.snapshots}
            if kind not in KINDS.values() or entity_id in known or entity_id in cloud.removed.get(kind, ()):
                continue
            if kind == "volume":
                world.volume(entity_id)
            elif kind == "virtualmachine":
                world.machine(entity_id, root=None if world.recording.command == "listVolumes" else "")
            elif kind == "snapshot":
                world.snapshot(entity_id)
