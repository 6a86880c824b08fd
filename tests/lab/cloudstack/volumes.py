"""createVolume, attachVolume, detachVolume, deleteVolume, resizeVolume: the rules and the work."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from . import access, answers, catalogue, devices, storage, texts
from .access import check_owner
from .call import Call, Work, flag, need, number, text
from .errors import ApiError, invalid_value, no_capacity, permission_denied, runtime
from .jobs import pending_on
from .model import CDROM_DEVICE_ID, GIB, MAX_DATA_VOLUMES, Snapshot, Vm, Volume, now
from .state import Cloud, Fault, check_limits, root_of, volumes_of


def existing(call: Call, volume_id: str) -> Volume:
    volume = call.cloud.volumes.get(volume_id)
    if volume is None:
        raise invalid_value(f"Volume {volume_id} does not exist any more.")
    check_owner(call, volume.account)
    return volume


def existing_vm(call: Call, vm_id: str) -> Vm:
    vm = call.cloud.vms.get(vm_id)
    if vm is None:
        raise invalid_value(f"Virtual machine {vm_id} does not exist any more.")
    check_owner(call, vm.account)
    return vm


def answer(call: Call, volume: Volume) -> Mapping[str, Any]:
    with call.cloud.lock:
        return {"volume": answers.volume(call.cloud, call.cloud.volumes[volume.id], call.account)}


def offered_size(call: Call, offering_id: str, size: int | None) -> int:
    """Bytes of a volume of this offering; a custom one needs a size and any other forbids it."""
    offering, config = catalogue.row("diskoffering", offering_id), call.cloud.config
    if not offering["iscustomized"]:
        if size is not None:
            raise invalid_value("This disk offering does not allow custom size")
        size = int(offering["disksize"])
    elif size is None:
        raise invalid_value("This disk offering requires a custom size specified")
    elif size <= 0:
        raise invalid_value("Disk size must be larger than 0")
    elif not config.custom_disk_min <= size <= config.custom_disk_max:
        least, most = config.custom_disk_min, config.custom_disk_max
        raise invalid_value(f"Volume size: {size} GB is out of allowed range. Min: {least}. Max: {most}")
    if size > config.max_volume_size:
        told = f"{size:.2f} GB" if size < 1024 else f"{size / 1024:.4f} TB"
        most = config.max_volume_size
        raise invalid_value(f"Requested volume size is {told}, but the maximum size allowed is {most} GB.")
    return size * GIB


def _check_offering(call: Call, offering_id: str, zone_id: str) -> None:
    """Raise ApiError where the offering is not for the caller, the zone, or what is asked of it."""
    offering, zone = catalogue.row("diskoffering", offering_id), catalogue.row("zone", zone_id)
    of_domain = offering.get("domainid") in (None, call.account.domainid) or call.account.is_admin
    if not of_domain or offering.get("zoneid") not in (None, zone_id):
        what = f"disk offering: {texts.row('DiskOffering', offering)}., zone: {texts.row('Zone', zone)}"
        who = texts.account(call.account)
        raise permission_denied(f"Access denied to {who} for {what} by AffinityGroupAccessChecker")
    if offering["storagetype"] == "local" and not zone["localstorageenabled"]:
        name = offering["name"]
        raise invalid_value(f"Zone is not configured to use local storage but volume's disk offering {name} uses it")
    least, most = number(call, "miniops"), number(call, "maxiops")
    if least is not None and most is not None and least > most:
        raise invalid_value("The min IOPS must be less than or equal to the max IOPS.")


def create_volume(call: Call) -> Work:
    """A volume of an offering is only a row until it is attached; one of a snapshot is copied by the job."""
    cloud, offering_id, snapshot_id = call.cloud, text(call, "diskofferingid"), text(call, "snapshotid")
    account = access.owner_for(call)
    check_limits(cloud, account, volume=1)
    if not offering_id and not snapshot_id:
        raise invalid_value("At least one of disk Offering ID or snapshot ID must be passed whilst creating volume")
    snapshot = _snapshot(call, snapshot_id) if snapshot_id else None
    if snapshot and offering_id and snapshot.volumetype != "ROOT":
        raise invalid_value(
            "Disk Offering ID cannot be passed whilst creating volume from snapshot other than ROOT disk snapshots"
        )
    zone_id = text(call, "zoneid") or (snapshot.zoneid if snapshot else None)
    if not zone_id:
        raise invalid_value("Unable to find zone by id null")
    iops = offering_id is not None and catalogue.row("diskoffering", offering_id).get("iscustomizediops", False)
    if offering_id:
        _check_offering(call, offering_id, zone_id)
    size = offered_size(call, offering_id, number(call, "size")) if offering_id else 0
    if snapshot:  # a size without an offering is ignored
        if offering_id and size < snapshot.size:
            raise invalid_value(f"The snapshot has {snapshot.size} bytes, more than the volume's {size}.")
        size, offering_id = size or snapshot.size, offering_id or snapshot.diskofferingid
    vm_id = text(call, "virtualmachineid") if snapshot else None
    if vm_id and existing_vm(call, vm_id).state not in ("Running", "Stopped"):
        raise invalid_value("The virtual machine to attach to is neither running nor stopped.")
    check_limits(cloud, account, primary_storage=size // GIB)
    if not storage.fits(cloud, size):
        raise no_capacity(f"The lab's primary storage has no {size} bytes left.")
    volume = Volume(
        id=str(uuid.uuid4()), name=text(call, "name") or str(uuid.uuid4()), account=account, zoneid=zone_id, size=size,
        type="DATADISK", state="Allocated", created=now(), diskofferingid=offering_id,
        templateid=snapshot.templateid if snapshot else None, snapshotid=snapshot.id if snapshot else None,
        miniops=(number(call, "miniops") or 0) if iops else None,
        maxiops=(number(call, "maxiops") or 0) if iops else None,
    )  # fmt: skip
    cloud.volumes[volume.id] = volume

    def run() -> Mapping[str, Any]:
        if snapshot:
            storage.materialise(cloud, volume.id)
        if vm_id:
            _attach_new(call, volume.id, vm_id)
        made = dict(answer(call, volume))
        if snapshot:  # only this job's result names it, no list does
            made["volume"] = made["volume"] | {"snapshotid": snapshot.id}
        return made

    resources = [f"volume:{volume.id}"]
    resources += [f"snapshot:{snapshot.id}"] if snapshot else []
    resources += [f"virtualmachine:{vm_id}"] if vm_id else []
    return Work(run, tuple(resources), "Volume", volume.id, volume.id, partial(_undo_create, cloud, volume.id))


def _attach_new(call: Call, volume_id: str, vm_id: str) -> None:
    """Attach a volume right after it was made. Where that fails the volume stays, destroyed, and no reason is told."""
    try:
        attach(call, volume_id, vm_id, None)
    except ApiError:
        with call.cloud.lock:
            volume = call.cloud.volumes[volume_id]
            call.cloud.volumes[volume_id] = replace(volume, state="Destroy")
        raise ApiError(530, None, f"Failed to create volume: {texts.volume(volume)}") from None


def _undo_create(cloud: Cloud, volume_id: str) -> None:
    with cloud.lock:
        if volume_id in cloud.volumes and cloud.volumes[volume_id].state != "Destroy":
            storage.expunge(cloud, volume_id)


def _snapshot(call: Call, snapshot_id: str) -> Snapshot:
    snapshot = call.cloud.snapshots.get(snapshot_id)
    if snapshot is None or snapshot.state != "BackedUp":
        told = texts.snapshot(snapshot_id, snapshot)
        raise invalid_value(f"Snapshot {told} is not in BackedUp state yet and can't be used for volume creation")
    check_owner(call, snapshot.account)
    return snapshot


def attach_volume(call: Call) -> Work:
    volume_id, vm_id, device_id = need(call, "id"), need(call, "virtualmachineid"), number(call, "deviceid")

    def run() -> Mapping[str, Any]:
        attach(call, volume_id, vm_id, device_id)
        return answer(call, call.cloud.volumes[volume_id])

    return Work(run, (f"virtualmachine:{vm_id}", f"volume:{volume_id}"), "Volume", volume_id)


def attach(call: Call, volume_id: str, vm_id: str, device_id: int | None) -> None:
    """The rules are looked at when the job's turn has come, so what an earlier job left counts."""
    cloud = call.cloud
    with cloud.lock:
        volume = existing(call, volume_id)
        if volume.virtualmachineid:
            raise invalid_value(f"Volume {volume_id} is attached to a virtual machine already.")
        if volume.state not in ("Allocated", "Ready", "Uploaded"):
            raise invalid_value(f"Volume {volume_id} is {volume.state}, not Allocated, Ready or Uploaded.")
        vm = existing_vm(call, vm_id)
        if vm.state not in ("Running", "Stopped"):
            raise invalid_value(f"Virtual machine {vm_id} is {vm.state}, neither Running nor Stopped.")
        if vm.account != volume.account:
            raise ApiError(530, None, texts.different_accounts(vm, volume))
        if vm.zoneid != volume.zoneid:
            raise invalid_value("The volume and the virtual machine are in different zones.")
        _check_device(cloud, vm, device_id)
        # Only a machine that has a disk on some primary storage decides where an allocated volume goes; on one that
        # never ran, the volume stays a row until the machine starts.
        placed = any(other.state != "Allocated" for other in volumes_of(cloud, vm_id))
    if placed:
        storage.materialise(cloud, volume_id)
    with cloud.lock:
        device = _free_device(cloud, vm_id) if device_id is None else device_id
        kind = "ROOT" if device == 0 else cloud.volumes[volume_id].type
        cloud.volumes[volume_id] = replace(
            cloud.volumes[volume_id], virtualmachineid=vm_id, deviceid=device, type=kind, attached=now()
        )
    if vm.state == "Running":
        devices.plug(cloud, vm_id, volume_id, call.faulty)


def _check_device(cloud: Cloud, vm: Vm, device_id: int | None) -> None:
    attached = volumes_of(cloud, vm.id)
    if device_id == 0:
        if vm.state != "Stopped":
            raise invalid_value(f"A root volume can be attached only while the machine is Stopped; it is {vm.state}.")
        if any(volume.deviceid == 0 for volume in attached):
            raise invalid_value(f"Virtual machine {vm.id} has a root volume already.")
        return
    if sum(volume.type == "DATADISK" for volume in attached) >= MAX_DATA_VOLUMES:
        raise invalid_value(
            f"The specified VM already has the maximum number of data disks ({MAX_DATA_VOLUMES}) attached. "
            "Please specify another VM."
        )
    last = MAX_DATA_VOLUMES + 1
    if device_id is None:
        return
    if device_id == CDROM_DEVICE_ID or not 0 <= device_id <= last:
        raise runtime(f"deviceid must be 0, 1, 2 or 4 to {last}, not {device_id}.")
    if any(volume.deviceid == device_id for volume in attached):
        raise runtime(f"Device {device_id} of virtual machine {vm.id} is taken.")


def _free_device(cloud: Cloud, vm_id: str) -> int:
    taken = {volume.deviceid for volume in volumes_of(cloud, vm_id)} | {0, CDROM_DEVICE_ID}
    return next(device for device in range(1, MAX_DATA_VOLUMES + 2) if device not in taken)


def detach_volume(call: Call) -> Work:
    cloud, volume_id = call.cloud, text(call, "id")
    vm_id, device_id = text(call, "virtualmachineid"), number(call, "deviceid")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            volume = _to_detach(call, volume_id, vm_id, device_id)
            assert volume.virtualmachineid
            detach(cloud, volume, call.fault)
        return answer(call, volume)

    volume = cloud.volumes.get(volume_id or "")
    holder = vm_id or (volume.virtualmachineid if volume else None)
    resources = [f"volume:{volume_id}"] if volume_id else []
    resources += [f"virtualmachine:{holder}"] if holder else []
    return Work(run, tuple(resources), "Volume", volume_id)


def _to_detach(call: Call, volume_id: str | None, vm_id: str | None, device_id: int | None) -> Volume:
    by_device = vm_id is not None and device_id is not None
    if bool(volume_id) == by_device or (volume_id and (vm_id or device_id is not None)):
        raise invalid_value("Name the volume by its id, or by virtualmachineid and deviceid.")
    if volume_id is None:
        assert vm_id
        found = [volume.id for volume in volumes_of(call.cloud, vm_id) if volume.deviceid == device_id]
        if not found:
            raise runtime(f"Virtual machine {vm_id} has no volume at device {device_id}.")
        volume_id = found[0]
    volume = existing(call, volume_id)
    if not volume.virtualmachineid:
        raise invalid_value(f"Volume {volume_id} is not attached to a virtual machine.")
    vm = call.cloud.vms[volume.virtualmachineid]
    if vm.state not in ("Running", "Stopped", "Destroyed"):
        raise invalid_value(f"Virtual machine {vm.id} is {vm.state}, neither Running nor Stopped.")
    if volume.type == "ROOT" and vm.state != "Stopped":
        raise invalid_value(f"A root volume can be detached only while the machine is Stopped; it is {vm.state}.")
    return volume


def detach(cloud: Cloud, volume: Volume, fault: Fault | None = None) -> None:
    """A detached root volume is a data disk again, but it keeps the template it came from."""
    assert volume.virtualmachineid
    cloud.volumes[volume.id] = replace(volume, virtualmachineid=None, deviceid=None, attached=None, type="DATADISK")
    stays = fault.seconds if fault and fault.mode == "device-stays" else 0.0
    devices.unplug(cloud, volume.virtualmachineid, volume.id, stays)


def delete_volume(call: Call) -> Mapping[str, Any]:
    volume = existing(call, need(call, "id"))
    if volume.deleteprotection:
        who = f"[id = {volume.id}, name = {volume.name}]"
        raise invalid_value(f"Volume {who} has delete protection enabled and cannot be deleted.")
    if pending_on(call.cloud, f"volume:{volume.id}"):
        raise invalid_value(f"Another job works on volume {volume.id}.")
    if volume.virtualmachineid:
        raise invalid_value(f"Volume {volume.id} is attached to a virtual machine; detach it first.")
    storage.expunge(call.cloud, volume.id)
    return {"success": True}


def resize_volume(call: Call) -> Work:
    volume_id = need(call, "id")

    def run() -> Mapping[str, Any]:
        with call.cloud.lock:
            volume = existing(call, volume_id)
            size = _new_size(call, volume)
            if size > volume.size:
                check_limits(call.cloud, volume.account, primary_storage=(size - volume.size) // GIB)
            if text(call, "diskofferingid"):
                call.cloud.volumes[volume_id] = replace(volume, diskofferingid=text(call, "diskofferingid"))
            return answer(call, storage.resize(call.cloud, volume_id, size))

    volume = call.cloud.volumes.get(volume_id)
    resources = [f"volume:{volume_id}"]
    if volume and volume.virtualmachineid:
        resources.append(f"virtualmachine:{volume.virtualmachineid}")
    return Work(run, tuple(resources), "Volume", volume_id)


def _new_size(call: Call, volume: Volume) -> int:
    if volume.state not in ("Allocated", "Ready"):
        raise invalid_value(f"Volume {volume.id} is {volume.state}; only an Allocated or Ready one can be resized.")
    size, offering_id = number(call, "size"), text(call, "diskofferingid")
    new = offered_size(call, offering_id, size) if offering_id else (size * GIB if size is not None else volume.size)
    if new < GIB:
        raise invalid_value("A volume has at least 1 GiB.")
    if new < volume.size and not flag(call, "shrinkok"):
        raise invalid_value(f"{new} bytes would shrink volume {volume.id} of {volume.size}; shrinkok=true allows it.")
    root = root_of(call.cloud, volume.virtualmachineid) if volume.virtualmachineid else None
    vm = call.cloud.vms.get(volume.virtualmachineid or "")
    if offering_id and root and vm and root.id == volume.id and vm.state != "Stopped":
        raise invalid_value("The offering of a root volume changes only while its machine is Stopped.")
    return new
