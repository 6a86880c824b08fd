"""Primary storage: the moment a volume stops being a row in a table and becomes a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import files
from .catalogue import POOL
from .errors import runtime
from .model import Volume
from .state import Cloud, forget


def fits(cloud: Cloud, size: int) -> bool:
    return cloud.free_bytes is None or size <= cloud.free_bytes


def materialise(cloud: Cloud, volume_id: str) -> Volume:
    """Allocated -> Ready. Asked again of a volume that has its file, it does nothing."""
    with cloud.lock:
        volume = cloud.volumes[volume_id]
        if volume.storageid is not None:
            return volume
        if not fits(cloud, volume.size):
            raise runtime(f"No suitable primary storage has {volume.size} bytes left for volume {volume.id}.")
        _take(cloud, volume.size)
        cloud.volumes[volume_id] = replace(volume, state="Creating", storageid=POOL)
    state = cloud.config.state
    source = None
    if volume.snapshotid:
        source = files.snapshot_path(state, volume.snapshotid)
    elif volume.templateid and volume.type == "ROOT":
        source = files.template_path(state, volume.templateid)
    files.create(files.volume_path(state, volume_id), volume.size, source)
    with cloud.lock:
        cloud.volumes[volume_id] = replace(cloud.volumes[volume_id], state="Ready")
        return cloud.volumes[volume_id]


def at_work(cloud: Cloud, volume_id: str, state: str) -> Callable[[], None]:
    """Give a volume the state of a job that is at work on it; return what gives it back its own."""
    volume = cloud.volumes[volume_id]
    before = volume.state
    cloud.volumes[volume_id] = replace(volume, state=state)

    def back() -> None:
        now = cloud.volumes.get(volume_id)
        if now and now.state == state:
            cloud.volumes[volume_id] = replace(now, state=before)

    return back


def expunge(cloud: Cloud, volume_id: str) -> None:
    with cloud.lock:
        volume = cloud.volumes[volume_id]
        if volume.storageid:
            _take(cloud, -volume.size)
        forget(cloud, "volume", volume_id)
    files.delete(files.volume_path(cloud.config.state, volume_id))


def resize(cloud: Cloud, volume_id: str, size: int) -> Volume:
    with cloud.lock:
        volume = cloud.volumes[volume_id]
        if volume.storageid:
            if not fits(cloud, size - volume.size):
                raise runtime(f"The primary storage has no room to grow volume {volume_id} to {size} bytes.")
            _take(cloud, size - volume.size)
            files.resize(files.volume_path(cloud.config.state, volume_id), size)
        state = "Ready" if volume.storageid else "Allocated"
        cloud.volumes[volume_id] = replace(volume, size=size, state=state)
        return cloud.volumes[volume_id]


def _take(cloud: Cloud, size: int) -> None:
    if cloud.free_bytes is not None:
        cloud.free_bytes -= size
