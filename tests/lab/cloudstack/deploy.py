"""deployVirtualMachine: from a template, or from an existing volume or snapshot (4.21 and later, KVM only).

What can be refused is refused before there is a job: by then the machine is in the database, Stopped, under its name.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import access, addresses, catalogue, extras, storage, texts
from .access import check_owner
from .call import Call, Work, check_length, flag, items, mappings, need, number, text
from .errors import ApiError, bad_parameter, invalid_value, permission_denied, runtime
from .instances import answer, begin_start, start
from .model import GIB, Nic, Vm, Volume, now
from .state import Cloud, check_limits, volumes_of
from .volumes import offered_size

_HOST_NAME = re.compile(r"^[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")


@dataclass(frozen=True)
class _Root:
    """Where the root disk comes from; a machine always has a template, if only by name."""

    templateid: str
    size: int
    volumeid: str | None = None
    snapshotid: str | None = None
    offering: str | None = None  # another disk offering than the compute offering's own


def deploy(call: Call) -> Work:
    cloud, account = call.cloud, access.owner_for(call)
    sources = [name for name in ("templateid", "volumeid", "snapshotid") if text(call, name)]
    if len(sources) != 1:
        raise runtime("Please provide only one of the following parameters - template ID, volume ID or snapshot ID")
    vm_id = str(uuid.uuid4())
    name = text(call, "name") or f"VM-{vm_id}"
    check_host_name(call.command, name)
    check_length(call, "displayname", "displayName")
    _check_administrators(call)
    cpunumber, cpuspeed, memory, details = _shape(call)
    details |= _boot(call, name)
    root = _root(call, details)
    _check_networks(call, account)
    extra = extras.wanted(call, account)
    nics = addresses.plan(call)
    check_name_is_free(cloud, name, nics)
    if not flag(call, "startvm", default=True):
        details["deployvm"] = "true"
    data_size = _data_size(call)
    new = [size for size in (0 if root.volumeid else root.size, data_size) if size]
    _check_limits(
        cloud, account, user_vm=1, volume=len(new), primary_storage=sum(new) // GIB, cpu=cpunumber, memory=memory
    )
    serial = cloud.next_number()
    vm = Vm(
        id=vm_id, name=name, displayname=text(call, "displayname") or name, account=account,
        zoneid=need(call, "zoneid"), state="Stopped", serviceofferingid=need(call, "serviceofferingid"),
        templateid=root.templateid, ostypeid=catalogue.row("template", root.templateid)["ostypeid"], created=now(),
        nics=nics, cpunumber=cpunumber, cpuspeed=cpuspeed, memory=memory, instancename=f"i-2-{serial}-VM",
        details=details | extra.details, securitygroups=extra.securitygroups, affinitygroups=extra.affinitygroups,
        extra=extra.fields,
    )  # fmt: skip
    cloud.vms[vm_id] = vm
    resources = [f"virtualmachine:{vm_id}", f"volume:{_place_root(cloud, vm, root, serial)}"]
    resources += [f"snapshot:{root.snapshotid}"] if root.snapshotid else []
    if data_size:
        _row(cloud, vm, f"DATA-{serial}", data_size, 1, "DATADISK", offering=text(call, "diskofferingid"))

    starts = flag(call, "startvm", default=True)

    def run() -> Mapping[str, Any]:
        if starts:
            start(cloud, vm_id)
        elif root.snapshotid:
            storage.materialise(cloud, resources[1].removeprefix("volume:"))
        return answer(call, vm_id)

    def begin() -> Callable[[], None]:
        return begin_start(cloud, vm_id) if starts else lambda: None

    def undo() -> None:
        if starts:
            _give_up(cloud, vm_id)

    def interrupted() -> None:
        """Nothing is taken away: the machine is Stopped, and later, when it was looked at, in Error."""
        if starts:
            timer = threading.Timer(cloud.config.interrupted_seconds, _fail, (cloud, vm_id))
            timer.daemon = True
            timer.start()

    return Work(
        run, tuple(resources), "VirtualMachine", vm_id, vm_id, undo, begin=begin, interrupted=interrupted,
    )  # fmt: skip


def _fail(cloud: Cloud, vm_id: str) -> None:
    with cloud.lock:
        if vm_id in cloud.vms and cloud.vms[vm_id].state == "Stopped":
            cloud.vms[vm_id] = replace(cloud.vms[vm_id], state="Error")


def _give_up(cloud: Cloud, vm_id: str) -> None:
    """A first start that fails leaves a machine in Error and destroys its volumes, adopted ones as well."""
    with cloud.lock:
        if vm_id in cloud.vms:
            cloud.vms[vm_id] = replace(cloud.vms[vm_id], state="Error", hostid=None)
            for volume in volumes_of(cloud, vm_id):
                storage.expunge(cloud, volume.id)


def _check_limits(cloud: Cloud, account: str, **more: int) -> None:
    """The limits, refused with the number that a deployment has for it."""
    try:
        check_limits(cloud, account, **more)
    except ApiError as error:
        raise ApiError(error.errorcode, 9999, error.text) from None


def check_host_name(command: str, name: str) -> None:
    """Raise ApiError for what is no host name."""
    if not _HOST_NAME.match(name):
        raise bad_parameter(
            f"Unable to execute API command {command.lower()} due to invalid value. Invalid value provided for API "
            "arg: name - it can contain ASCII letters 'a' through 'z', the digits '0' through '9', and the hyphen "
            "('-'), must be between 1 and 63 characters long, and can't start or end with \"-\" and can't start with "
            "digit"
        )


def _check_administrators(call: Call) -> None:
    """What only root administrators may ask for, and what this cloud has switched off."""
    if text(call, "hostid") and not call.account.is_admin:
        raise permission_denied("Parameter hostid can only be specified by a Root Admin, permission denied")
    if text(call, "extraconfig"):
        raise runtime("attempted setting extraconfig but enable.additional.vm.configuration is disabled")


def _check_networks(call: Call, owner: str) -> None:
    """Whether the new machine's owner may use the networks, and whether the zone can."""
    zone = catalogue.row("zone", need(call, "zoneid"))
    asked = [row.get("networkid", "") for row in mappings(call, "iptonetworklist")] + items(call, "networkids")
    for network_id in asked:
        if not catalogue.has("network", network_id):
            raise invalid_value(f"Unable to find network by id {network_id}")
        network = catalogue.row("network", network_id)
        if zone["securitygroupsenabled"] and network["type"] == "Isolated":
            raise invalid_value(
                "Can specify only Shared or L2 Guest networks when deploy vm in Advance Security Group enabled zone"
            )
        if not _may_deploy_in(call, network, owner):
            raise permission_denied(f"Unable to use network with id= {network_id}, permission denied")
        if network["zoneid"] != zone["id"]:
            raise invalid_value(f"Network id={network_id} doesn't belong to zone {zone['id']}")


def _may_deploy_in(call: Call, network: Mapping[str, Any], owner: str) -> bool:
    """A network of an account is that account's alone; that of a project is for each of its members as well."""
    if network["_owner"] in (None, owner) or network["acltype"] == "Domain":
        return True
    project = call.cloud.project_of(network["_owner"])
    return project is not None and owner in project.members


def check_name_is_free(cloud: Cloud, name: str, nics: tuple[Nic, ...], but: str | None = None) -> None:
    """A destroyed machine keeps its name until it is expunged. Names are per network domain, not per cloud."""
    domains = _domains(nics)
    for vm in cloud.vms.values():
        if vm.id != but and vm.name == name and domains & (theirs := _domains(vm.nics)):
            network = next(row for row in map(_network, nics) if row.get("networkdomain") in theirs)
            where = f"the network domain: {network['networkdomain']}; network={network['name']}"
            raise invalid_value(f"The vm with hostName {name} already exists in {where}")


def _domains(nics: tuple[Nic, ...]) -> set[str]:
    """The network domains of cards; an L2 network has none."""
    rows = map(_network, nics)
    return {row["networkdomain"] for row in rows if "networkdomain" in row}


def _network(nic: Nic) -> Mapping[str, Any]:
    return catalogue.row("network", nic.networkid)


_SIZES = {"cpunumber": ("cpu cores", 1), "cpuspeed": ("cpu speed", 1), "memory": ("memory", 32)}
"""What a custom offering asks for: how a refusal names it, and the least of it."""


def _shape(call: Call) -> tuple[int, int, int, dict[str, str]]:
    """Cores, MHz and MiB of the new machine, and its settings. The size of the root disk is no setting."""
    offering = catalogue.row("serviceoffering", need(call, "serviceofferingid"))
    details = {key: value for row in mappings(call, "details") for key, value in row.items()}
    if any(key.startswith("extraconfig") for key in details):
        raise invalid_value("detail name should not start with extraconfig")
    named = {key.lower(): value for key, value in details.items()}
    _check_models(named)
    if not offering["iscustomized"]:
        if _SIZES.keys() & named.keys():
            raise invalid_value("cpuNumber or cpuSpeed or memory should not be specified for static service offering")
        return offering["cpunumber"], offering["cpuspeed"], offering["memory"], details
    if not _SIZES.keys() & named.keys():
        raise invalid_value(
            "Need to specify custom parameter values cpu, cpu speed and memory when using custom offering"
        )
    cpus, speed, memory = (_custom(offering, named, what) for what in _SIZES)
    return cpus, speed, memory, details


def _custom(offering: Mapping[str, Any], named: Mapping[str, str], what: str) -> int:
    """What the offering fixes must not be given; what it leaves open has to be, within its bounds."""
    said, low = _SIZES[what]
    if what in offering:
        if what in named:
            raise invalid_value(
                f"The {said} of this offering id:{offering['id']} is not customizable. "
                "This is predefined in the template."
            )
        return int(offering[what])
    bounds = offering.get("serviceofferingdetails", {})
    least, most = int(bounds.get(f"min{what}", low)), int(bounds.get(f"max{what}", 2**31 - 1))
    try:
        value = int(named[what])
    except (KeyError, ValueError):
        value = -1
    if not least <= value <= most:
        raise invalid_value(f"Invalid {said} value, specify a value between {least} and {most}")
    return value


_MODELS = {
    "rootdiskcontroller": ("virtio", "scsi", "sata", "ide", "osdefault"),
    "datadiskcontroller": ("virtio", "scsi", "sata", "ide", "osdefault"),
    "nicadapter": ("virtio", "e1000", "rtl8139", "vmxnet3", "ne2k_pci"),
}


def _check_models(named: Mapping[str, str]) -> None:
    """A KVM host would take another model for an unknown one and say nothing: the lab does not let that pass."""
    for key, allowed in _MODELS.items():
        if key in named and named[key] not in allowed:
            raise invalid_value(f"{key} {named[key]!r} is none of {', '.join(allowed)}.")


def _boot(call: Call, name: str) -> dict[str, str]:
    """The setting that makes a machine boot by UEFI; a BIOS one has none, whatever its mode."""
    kind, mode = (text(call, "boottype") or "").upper(), (text(call, "bootmode") or "").upper()
    if not kind:
        return {}
    if kind not in ("UEFI", "BIOS"):
        asked = text(call, "boottype")
        raise invalid_value(f"Invalid bootType {asked}Specified for vm {name} Valid values are: [UEFI, BIOS]")
    if kind == "BIOS":
        return {}
    if mode not in ("LEGACY", "SECURE"):
        raise invalid_value(
            f"bootmode must be specified for the VM with boot type: {kind}. Valid values are: [LEGACY, SECURE]"
        )
    return {kind: mode}


def _root(call: Call, details: dict[str, str]) -> _Root:
    """Where the root disk comes from. Takes its size out of the settings, where it is not kept."""
    wished = next((details.pop(key) for key in list(details) if key.lower() == "rootdisksize"), None)
    wished = wished or text(call, "rootdisksize")
    if template_id := text(call, "templateid"):
        template = catalogue.row("template", template_id)
        _check_hypervisor(call, template["hypervisor"])
        if template["zoneid"] != need(call, "zoneid") and not template["crossZones"]:
            raise invalid_value("The template is not in this zone.")
        if wished is not None and int(wished) <= 0:
            raise invalid_value("Root disk size should be a positive number.")
        fixed = catalogue.row("serviceoffering", need(call, "serviceofferingid"))["rootdisksize"]
        size = int(fixed or wished or 0) * GIB or int(template["size"])
        if size < template["size"]:
            raise invalid_value(
                f"Unsupported: rootdisksize override ({size // GIB} GB) is smaller than template size "
                f"({template['size'] / GIB:.2f} GB) {template['size']}"
            )
        return _Root(template_id, size, offering=text(call, "overridediskofferingid"))
    snapshot_id, volume_id = text(call, "snapshotid"), text(call, "volumeid")
    if snapshot_id:
        snapshot = call.cloud.snapshots.get(snapshot_id)
        if snapshot is None or snapshot.state != "BackedUp":
            raise invalid_value(f"There is no BackedUp snapshot {snapshot_id}.")
        _check_source(call, True, snapshot.templateid)
        check_owner(call, snapshot.account)
        return _Root(str(snapshot.templateid), snapshot.size, snapshotid=snapshot_id)
    volume = call.cloud.volumes.get(volume_id or "")
    if volume is None:
        raise invalid_value(texts.no_uuid("Volume"))
    _check_source(call, volume.state == "Ready", volume.templateid)
    check_owner(call, volume.account)
    if volume.virtualmachineid:
        raise invalid_value(f"Volume {volume.id} is attached to a virtual machine already.")
    if volume.zoneid != need(call, "zoneid"):
        raise invalid_value("The volume is in another zone.")
    return _Root(str(volume.templateid), volume.size, volumeid=volume.id)


def _check_hypervisor(call: Call, hypervisor: str) -> None:
    asked = text(call, "hypervisor")
    if asked and asked.lower() != hypervisor.lower():
        raise invalid_value(
            "Hypervisor passed to the deployVm call, is different from the hypervisor type of the template"
        )


def _check_source(call: Call, placed: bool, template_id: str | None) -> None:
    """Whether a volume or snapshot can be a root disk. Whose it is, is asked last.

    The real server takes the machine's template from the volume, so a volume made blank cannot be deployed.
    """
    if not placed or call.cloud.config.pool_scope != "ZONE":
        raise invalid_value("Deployment of virtual machine is supported only for Zone-wide storage pools")
    if not template_id:
        raise invalid_value("The provided volume/snapshot doesn't have a template to deploy a VM")
    if catalogue.row("template", template_id)["hypervisor"] != "KVM":
        raise invalid_value(
            "Deploying a virtual machine with existing volume/snapshot is supported only from KVM hypervisors"
        )


def _data_size(call: Call) -> int:
    offering_id = text(call, "diskofferingid")
    return offered_size(call, offering_id, number(call, "size")) if offering_id else 0


def _place_root(cloud: Cloud, vm: Vm, root: _Root, serial: int) -> str:
    if root.volumeid is None:
        return _row(cloud, vm, f"ROOT-{serial}", root.size, 0, "ROOT", root.templateid, root.snapshotid, root.offering)
    volume = cloud.volumes[root.volumeid]
    cloud.volumes[volume.id] = replace(volume, virtualmachineid=vm.id, deviceid=0, type="ROOT", attached=now())
    return volume.id


def _row(
    cloud: Cloud, vm: Vm, name: str, size: int, device: int, kind: str,
    template: str | None = None, snapshot: str | None = None, offering: str | None = None,
) -> str:  # fmt: skip
    volume = Volume(
        id=str(uuid.uuid4()), name=name, account=vm.account, zoneid=vm.zoneid, size=size, type=kind, state="Allocated",
        created=now(), diskofferingid=offering, virtualmachineid=vm.id, deviceid=device,
        templateid=template, snapshotid=snapshot,
    )  # fmt: skip
    cloud.volumes[volume.id] = volume
    return volume.id
