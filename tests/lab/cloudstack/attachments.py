"""attachVolume and detachVolume.

The rules are looked at as soon as the job begins, while others may still be at work on the machine; what the turn of a
job finds changed by then is told in other words. While a job attaches a volume, its state is Attaching.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import catalogue, devices, storage, texts
from .call import Call, Work, need, number, text
from .errors import ApiError, invalid_value, runtime
from .lookup import existing, existing_vm, shown_volume
from .model import CDROM_DEVICE_ID, Vm, Volume, now
from .state import Cloud, Fault, volumes_of

ATTACHABLE = ("Allocated", "Ready", "Uploaded")
_WRONG_STATE = "Volume state must be in Allocated, Ready or in Uploaded state"


def attach_volume(call: Call) -> Work:
    """Attach a volume to a machine."""
    volume_id, vm_id, device_id = need(call, "id"), need(call, "virtualmachineid"), number(call, "deviceid")

    def run() -> Mapping[str, Any]:
        finish(call, volume_id, vm_id, device_id)
        return shown_volume(call, volume_id)

    return Work(
        run,
        (f"virtualmachine:{vm_id}", f"volume:{volume_id}"),
        "Volume",
        volume_id,
        check=lambda: check(call, volume_id, vm_id, device_id),
        begin=lambda: _begin(call, volume_id),
    )


def check(call: Call, volume_id: str, vm_id: str, device_id: int | None) -> None:
    """Raise ApiError where the volume cannot be attached, in the order in which the real server looks."""
    cloud = call.cloud
    volume = existing(call, volume_id)
    if volume.virtualmachineid:
        raise invalid_value("Please specify a volume that is not attached to any VM.")
    if volume.state in ("Destroy", "Expunging", "Expunged"):
        raise invalid_value("Please specify a volume that is not destroyed.")
    if volume.state not in ATTACHABLE:
        raise invalid_value(_WRONG_STATE)
    vm = existing_vm(call, vm_id)
    if vm.state not in ("Running", "Stopped"):
        raise invalid_value("Please specify a VM that is either running or stopped.")
    if vm.zoneid != volume.zoneid:
        raise invalid_value("Please specify a VM that is in the same zone as the volume.")
    _check_hypervisor(volume, vm)
    if device_id == 0:
        _check_root(cloud, vm, volume)
    else:
        _check_number(cloud, vm)
    _check_snapshots_and_backups(cloud, vm)
    if vm.account != volume.account:
        raise ApiError(530, None, texts.different_accounts(vm, volume))


def _check_hypervisor(volume: Volume, vm: Vm) -> None:
    """What the machine's hypervisor takes: nothing that lies on another one's storage, nothing encrypted."""
    hypervisor = catalogue.row("template", vm.templateid)["hypervisor"]
    made_by = catalogue.rows("host")[0]["hypervisor"]
    if volume.storageid and made_by != hypervisor:
        raise invalid_value(f"Can't attach a volume created by: {made_by} to a {hypervisor} vm")
    if volume.diskofferingid and catalogue.row("diskoffering", volume.diskofferingid)["encrypt"]:
        raise invalid_value(
            "Volume's disk offering has encryption enabled, but volume encryption is not supported for hypervisor type "
            f"{hypervisor}"
        )


def _check_managed(cloud: Cloud, volume: Volume) -> None:
    """A volume that lies on managed storage neither becomes a root disk nor stops being one; an allocated one lies on
    none."""
    if cloud.config.managed_storage and volume.storageid is not None:
        raise invalid_value("Root volume detach is not supported for Managed DataStores")


def _check_root(cloud: Cloud, vm: Vm, volume: Volume) -> None:
    if vm.state not in ("Stopped", "Destroyed"):
        raise invalid_value("Root volume detach can happen only when vm is in states: Stopped or Destroyed")
    _check_managed(cloud, volume)
    if any(volume.deviceid == 0 for volume in volumes_of(cloud, vm.id)):
        raise invalid_value("Vm already has root volume attached to it")


def _check_number(cloud: Cloud, vm: Vm) -> None:
    most = cloud.config.max_data_volumes
    if sum(volume.type == "DATADISK" for volume in volumes_of(cloud, vm.id)) >= most:
        raise invalid_value(
            f"The specified VM already has the maximum number of data disks ({most}) attached. Please specify another "
            "VM."
        )


def _check_snapshots_and_backups(cloud: Cloud, vm: Vm) -> None:
    if any(snapshot.vmid == vm.id for snapshot in cloud.vmsnapshots.values()):
        where = f"{vm.instancename}/{vm.id}"
        raise invalid_value(
            f"Unable to attach volume to VM {where}, please specify a VM that does not have VM snapshots"
        )
    if vm.backupofferingid:
        raise invalid_value(
            "Unable to attach volume, please specify a VM that does not have any backups or set the global "
            "configuration 'backup.enable.attach.detach.of.volumes' to true."
        )


def _begin(call: Call, volume_id: str) -> Callable[[], None]:
    """The job's turn has come: another one may have attached the volume since it was looked at."""
    cloud = call.cloud
    volume = existing(call, volume_id)
    if volume.virtualmachineid:
        raise runtime("This volume is already attached to a VM.")
    if volume.state not in ATTACHABLE:
        raise invalid_value(_WRONG_STATE)
    cloud.volumes[volume_id] = replace(volume, state="Attaching")
    return lambda: _give_back(cloud, volume_id)


def _give_back(cloud: Cloud, volume_id: str) -> None:
    """A volume that was not attached after all keeps the file that it may have got."""
    volume = cloud.volumes.get(volume_id)
    if volume and volume.state in ("Attaching", "Creating"):
        cloud.volumes[volume_id] = replace(volume, state="Ready" if volume.storageid else "Allocated")


def attach(call: Call, volume_id: str, vm_id: str, device_id: int | None) -> None:
    """Attach a volume within another job."""
    with call.cloud.lock:
        check(call, volume_id, vm_id, device_id)
        back = _begin(call, volume_id)
    try:
        finish(call, volume_id, vm_id, device_id)
    except ApiError:
        with call.cloud.lock:
            back()
        raise


def attach_new(call: Call, volume_id: str, vm_id: str) -> None:
    """Attach a volume right after it was made. Where that fails the volume stays, destroyed, and no reason is told."""
    try:
        attach(call, volume_id, vm_id, None)
    except ApiError:
        with call.cloud.lock:
            volume = call.cloud.volumes[volume_id]
            call.cloud.volumes[volume_id] = replace(volume, state="Destroy")
        raise ApiError(530, None, f"Failed to create volume: {texts.volume(volume)}") from None


def finish(call: Call, volume_id: str, vm_id: str, device_id: int | None) -> None:
    """Give the volume its file and its place at the machine."""
    cloud = call.cloud
    with cloud.lock:
        vm = existing_vm(call, vm_id)
        device = _device(cloud, vm, device_id)
        # Only a machine that has a disk on some primary storage decides where an allocated volume goes; on one that
        # never ran, the volume stays a row until the machine starts.
        placed = any(other.storageid for other in volumes_of(cloud, vm_id))
    if placed:
        _check_tags(cloud.volumes[volume_id])
        storage.materialise(cloud, volume_id)
    with cloud.lock:
        volume, running = cloud.volumes[volume_id], cloud.vms[vm_id].state == "Running"
        if running and not devices.has_free_slot(cloud, vm_id):
            raise runtime(
                f"Failed to attach volume {volume.name} to VM {vm.name}; org.libvirt.LibvirtException: internal error: "
                "No more available PCI slots"
            )
        kind = "ROOT" if device == 0 else volume.type
        state = "Ready" if volume.storageid else "Allocated"
        if volume.storageid and not running and cloud.config.attach_migrates:
            volume = replace(volume, storageid=catalogue.OTHER_POOL)
        cloud.volumes[volume_id] = replace(
            volume, state=state, virtualmachineid=vm_id, deviceid=device, type=kind, attached=now()
        )
    if running:
        devices.plug(cloud, vm_id, volume_id, call.faulty)


def _check_tags(volume: Volume) -> None:
    """Raise ApiError where no pool has the storage tag of the volume's offering: only now that is found out."""
    offering = catalogue.row("diskoffering", volume.diskofferingid) if volume.diskofferingid else {}
    tag = offering.get("tags")
    if volume.storageid is None and tag and all(pool.get("tags") != tag for pool in catalogue.rows("storagepool")):
        row = json.dumps({"name": volume.name, "uuid": volume.id})
        raise runtime(f"Unable to find suitable primary storage when creating volume [{row}].")


def _device(cloud: Cloud, vm: Vm, wanted: int | None) -> int:
    """The number of the device: the one that is wanted, or the first free one."""
    last = cloud.config.max_data_volumes + 1
    places = [device for device in range(last + 1) if device != CDROM_DEVICE_ID]
    taken = {volume.deviceid: volume for volume in volumes_of(cloud, vm.id)}
    if wanted is None:
        free = [device for device in places if device and device not in taken]
        if not free:
            raise runtime(f"All device Ids are used by vm {vm.id}")
        return free[0]
    if wanted not in places:
        raise runtime(f"deviceId should be 0,1,2,4-{last}")
    if wanted in taken:
        raise runtime(f"deviceId {wanted} is used by vol {texts.volume(taken[wanted])} on vm {texts.vm(vm)}")
    return wanted


def detach_volume(call: Call) -> Work:
    """Detach a volume, whose state stays Ready while the job works."""
    cloud, volume_id = call.cloud, text(call, "id")
    vm_id, device_id = text(call, "virtualmachineid"), number(call, "deviceid")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            volume = _to_detach(call, volume_id, vm_id, device_id)
            detach(cloud, volume, call.fault)
        return shown_volume(call, volume.id)

    def check_it() -> None:
        _to_detach(call, volume_id, vm_id, device_id)

    volume = cloud.volumes.get(volume_id or "")
    holder = vm_id or (volume.virtualmachineid if volume else None)
    resources = [f"volume:{volume_id}"] if volume_id else []
    resources += [f"virtualmachine:{holder}"] if holder else []
    return Work(run, tuple(resources), "Volume" if volume_id else None, volume_id, check=check_it)


def _to_detach(call: Call, volume_id: str | None, vm_id: str | None, device_id: int | None) -> Volume:
    by_device = vm_id is not None and device_id is not None
    if bool(volume_id) == by_device or (volume_id and (vm_id or device_id is not None)):
        raise invalid_value("Please provide either a volume id, or a tuple(device id, instance id)")
    if volume_id is None:  # documented, and broken on the server that was recorded
        raise runtime('Cannot invoke "java.lang.Long.longValue()" because "volumeId" is null')
    volume = existing(call, volume_id)
    if not volume.virtualmachineid:
        raise invalid_value("The specified volume is not attached to a VM.")
    vm = call.cloud.vms[volume.virtualmachineid]
    if vm.state not in ("Running", "Stopped", "Destroyed"):
        raise invalid_value("Please specify a VM that is either running or stopped.")
    if volume.type == "ROOT" and vm.state not in ("Stopped", "Destroyed"):
        raise invalid_value("Root volume detach can happen only when vm is in states: Stopped or Destroyed")
    if volume.type == "ROOT":
        _check_managed(call.cloud, volume)
    if any(snapshot.vmid == vm.id for snapshot in call.cloud.vmsnapshots.values()):
        raise invalid_value("Unable to detach volume, please specify a VM that does not have VM snapshots")
    if vm.backupofferingid:
        raise invalid_value(
            "Unable to detach volume, cannot detach volume from a VM that has backups. First remove the VM from the "
            "backup offering or set the global configuration 'backup.enable.attach.detach.of.volumes' to true."
        )
    return volume


def detach(cloud: Cloud, volume: Volume, fault: Fault | None = None) -> None:
    """A detached root volume is a data disk again, but it keeps the template it came from."""
    assert volume.virtualmachineid
    cloud.volumes[volume.id] = replace(volume, virtualmachineid=None, deviceid=None, attached=None, type="DATADISK")
    stays = fault.seconds if fault and fault.mode == "device-stays" else 0.0
    devices.unplug(cloud, volume.virtualmachineid, volume.id, stays)
