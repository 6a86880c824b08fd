"""createVolume, deleteVolume, resizeVolume: the rules and the work."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from . import access, catalogue, storage, texts
from .access import check_owner
from .attachments import attach_new
from .call import Call, Work, flag, need, number, text
from .errors import invalid_value, no_capacity, permission_denied, runtime, unsupported
from .lookup import existing, existing_vm, shown_volume
from .model import GIB, Snapshot, Volume, now
from .state import Cloud, check_limits, root_of

AT_WORK = ("Attaching", "Creating", "Snapshotting", "Resizing", "Migrating")
"""States of a volume on which a job is at work."""
UNFINISHED = ("Creating", "CreatedOnPrimary", "BackingUp")
"""States of a snapshot whose job is not done."""


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
            attach_new(call, volume.id, vm_id)
        made = dict(shown_volume(call, volume.id))
        if snapshot:  # only this job's result names it, no list does
            made["volume"] = made["volume"] | {"snapshotid": snapshot.id}
        return made

    resources = [f"volume:{volume.id}"]
    resources += [f"snapshot:{snapshot.id}"] if snapshot else []
    resources += [f"virtualmachine:{vm_id}"] if vm_id else []

    def begin() -> Callable[[], None]:
        if snapshot:
            cloud.volumes[volume.id] = replace(cloud.volumes[volume.id], state="Creating")
        return lambda: None

    # Interrupted by a restart it stays as it is, and so does what it made.
    return Work(
        run, tuple(resources), "Volume", volume.id, volume.id, partial(_undo_create, cloud, volume.id),
        begin=begin, interrupted=lambda: None,
    )  # fmt: skip


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


def delete_volume(call: Call) -> Mapping[str, Any]:
    if need(call, "id") not in call.cloud.volumes:
        raise invalid_value(texts.no_uuid("Volume"))
    volume = existing(call, need(call, "id"))
    if volume.deleteprotection:
        who = f"[id = {volume.id}, name = {volume.name}]"
        raise invalid_value(f"Volume {who} has delete protection enabled and cannot be deleted.")
    if volume.virtualmachineid:
        raise invalid_value("Please specify a volume that is not attached to any VM.")
    if any(one.volumeid == volume.id and one.state in UNFINISHED for one in call.cloud.snapshots.values()):
        raise invalid_value("There are snapshot operations in progress on the volume, unable to delete it")
    if volume.state in AT_WORK:
        raise runtime(f"Failed to transit volume {texts.volume(volume)} to [DestroyRequested]")
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
            return shown_volume(call, storage.resize(call.cloud, volume_id, size).id)

    def check() -> None:
        volume = existing(call, volume_id)
        _new_size(call, volume)
        if any(one.vmid == volume.virtualmachineid for one in call.cloud.vmsnapshots.values()):
            raise unsupported(
                "The volume is attached to a VM with memory&disk VM snapshots; therefore, it cannot be resized."
            )

    volume = call.cloud.volumes.get(volume_id)
    resources = [f"volume:{volume_id}"]
    if volume and volume.virtualmachineid:
        resources.append(f"virtualmachine:{volume.virtualmachineid}")
    return Work(
        run, tuple(resources), "Volume", volume_id, check=check,
        begin=lambda: storage.at_work(call.cloud, volume_id, "Resizing"),
    )  # fmt: skip


def _new_size(call: Call, volume: Volume) -> int:
    if volume.state not in ("Allocated", "Ready", "Resizing"):
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
