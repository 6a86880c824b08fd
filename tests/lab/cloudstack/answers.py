"""Volumes, snapshots, machines, tags and jobs as the response classes of the API write them.

Absent values are left out, as the real serialiser does; numbers that the real one sends as strings stay strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalogue, files
from .jobs import pending_on
from .model import Account, Job, Nic, Snapshot, Tag, Vm, Volume
from .state import Cloud, root_of, volumes_of

Answer = dict[str, Any]


def _without_none(row: Mapping[str, Any]) -> Answer:
    return {name: value for name, value in row.items() if value is not None}


def _owner(cloud: Cloud, account: str) -> Answer:
    """Whose a thing is: an account's, or a project's, whose account is not told."""
    owner, project = cloud.account(account), cloud.project_of(account)
    names = {"project": project.name, "projectid": project.id} if project else {"account": owner.name}
    return names | {"domainid": owner.domainid, "domain": owner.domain, "domainpath": owner.path}


def zone_of(zone_id: str) -> Answer:
    """The fields that say where a thing is."""
    return _zone(zone_id)


def _zone(zone_id: str) -> Answer:
    return {"zoneid": zone_id, "zonename": catalogue.row("zone", zone_id)["name"]}


def _job_of(cloud: Cloud, resource: str) -> Answer:
    job_id = pending_on(cloud, resource)
    return {"jobid": job_id, "jobstatus": 0} if job_id else {}


def tag(cloud: Cloud, tag: Tag) -> Answer:
    """A row of listTags."""
    names = {"key": tag.key, "value": tag.value, "resourcetype": tag.resourcetype, "resourceid": tag.resourceid}
    return names | _owner(cloud, tag.account)


def names_of(cloud: Cloud, account: str) -> Answer:
    """The fields that say whose a thing is."""
    return _owner(cloud, account)


def _tags(cloud: Cloud, resource_id: str) -> list[Answer]:
    """The tags of a resource as its own row has them: with the account, also a project's, and no domain's path."""
    found = []
    for one in cloud.tags:
        if one.resourceid == resource_id:
            names = {"key": one.key, "value": one.value, "resourcetype": one.resourcetype}
            owner = cloud.account(one.account)
            names |= {"resourceid": resource_id, "account": one.account, "domainid": owner.domainid}
            found.append(names | {"domain": owner.domain})
    return found


def volume(cloud: Cloud, volume: Volume, caller: Account) -> Answer:
    """A volume. Where it lies, and on which hypervisor, only administrators see."""
    vm = cloud.vms.get(volume.virtualmachineid or "")
    row: Answer = {
        "id": volume.id, "name": volume.name, "type": volume.type, "size": volume.size, "created": volume.created,
        "state": volume.state, "provisioningtype": "thin", "destroyed": volume.state == "Destroy",
        "isextractable": True, "quiescevm": False, "supportsstoragesnapshot": False,
        "deleteprotection": volume.deleteprotection, "hasannotations": False, "tags": _tags(cloud, volume.id),
        "miniops": volume.miniops, "maxiops": volume.maxiops,
    }  # fmt: skip
    row |= _owner(cloud, volume.account) | _zone(volume.zoneid) | _job_of(cloud, f"volume:{volume.id}")
    row |= _attachment(volume, vm) if vm else {}
    row |= _offering(cloud, volume)
    if volume.templateid:
        template = catalogue.row("template", volume.templateid)
        row |= {"templateid": template["id"], "templatename": template["name"]}
        row["templatedisplaytext"] = template["displaytext"]
    if caller.is_admin:
        row |= {"displayvolume": True} | (_place(volume) if volume.storageid else {})
    return _without_none(row)


def _attachment(volume: Volume, vm: Vm) -> Answer:
    """A volume has statistics from its machine's first start, or from the moment it was attached."""
    row: Answer = {
        "virtualmachineid": vm.id, "deviceid": volume.deviceid, "attached": volume.attached, "vmname": vm.name,
        "vmdisplayname": vm.displayname, "vmstate": vm.state, "vmtype": "User",
    }  # fmt: skip
    counted = volume.attached is not None or volume.state not in ("Allocated", "Creating")
    return row | (dict.fromkeys(("diskioread", "diskiowrite", "diskkbsread", "diskkbswrite"), 0) if counted else {})


def _offering(cloud: Cloud, volume: Volume) -> Answer:
    """A root volume is of its machine's compute offering, by the number that the database gave that."""
    if volume.diskofferingid:
        offering = catalogue.row("diskoffering", volume.diskofferingid)
        names = {"diskofferingid": offering["id"], "diskofferingname": offering["name"]}
        return names | {"diskofferingdisplaytext": offering["displaytext"]}
    if not volume.templateid:
        return {}
    offerings = catalogue.rows("serviceoffering")
    vm = cloud.vms.get(volume.virtualmachineid or "")
    offering = catalogue.row("serviceoffering", vm.serviceofferingid) if vm else offerings[0]
    number = str(1 + offerings.index(offering))
    return {
        "serviceofferingid": number, "serviceofferingname": offering["name"],
        "serviceofferingdisplaytext": offering["displaytext"],
    }  # fmt: skip


def _place(volume: Volume) -> Answer:
    host = catalogue.rows("host")[0]
    name = "lab-primary" if volume.storageid == catalogue.POOL else "lab-primary-2"
    return {
        "storage": name, "storageid": volume.storageid, "storagetype": "shared", "path": volume.id,
        "hypervisor": host["hypervisor"], "clusterid": host["clusterid"], "clustername": host["clustername"],
        "podid": host["podid"], "podname": host["podname"],
    }  # fmt: skip


def snapshot(cloud: Cloud, one: Snapshot) -> Answer:
    """A row of listSnapshots. One that is not backed up yet is in no zone; that of a root volume names the system."""
    volume = cloud.volumes.get(one.volumeid)
    row: Answer = {
        "id": one.id, "name": one.name, "volumeid": one.volumeid, "volumename": one.volumename,
        "volumetype": one.volumetype, "volumestate": volume.state if volume else "Expunged",
        "created": one.created, "state": one.state, "intervaltype": "MANUAL", "revertable": False,
        "physicalsize": files.allocated(files.snapshot_path(cloud.config.state, one.id)),
        "virtualsize": one.size, "hasannotations": False, "tags": _tags(cloud, one.id),
    }  # fmt: skip
    row |= _owner(cloud, one.account) | _job_of(cloud, f"snapshot:{one.id}")
    row |= _zone(one.zoneid) if one.state != "Allocated" else {}
    return _without_none(row)


def made_snapshot(cloud: Cloud, one: Snapshot) -> Answer:
    """The snapshot as the job that made it tells it: with its type and zone, its tags without an owner."""
    row = snapshot(cloud, one) | {"snapshottype": "MANUAL"} | _zone(one.zoneid)
    row["tags"] = [{"key": tag["key"], "value": tag["value"]} for tag in row["tags"]]
    volume = cloud.volumes.get(one.volumeid)
    vm = cloud.vms.get((volume.virtualmachineid if volume else None) or "")
    if one.volumetype == "ROOT" and vm:
        system = catalogue.row("ostype", vm.ostypeid)
        row |= {"ostypeid": system["id"], "osdisplayname": system["name"]}
    return {name: value for name, value in row.items() if not name.startswith("job")}


def nic(cloud: Cloud, nic: Nic, vm: Vm, *, listed: bool = False) -> Answer:
    """A network card; `listed` as listNics has it.

    The VLAN of an isolated network is known while its machine runs, and before its first start if the network has one.
    """
    network = catalogue.row("network", nic.networkid)
    row: Answer = {
        "id": nic.id, "networkid": nic.networkid, "networkname": network["name"], "netmask": network.get("netmask"),
        "gateway": network.get("gateway"), "ipaddress": nic.ipaddress, "traffictype": "Guest",
        "type": network["type"], "isdefault": nic.isdefault, "macaddress": nic.macaddress,
        "deviceid": str(nic.deviceid), "extradhcpoption": [], "vpcid": network.get("vpcid"),
        "vpcname": network.get("vpcname"),
    }  # fmt: skip
    row |= {"virtualmachineid": vm.id} if listed else {"secondaryip": [dict(one) for one in nic.secondary]}
    vlan = f"vlan://{network['_vlan']}"
    root = root_of(cloud, vm.id)
    waits = root is None or root.storageid is None or vm.state == "Error"
    held = vm.hostid or network["type"] == "Shared" or (waits and network["state"] != "Allocated")
    return _without_none(row | ({"broadcasturi": vlan, "isolationuri": vlan} if held else {}))


READ_ONLY_DETAILS = ("dataDiskController", "rootDiskController")
_OVERCOMMIT = {"cpuOvercommitRatio": "10.0", "memoryOvercommitRatio": "10.0"}


def virtualmachine(cloud: Cloud, vm: Vm, caller: Account) -> Answer:
    """A virtual machine. Its host and its name there only root administrators see, what is read-only the others."""
    offering, os_type = catalogue.row("serviceoffering", vm.serviceofferingid), catalogue.row("ostype", vm.ostypeid)
    template, owner = catalogue.row("template", vm.templateid), cloud.account(vm.account)
    row: Answer = {
        "id": vm.id, "name": vm.name, "displayname": vm.displayname, "state": vm.state, "created": vm.created,
        "lastupdated": vm.updated, "userid": owner.userid, "username": owner.username, "haenable": False,
        "templateid": template["id"], "templatename": template["name"], "templateformat": template["format"],
        "templatetype": template["templatetype"], "templatedisplaytext": template["displaytext"],
        "passwordenabled": False, "deleteprotection": vm.deleteprotection, "hasannotations": False,
        "serviceofferingid": offering["id"], "serviceofferingname": offering["name"], "cpunumber": vm.cpunumber,
        "cpuspeed": vm.cpuspeed, "memory": vm.memory, "guestosid": os_type["id"], "ostypeid": os_type["id"],
        "osdisplayname": os_type["name"], "hypervisor": template["hypervisor"], "isdynamicallyscalable": False,
        "details": dict(vm.details), "receivedbytes": 0, "sentbytes": 0,
        "nic": [nic(cloud, one, vm) for one in vm.nics], "ipaddress": vm.nics[0].ipaddress if vm.nics else None,
        "securitygroup": [_security_group(cloud, vm, one) for one in vm.securitygroups],
        "affinitygroup": [_affinity_group(cloud, one) for one in vm.affinitygroups], "tags": _tags(cloud, vm.id),
    }  # fmt: skip
    row |= vm.extra
    if vm.bare:
        row |= {"boottype": "Bios", "bootmode": "legacy"}
    row |= {"backupofferingid": vm.backupofferingid, "backupofferingname": "gold"} if vm.backupofferingid else {}
    if "UEFI" in vm.details:
        row |= {"boottype": "Uefi", "bootmode": vm.details["UEFI"].lower()}
    row |= _owner(cloud, vm.account) | _zone(vm.zoneid) | _job_of(cloud, f"virtualmachine:{vm.id}")
    row |= _disks(cloud, vm)
    host = catalogue.row("host", vm.hostid) if vm.hostid else {}
    row |= {"hostcontrolstate": "Enabled"} if host else {}
    if not caller.is_admin:
        return _without_none(row | {"readonlydetails": ", ".join(READ_ONLY_DETAILS)})
    row |= {"instancename": vm.instancename, "hostid": host.get("id"), "hostname": host.get("name")}
    row |= {"displayvm": True, "arch": template["arch"], "details": row["details"] | _OVERCOMMIT}
    return _without_none(row)


def _security_group(cloud: Cloud, vm: Vm, group_id: str) -> Answer:
    """A group as a machine's row has it: without its rules, and of its owner only the name."""
    default = {"id": group_id, "name": "default", "description": "Default Security Group", "_owner": vm.account}
    row = catalogue.row("securitygroup", group_id) if catalogue.has("securitygroup", group_id) else default
    owner = {key: value for key, value in _owner(cloud, row["_owner"]).items() if not key.startswith("domain")}
    names = {"id": row["id"], "name": row["name"], "description": row["description"]}
    return names | owner | {"egressrule": [], "ingressrule": [], "tags": [], "virtualmachineids": []}


def _affinity_group(cloud: Cloud, group_id: str) -> Answer:
    row = catalogue.row("affinitygroup", group_id)
    owner = {key: value for key, value in _owner(cloud, row["_owner"]).items() if not key.startswith("domain")}
    return {"id": row["id"], "name": row["name"], "description": row["description"]} | owner


def _disks(cloud: Cloud, vm: Vm) -> Answer:
    """What a machine's row tells of its volumes: the pool of its root, and a disk offering if one has any.

    What it calls the root device is the volume that was made first, be that a data disk.
    """
    volumes = volumes_of(cloud, vm.id)
    root = next((volume for volume in volumes if volume.type == "ROOT"), None)
    first = next((volume for volume in cloud.volumes.values() if volume.virtualmachineid == vm.id), None)
    row: Answer = {"rootdeviceid": first.deviceid, "rootdevicetype": first.type} if first else {}
    row |= {"pooltype": "NetworkFilesystem"} if root and root.storageid else {}
    offered = next((volume.diskofferingid for volume in volumes if volume.diskofferingid), None)
    if offered:
        row |= {"diskofferingid": offered, "diskofferingname": catalogue.row("diskoffering", offered)["name"]}
    return row


def job(cloud: Cloud, job: Job) -> Answer:
    owner = cloud.account(job.account)
    row: Answer = {
        "jobid": job.id, "accountid": owner.id, "account": owner.name, "domainid": owner.domainid,
        "domainpath": owner.path, "userid": owner.userid, "cmd": job.cmd, "jobstatus": job.jobstatus,
        "jobprocstatus": 0, "jobresultcode": job.jobresultcode, "jobinstancetype": job.jobinstancetype,
        "jobinstanceid": job.jobinstanceid, "created": job.created, "completed": job.completed,
    }  # fmt: skip
    if job.jobresult is None:  # at work, or ended by a restart of the server that it was on
        row |= {"managementserverid": catalogue.stable_id("managementserver", "lab"), "managementservername": "lab"}
    if job.words is not None:
        row |= {"jobresulttype": "text", "jobresult": job.words}
    if job.jobresult is not None:
        row |= {"jobresulttype": "object", "jobresult": dict(job.jobresult)}
    return _without_none(row)
