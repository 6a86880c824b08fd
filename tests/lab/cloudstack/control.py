"""The lab's own endpoints, beside the API and without a signature: look inside, break things, fill the storage."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path
from typing import Any

from . import catalogue, faults, files, settings
from .guests import Wanted
from .model import GIB, RESOURCE_TYPES, Tag, Volume, now
from .state import Cloud


class NotThere(Exception):
    """No such endpoint."""


def handle(cloud: Cloud, method: str, path: str, body: bytes) -> Any:
    """The answer as something JSON can hold. A ValueError is the caller's mistake."""
    if (method, path) == ("POST", "/lab/restart"):
        return restart(cloud, _object(body))
    with cloud.lock:
        match method, path:
            case "GET", "/lab/state":
                return state(cloud)
            case "GET", _ if path.startswith("/lab/volumes/"):
                found = cloud.volumes.get(path.rsplit("/", 1)[1])
                if found is None:
                    raise NotThere("no such volume")
                return _fields(found) | {"file": _file(cloud.config.state, found)}
            case "GET", "/lab/running":
                return [vm.name for vm in cloud.vms.values() if vm.state == "Running"]
            case "GET", "/lab/calls":
                return dict(cloud.calls)
            case "DELETE", "/lab/calls":
                cloud.calls.clear()
                cloud.events.clear()
                return {}
            case "GET", "/lab/faults":
                return [dataclasses.asdict(fault) for fault in cloud.faults]
            case "POST", "/lab/faults":
                return dataclasses.asdict(faults.add(cloud, _object(body)))
            case "DELETE", "/lab/faults":
                cloud.faults.clear()
                return {}
            case "POST", "/lab/volumes":
                return _many_volumes(cloud, _object(body))
            case "POST", "/lab/account":
                return change_account(cloud, _object(body))
            case "POST", "/lab/backup":
                return change_backup(cloud, _object(body))
            case "POST", "/lab/project":
                return change_project(cloud, _object(body))
            case "GET", "/lab/settings":
                return settings.shown(cloud.config)
            case "POST", "/lab/settings":
                use_settings(cloud, settings.change(cloud.config, _object(body)))
                return settings.shown(cloud.config)
            case "DELETE", "/lab/settings":
                use_settings(cloud, cloud.started_with)
                return settings.shown(cloud.config)
            case "POST", "/lab/full":
                free = _object(body).get("bytes")
                if free is not None and not isinstance(free, int):
                    raise ValueError("bytes is a number, or null for a storage that never fills")
                cloud.free_bytes = free
                return {"bytes": free}
            case "POST", "/lab/boot":
                wanted = _object(body)
                if wanted.keys() != {"names", "ports"}:
                    raise ValueError(f"names and ports are wanted, not {', '.join(wanted)}")
                cloud.guests.wanted = Wanted(tuple(wanted["names"]), tuple(wanted["ports"]))
                return dataclasses.asdict(cloud.guests.wanted)
            case "GET", _ if path.startswith("/lab/consoles/"):
                console = cloud.config.state / "consoles" / f"{path.rsplit('/', 1)[1]}.log"
                return {"text": console.read_text(errors="replace") if console.exists() else ""}
            case "POST", _ if path.startswith("/lab/screens/"):
                vm = next((vm for vm in cloud.vms.values() if vm.name == path.rsplit("/", 1)[1]), None)
                if vm is None or vm.id not in cloud.guests.running:
                    raise ValueError("no such machine was booted")
                target = cloud.config.state / "consoles" / f"{vm.name}.png"
                cloud.guests.screen(vm.id, target)
                return {"file": str(target)}
    raise NotThere(f"{method} {path}")


def restart(cloud: Cloud, wanted: dict[str, Any]) -> dict[str, Any]:
    """Restart the management server, which is away for so many `seconds`. Not under the lock: requests end first."""
    seconds = wanted.get("seconds", 1.0)
    if not isinstance(seconds, int | float) or cloud.restart is None:
        raise ValueError(f"seconds is a number, not {seconds!r}; and the server has to be one that can be restarted")
    cloud.restart(float(seconds))
    return {"seconds": seconds}


def use_settings(cloud: Cloud, config: settings.Config) -> None:
    """Change the settings, and what follows from them."""
    cloud.config = config
    cloud.windows.clear()
    oma = cloud.vms.get(catalogue.OMA_VM)
    if oma:
        details = {key: value for key, value in oma.details.items() if key != "UEFI"}
        cloud.vms[oma.id] = dataclasses.replace(oma, details=details | ({"UEFI": "LEGACY"} if config.oma_uefi else {}))


def change_backup(cloud: Cloud, wanted: dict[str, Any]) -> dict[str, Any]:
    """Give a machine (`vm`, its name) a backup offering, or with `on` false take it away."""
    vm = next((vm for vm in cloud.vms.values() if vm.name == wanted.get("vm")), None)
    if vm is None or set(wanted) - {"vm", "on"}:
        raise ValueError(f"a machine's name as vm, and on: {wanted}")
    offering = catalogue.stable_id("backupoffering", "gold") if wanted.get("on", True) else None
    cloud.vms[vm.id] = dataclasses.replace(vm, backupofferingid=offering)
    return {"vm": vm.name, "backupofferingid": offering}


def _many_volumes(cloud: Cloud, wanted: dict[str, Any]) -> list[str]:
    """`count` volumes that were made and never attached, each with `tags`: more than a test could ask the API for."""
    owner = next(iter(cloud.accounts.values())).name
    made = []
    for number in range(int(wanted["count"])):
        volume = Volume(
            id=str(uuid.uuid4()), name=f"{wanted.get('name', 'many')}-{number}", account=owner, zoneid=catalogue.ZONE,
            size=GIB, type="DATADISK", state="Allocated", created=now(),
        )  # fmt: skip
        cloud.volumes[volume.id] = volume
        cloud.tags += [Tag(volume.id, "Volume", key, value, owner) for key, value in wanted.get("tags", {}).items()]
        made.append(volume.id)
    return made


def _object(body: bytes) -> dict[str, Any]:
    parsed = json.loads(body or b"{}")
    if not isinstance(parsed, dict):
        raise ValueError("a JSON object is wanted")
    return parsed


def change_account(cloud: Cloud, wanted: dict[str, Any]) -> dict[str, Any]:
    """Sets an account's limits (resource type: amount) and the commands that its role may not call.

    Without `account` it is the first one's.
    """
    if unknown := set(wanted) - {"account", "limits", "deny"}:
        raise ValueError(f"{', '.join(sorted(unknown))}: an account has limits and deny")
    if unknown := set(wanted.get("limits", {})) - set(RESOURCE_TYPES):
        raise ValueError(f"{', '.join(sorted(unknown))}: limits are those of {', '.join(RESOURCE_TYPES)}")
    name = wanted.get("account", next(iter(cloud.accounts.values())).name)
    found = [(key, account) for key, account in cloud.accounts.items() if account.name == name]
    if not found:
        raise ValueError(f"there is no account {name}")
    limits, deny = wanted.get("limits", {}), frozenset(wanted.get("deny", ()))
    changed = {key: dataclasses.replace(account, limits=limits, deny=deny) for key, account in found}
    cloud.accounts = {**cloud.accounts, **changed}
    return {"account": name, "limits": limits, "deny": sorted(deny)}


def change_project(cloud: Cloud, wanted: dict[str, Any]) -> dict[str, Any]:
    """Sets a project's state (Active or Suspended) and limits; what is not named becomes what it was at first."""
    if unknown := set(wanted) - {"name", "state", "limits"}:
        raise ValueError(f"{', '.join(sorted(unknown))}: a project has a name, a state and limits")
    project = next((project for project in cloud.projects.values() if project.name == wanted.get("name")), None)
    state, limits = wanted.get("state", "Active"), wanted.get("limits", {})
    if project is None or state not in ("Active", "Suspended") or set(limits) - set(RESOURCE_TYPES):
        raise ValueError(f"no such project, state or limit: {wanted}")
    cloud.projects[project.id] = dataclasses.replace(project, state=state, limits=limits)
    return {"name": project.name, "state": state, "limits": limits}


def state(cloud: Cloud) -> dict[str, Any]:
    """Everything, with file names added and secrets left out."""
    directory = cloud.config.state
    volumes = [_fields(volume) | {"file": _file(directory, volume)} for volume in cloud.volumes.values()]
    snapshots = [
        _fields(snapshot) | {"file": str(files.snapshot_path(directory, snapshot.id))}
        for snapshot in cloud.snapshots.values()
    ]
    vms = [
        _fields(vm)
        | {"nics": [_fields(nic) for nic in vm.nics]}
        | {"byid": str(files.by_id(directory, vm.id)), "devices": _links(cloud, vm.id)}
        for vm in cloud.vms.values()
    ]
    return {
        "config": settings.shown(cloud.config),
        "volumes": volumes,
        "snapshots": snapshots,
        "virtualmachines": vms,
        "tags": [_fields(tag) for tag in cloud.tags],
        "jobs": [_fields(job) for job in cloud.jobs.values()],
        "queues": {resource: list(queue) for resource, queue in cloud.queues.items()},
        "faults": [_fields(fault) for fault in cloud.faults],
        "freebytes": cloud.free_bytes,
        "events": list(cloud.events),
    }


def _fields(thing: Any) -> dict[str, Any]:
    """Return the fields of a dataclass without copies of what is in them: nothing here is changed, but replaced."""
    return dict(vars(thing))


def _file(directory: Path, volume: Volume) -> str | None:
    return str(files.volume_path(directory, volume.id)) if volume.storageid else None


def _links(cloud: Cloud, vm_id: str) -> dict[str, str]:
    directory = files.by_id(cloud.config.state, vm_id)
    if not directory.is_dir():
        return {}
    return {link.name: str(link.readlink()) for link in sorted(directory.iterdir())}
