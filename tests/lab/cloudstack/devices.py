"""What Linux inside a running virtual machine sees: its attached disks, maybe late, maybe never (how: disks.py)."""

from __future__ import annotations

import threading

from . import disks
from .state import Cloud, volumes_of


def plug(cloud: Cloud, vm_id: str, volume_id: str, fault: str | None = None) -> None:
    """Called when the attach job is through; udev takes --attach-delay longer than CloudStack."""
    cloud.hotplugged.setdefault(vm_id, set()).add(volume_id)
    if fault == "no-device":
        return
    naming = fault if fault in disks.NAMINGS else disks.USUAL
    if cloud.config.attach_delay <= 0:
        _show(cloud, vm_id, volume_id, naming)
        return
    timer = threading.Timer(cloud.config.attach_delay, _show, (cloud, vm_id, volume_id, naming))
    timer.daemon = True
    timer.start()


def has_free_slot(cloud: Cloud, vm_id: str) -> bool:
    """A running UEFI machine has no PCI slot left after a few disks; what it starts with does not count."""
    if "UEFI" not in cloud.vms[vm_id].details:
        return True
    return len(cloud.hotplugged.get(vm_id, ())) < cloud.config.uefi_slots


def _show(cloud: Cloud, vm_id: str, volume_id: str, naming: str) -> None:
    with cloud.lock:
        vm, volume = cloud.vms.get(vm_id), cloud.volumes.get(volume_id)
        if vm and vm.state == "Running" and volume and volume.virtualmachineid == vm_id:
            disks.plug(cloud.config.state, vm_id, volume_id, naming)


def unplug(cloud: Cloud, vm_id: str, volume_id: str, seconds: float = 0.0) -> None:
    """`seconds`: how much longer than CloudStack Linux holds it."""
    cloud.hotplugged.get(vm_id, set()).discard(volume_id)
    if seconds <= 0:
        disks.unplug(cloud.config.state, vm_id, volume_id)
        return
    timer = threading.Timer(seconds, disks.unplug, (cloud.config.state, vm_id, volume_id))
    timer.daemon = True
    timer.start()


def power_on(cloud: Cloud, vm_id: str) -> None:
    """A machine that boots finds all its disks at once: no hot-plug, so no delay."""
    with cloud.lock:
        cloud.hotplugged.pop(vm_id, None)
        for volume in volumes_of(cloud, vm_id):
            _show(cloud, vm_id, volume.id, disks.USUAL)


def power_off(cloud: Cloud, vm_id: str) -> None:
    for volume in volumes_of(cloud, vm_id):
        unplug(cloud, vm_id, volume.id)
