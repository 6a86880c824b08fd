"""What an operator does to one volume by hand: looked at first, so that a plan can be shown, then done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.volumed.client import VolumeClient

Action = Literal["attach", "detach", "export", "unexport"]


@dataclass(frozen=True)
class Change:
    """A change to be: what it is about, and its steps for people; no steps where there is nothing to do."""

    action: Action
    volume_id: str
    volume_name: str
    steps: tuple[str, ...]
    options: dict[str, Any]


def find(client: VolumeClient, volume: str) -> dict[str, Any]:
    """Return a volume by its id or its exact name. Raises PreconditionError where none or several have that name."""
    named = [found for found in client.volumes() if volume in (found["id"], found["name"])]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(found["id"] for found in named)
        raise PreconditionError(
            f"several volumes are called {volume!r}",
            ids,
            "name one by its id",
            code=ErrorCode.AMBIGUOUS,
            facts={"volume": volume},
        )
    # A volume that is not ours, such as a machine's root disk, is known by its id only.
    found = client.get(volume) if volume.replace("-", "").isalnum() and volume.isascii() and len(volume) <= 36 else None
    if found is None:
        raise PreconditionError(
            f"no volume {volume!r}",
            "neither an id nor the name of one of ours",
            hint("look with: ", migratekit("volumes", "list")),
            code=ErrorCode.GONE,
            facts={"volume": volume},
        )
    return found


def plan_attach(client: VolumeClient, volume: str, vm_id: str | None, device_id: int | None) -> Change:
    """Plan attaching to the OMA, or to another machine. Raises PreconditionError where it is attached elsewhere."""
    found = find(client, volume)
    where = f"virtual machine {vm_id}" if vm_id else "the OMA"
    if found["vm_id"] is not None and found["vm_id"] != vm_id and (vm_id or found["linux_state"] == "elsewhere"):
        raise PreconditionError(
            f"volume {found['name']} is attached already",
            f"to virtual machine {found['vm_id']}",
            hint("detach it first: ", migratekit("volumes", "detach", found["id"])),
            code=ErrorCode.ATTACHED,
            facts={"volume_id": found["id"]},
        )
    steps = [f"attach volume {found['name']} to {where}"]
    if vm_id is None:
        steps.append("find its device by the serial and compare the size")
    return _change("attach", found, steps, {"vm_id": vm_id, "device_id": device_id})


def plan_detach(client: VolumeClient, volume: str) -> Change:
    """Plan detaching. Raises PreconditionError where the volume is exported."""
    found = find(client, volume)
    if found["export_name"]:
        raise PreconditionError(
            f"volume {found['name']} is exported",
            f"as {found['export_name']}",
            hint("take that back first: ", migratekit("volumes", "unexport", found["id"])),
            code=ErrorCode.EXPORTED,
            facts={"volume_id": found["id"]},
        )
    steps = [f"detach volume {found['name']} from virtual machine {found['vm_id']}"] if found["vm_id"] else []
    return _change("detach", found, steps, {})


def plan_export(client: VolumeClient, volume: str, vm_name: str, disk: str) -> Change:
    """Plan exporting. Raises PreconditionError where the volume is not attached to the OMA."""
    found = find(client, volume)
    if found["linux_state"] != "attached":
        raise PreconditionError(
            f"volume {found['name']} is not attached to the OMA",
            f"it is {found['cloudstack_state']}, Linux has it {found['linux_state']}",
            hint("attach it first: ", migratekit("volumes", "attach", found["id"])),
            code=ErrorCode.NOT_ATTACHED,
            facts={"volume_id": found["id"]},
        )
    steps = [f"export volume {found['name']} over NBD on loopback, and prove it with a handshake"]
    return _change("export", found, steps, {"vm_name": vm_name, "disk": disk})


def plan_unexport(client: VolumeClient, volume: str) -> Change:
    """Plan taking an export back."""
    found = find(client, volume)
    steps = [f"take back export {found['export_name']}, unless somebody is connected"] if found["export_name"] else []
    return _change("unexport", found, steps, {})


def apply(client: VolumeClient, change: Change) -> dict[str, Any]:
    """Do what was planned; return the operation's response. Raises the operation's error."""
    call = getattr(client, change.action)
    done: dict[str, Any] = call(change.volume_id, **change.options)
    return done


def _change(action: Action, found: dict[str, Any], steps: list[str], options: dict[str, Any]) -> Change:
    return Change(action, found["id"], found["name"], tuple(steps), options)
