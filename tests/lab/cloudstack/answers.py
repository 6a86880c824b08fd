"""Volumes, snapshots, machines, tags and jobs as the response classes of the API write them.

Absent values are left out, as the real serialiser does; numbers that the real one sends as strings stay strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalogue, files
from .jobs import pending_on
from .model import Account, Job, Nic, Snapshot, Tag, Vm, Volume
from .state import Cloud, root_of

Answer = dict[str, Any]


def _without_none(row: Mapping[str, Any]) -> Answer:
    return {name: value for name, value in row.items() if value is not None}


def _owner(cloud: Cloud, account: str) -> Answer:
    owner = cloud.account(account)
    return {"account": owner.name, "domainid": owner.domainid, "domain": owner.domain, "domainpath": "ROOT"}


def _zone(zone_id: str) -> Answer:
    return {"zoneid": zone_id, "zonename": catalogue.row("zone", zone_id)["name"]}


def _job_of(cloud: Cloud, resource: str) -> Answer:
    job_id = pending_on(cloud, resource)
    return {"jobid": job_id, "jobstatus": 0} if job_id else {}


def tag(cloud: Cloud, tag: Tag) -> Answer:
    names = {"key": tag.key, "value": tag.value, "resourcetype": tag.resourcetype, "resourceid": tag.resourceid}
    return names | _owner(cloud, tag.account)


def _tags(cloud: Cloud, resource_id: str) -> list[Answer]:
    return [tag(cloud, one) for one in cloud.tags if one.resourceid == resource_id]


def volume(cloud: Cloud, volume: Volume, caller: Account) -> Answer:
    vm = cloud.vms.get(volume.virtualmachineid or "")
    row: Answer = {
        "id": volume.id, "name": volume.name, "type": volume.type, "size": volume.size, "created": volume.created,
        "state": volume.state, "provisioningtype": "thin", "storagetype": "shared", "destroyed": False,
        "isextractable": True, "quiescevm": False, "supportsstoragesnapshot": False, "displayvolume": True,
        "hypervisor": "KVM" if volume.storageid else "None", "deviceid": volume.deviceid,
        "virtualmachineid": volume.virtualmachineid, "attached": volume.attached, "snapshotid": volume.snapshotid,
        "tags": _tags(cloud, volume.id),
    }  # fmt: skip
    row |= _owner(cloud, volume.account) | _zone(volume.zoneid) | _job_of(cloud, f"volume:{volume.id}")
    if vm:
        row |= {"vmname": vm.name, "vmdisplayname": vm.displayname, "vmstate": vm.state, "vmtype": "User"}
    if volume.diskofferingid:
        offering = catalogue.row("diskoffering", volume.diskofferingid)
        row |= {"diskofferingid": offering["id"], "diskofferingname": offering["name"]}
        row["diskofferingdisplaytext"] = offering["displaytext"]
    if volume.templateid:
        template = catalogue.row("template", volume.templateid)
        row |= {"templateid": template["id"], "templatename": template["name"]}
        row["templatedisplaytext"] = template["displaytext"]
    if volume.storageid:
        allocated = files.allocated(files.volume_path(cloud.config.state, volume.id))
        row |= {"path": volume.id, "virtualsize": volume.size, "physicalsize": allocated}
        row["utilization"] = f"{100 * allocated / volume.size:.2f}%"
        if caller.is_admin:  # where it lies is the administrator's business
            row |= {"storage": "lab-primary", "storageid": volume.storageid}
    return _without_none(row)


def snapshot(cloud: Cloud, snapshot: Snapshot) -> Answer:
    size = files.allocated(files.snapshot_path(cloud.config.state, snapshot.id))
    row: Answer = {
        "id": snapshot.id, "name": snapshot.name, "volumeid": snapshot.volumeid, "volumename": snapshot.volumename,
        "volumetype": snapshot.volumetype, "created": snapshot.created, "state": snapshot.state,
        "snapshottype": "MANUAL", "intervaltype": "MANUAL", "revertable": False, "physicalsize": size,
        "virtualsize": snapshot.size, "datastoretype": "Image", "tags": _tags(cloud, snapshot.id),
    }  # fmt: skip
    row |= _owner(cloud, snapshot.account) | _zone(snapshot.zoneid) | _job_of(cloud, f"snapshot:{snapshot.id}")
    return _without_none(row)


def nic(nic: Nic, vm_id: str | None = None) -> Answer:
    network = catalogue.row("network", nic.networkid)
    row: Answer = {
        "id": nic.id, "networkid": nic.networkid, "networkname": network["name"], "netmask": network.get("netmask"),
        "gateway": network.get("gateway"), "ipaddress": nic.ipaddress, "broadcasturi": network["broadcasturi"],
        "isolationuri": network["broadcasturi"], "traffictype": "Guest", "type": network["type"],
        "isdefault": nic.isdefault, "macaddress": nic.macaddress, "deviceid": str(nic.deviceid), "secondaryip": [],
        "extradhcpoption": [], "virtualmachineid": vm_id,
    }  # fmt: skip
    return _without_none(row)


def virtualmachine(cloud: Cloud, vm: Vm, caller: Account) -> Answer:
    offering, os_type = catalogue.row("serviceoffering", vm.serviceofferingid), catalogue.row("ostype", vm.ostypeid)
    template, root, owner = catalogue.row("template", vm.templateid), root_of(cloud, vm.id), cloud.account(vm.account)
    row: Answer = {
        "id": vm.id, "name": vm.name, "displayname": vm.displayname, "state": vm.state, "created": vm.created,
        "userid": owner.userid, "username": owner.name, "haenable": False, "displayvm": True,
        "templateid": template["id"], "templatename": template["name"],
        "templatedisplaytext": template["displaytext"], "passwordenabled": False,
        "serviceofferingid": offering["id"], "serviceofferingname": offering["name"], "cpunumber": vm.cpunumber,
        "cpuspeed": vm.cpuspeed, "memory": vm.memory, "guestosid": os_type["id"], "ostypeid": os_type["id"],
        "osdisplayname": os_type["name"], "hypervisor": "KVM", "isdynamicallyscalable": False,
        "boottype": "Uefi" if "UEFI" in vm.details else "Bios",
        "bootmode": vm.details.get("UEFI", vm.details.get("BIOS", "legacy")).lower(),
        "details": dict(vm.details), "nic": [nic(one) for one in vm.nics], "securitygroup": [], "affinitygroup": [],
        "rootdeviceid": root.deviceid if root else None, "rootdevicetype": "ROOT" if root else None,
        "tags": _tags(cloud, vm.id),
    }  # fmt: skip
    row |= _owner(cloud, vm.account) | _zone(vm.zoneid) | _job_of(cloud, f"virtualmachine:{vm.id}")
    if caller.is_admin:
        host = catalogue.row("host", vm.hostid) if vm.hostid else {}
        row |= {"instancename": vm.instancename, "hostid": host.get("id"), "hostname": host.get("name")}
    return _without_none(row)


def job(cloud: Cloud, job: Job) -> Answer:
    owner = cloud.account(job.account)
    row: Answer = {
        "jobid": job.id, "accountid": owner.id, "account": owner.name, "domainid": owner.domainid,
        "domainpath": "ROOT", "userid": owner.userid, "cmd": job.cmd, "jobstatus": job.jobstatus,
        "jobprocstatus": 0, "jobresultcode": job.jobresultcode, "jobinstancetype": job.jobinstancetype,
        "jobinstanceid": job.jobinstanceid, "created": job.created, "completed": job.completed,
    }  # fmt: skip
    if job.jobresult is not None:
        row |= {"jobresulttype": "object", "jobresult": dict(job.jobresult)}
    return _without_none(row)
