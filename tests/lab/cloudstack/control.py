"""The lab's own endpoints, beside the API and without a signature: look inside, break things, fill the storage."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from . import faults, files
from .model import Volume
from .state import Cloud


class NotThere(Exception):
    """No such endpoint."""


def handle(cloud: Cloud, method: str, path: str, body: bytes) -> Any:
    """The answer as something JSON can hold. A ValueError is the caller's mistake."""
    with cloud.lock:
        match method, path:
            case "GET", "/lab/state":
                return state(cloud)
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
            case "POST", "/lab/full":
                free = _object(body).get("bytes")
                if free is not None and not isinstance(free, int):
                    raise ValueError("bytes is a number, or null for a storage that never fills")
                cloud.free_bytes = free
                return {"bytes": free}
    raise NotThere(f"{method} {path}")


def _object(body: bytes) -> dict[str, Any]:
    parsed = json.loads(body or b"{}")
    if not isinstance(parsed, dict):
        raise ValueError("a JSON object is wanted")
    return parsed


def state(cloud: Cloud) -> dict[str, Any]:
    """Everything, with file names added and secrets left out."""
    directory = cloud.config.state
    config = dataclasses.asdict(cloud.config) | {"state": str(directory)}
    volumes = [dataclasses.asdict(volume) | {"file": _file(directory, volume)} for volume in cloud.volumes.values()]
    snapshots = [
        dataclasses.asdict(snapshot) | {"file": str(files.snapshot_path(directory, snapshot.id))}
        for snapshot in cloud.snapshots.values()
    ]
    vms = [
        dataclasses.asdict(vm) | {"byid": str(files.by_id(directory, vm.id)), "devices": _links(cloud, vm.id)}
        for vm in cloud.vms.values()
    ]
    return {
        "config": config,
        "volumes": volumes,
        "snapshots": snapshots,
        "virtualmachines": vms,
        "tags": [dataclasses.asdict(tag) for tag in cloud.tags],
        "jobs": [dataclasses.asdict(job) for job in cloud.jobs.values()],
        "queues": {resource: list(queue) for resource, queue in cloud.queues.items()},
        "faults": [dataclasses.asdict(fault) for fault in cloud.faults],
        "freebytes": cloud.free_bytes,
        "events": list(cloud.events),
    }


def _file(directory: Path, volume: Volume) -> str | None:
    return str(files.volume_path(directory, volume.id)) if volume.storageid else None


def _links(cloud: Cloud, vm_id: str) -> dict[str, str]:
    directory = files.by_id(cloud.config.state, vm_id)
    if not directory.is_dir():
        return {}
    return {link.name: str(link.readlink()) for link in sorted(directory.iterdir())}
