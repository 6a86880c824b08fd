"""deployVirtualMachine: from a template, or from an existing volume or snapshot (4.21 and later, KVM only).

What can be refused is refused before there is a job: by then the machine is in the database, Stopped, under its name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import access, addresses, catalogue, storage
from .access import check_owner
from .call import Call, Work, flag, mappings, need, number, text
from .errors import invalid_value, runtime
from .instances import answer, start
from .model import GIB, Nic, Vm, Volume, now
from .state import Cloud, check_limits, volumes_of
from .volumes import existing, offered_size

_HOST_NAME = re.compile(r"^[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")


@dataclass(frozen=True)
class _Root:
    """Where the root disk comes from; a machine always has a template, if only by name."""

    templateid: str
    size: int
    volumeid: str | None = None
    snapshotid: str | None = None


def deploy(call: Call) -> Work:
    cloud, account = call.cloud, access.owner_for(call)
    sources = [name for name in ("templateid", "volumeid", "snapshotid") if text(call, name)]
    if len(sources) != 1:
        raise runtime("Give exactly one of templateid, volumeid and snapshotid.")
    vm_id = str(uuid.uuid4())
    name = text(call, "name") or f"VM-{vm_id}"
    check_host_name(name)
    cpunumber, cpuspeed, memory, details = _shape(call)
    details |= _boot(call)
    root = _root(call, details)
    nics = addresses.plan(call)
    check_name_is_free(cloud, name, nics)
    if catalogue.row("network", nics[0].networkid)["zoneid"] != need(call, "zoneid"):
        raise invalid_value("The network is in another zone.")
    data_size = _data_size(call)
    new = [size for size in (0 if root.volumeid else root.size, data_size) if size]
    check_limits(
        cloud, account, user_vm=1, volume=len(new), primary_storage=sum(new) // GIB, cpu=cpunumber, memory=memory
    )
    serial = cloud.next_number()
    vm = Vm(
        id=vm_id, name=name, displayname=text(call, "displayname") or name, account=account,
        zoneid=need(call, "zoneid"), state="Stopped", serviceofferingid=need(call, "serviceofferingid"),
        templateid=root.templateid, ostypeid=catalogue.row("template", root.templateid)["ostypeid"], created=now(),
        nics=nics, cpunumber=cpunumber, cpuspeed=cpuspeed, memory=memory, instancename=f"i-2-{serial}-VM",
        details=details,
    )  # fmt: skip
    cloud.vms[vm_id] = vm
    resources = [f"virtualmachine:{vm_id}", f"volume:{_place_root(cloud, vm, root, serial)}"]
    resources += [f"snapshot:{root.snapshotid}"] if root.snapshotid else []
    if data_size:
        _row(cloud, vm, f"DATA-{serial}", data_size, 1, "DATADISK", offering=text(call, "diskofferingid"))

    def run() -> Mapping[str, Any]:
        if flag(call, "startvm", default=True):
            start(cloud, vm_id)
        elif root.snapshotid:
            storage.materialise(cloud, resources[1].removeprefix("volume:"))
        return answer(call, vm_id)

    def undo() -> None:
        if flag(call, "startvm", default=True):
            _give_up(cloud, vm_id)

    return Work(run, tuple(resources), "VirtualMachine", vm_id, vm_id, undo)


def _give_up(cloud: Cloud, vm_id: str) -> None:
    """A first start that fails leaves a machine in Error and destroys its volumes, adopted ones as well."""
    with cloud.lock:
        if vm_id in cloud.vms:
            cloud.vms[vm_id] = replace(cloud.vms[vm_id], state="Error", hostid=None)
            for volume in volumes_of(cloud, vm_id):
                storage.expunge(cloud, volume.id)


def check_host_name(name: str) -> None:
    if not _HOST_NAME.match(name):
        raise invalid_value(
            f"{name!r} is no host name: 1 to 63 letters, digits and hyphens, beginning with a letter and not ending "
            "with a hyphen."
        )


def check_name_is_free(cloud: Cloud, name: str, nics: tuple[Nic, ...], but: str | None = None) -> None:
    """A destroyed machine keeps its name until it is expunged. Names are per network domain, not per cloud."""
    domains = _domains(nics)
    for vm in cloud.vms.values():
        if vm.id != but and vm.name == name and domains & (theirs := _domains(vm.nics)):
            raise invalid_value(f"Network domain {min(domains & theirs)} has a machine with host name {name} already.")


def _domains(nics: tuple[Nic, ...]) -> set[str]:
    """The network domains of cards; an L2 network has none."""
    rows = [catalogue.row("network", nic.networkid) for nic in nics]
    return {row["networkdomain"] for row in rows if "networkdomain" in row}


def _shape(call: Call) -> tuple[int, int, int, dict[str, str]]:
    offering = catalogue.row("serviceoffering", need(call, "serviceofferingid"))
    details = {key: value for row in mappings(call, "details") for key, value in row.items()}
    named = {key.lower(): value for key, value in details.items()}
    _check_models(named)
    if offering["iscustomized"] and not {"cpunumber", "cpuspeed", "memory"} & named.keys():
        raise invalid_value(
            "A custom offering needs details[0].cpuNumber, cpuSpeed and memory, as far as it fixes none."
        )
    bounds = offering.get("serviceofferingdetails", {})
    cpus = _custom(offering, bounds, named, "cpunumber", 1)
    memory = _custom(offering, bounds, named, "memory", 32)
    return cpus, _custom(offering, bounds, named, "cpuspeed", 1), memory, details


def _custom(
    offering: Mapping[str, Any], bounds: Mapping[str, str], named: Mapping[str, str], what: str, low: int
) -> int:
    """What the offering fixes must not be given; what it leaves open has to be, within its bounds."""
    if what in offering:
        if what in named:
            raise invalid_value(f"{what} of offering {offering['name']} is fixed, it cannot be customised.")
        return int(offering[what])
    least, most = int(bounds.get(f"min{what}", low)), int(bounds.get(f"max{what}", 2**31 - 1))
    try:
        value = int(named[what])
    except (KeyError, ValueError):
        value = -1
    if not least <= value <= most:
        raise invalid_value(f"Invalid {what}: a value between {least} and {most} is wanted.")
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


def _boot(call: Call) -> dict[str, str]:
    kind, mode = (text(call, "boottype") or "").upper(), (text(call, "bootmode") or "").upper()
    if not kind:
        return {}
    if kind not in ("UEFI", "BIOS") or mode not in ("LEGACY", "SECURE"):
        raise invalid_value("boottype is UEFI or BIOS, and then bootmode is needed: Legacy or Secure.")
    if kind == "BIOS" and mode == "SECURE":
        raise invalid_value("Secure boot needs boottype UEFI.")
    return {kind: mode}


def _root(call: Call, details: Mapping[str, str]) -> _Root:
    if template_id := text(call, "templateid"):
        template = catalogue.row("template", template_id)
        if template["zoneid"] != need(call, "zoneid"):
            raise invalid_value("The template is not in this zone.")
        wished = details.get("rootdisksize") or text(call, "rootdisksize")
        size = int(wished) * GIB if wished else int(template["size"])
        if size < template["size"]:
            raise invalid_value(f"rootdisksize must not be below the template's size of {template['size']} bytes.")
        return _Root(template_id, size)
    snapshot_id = text(call, "snapshotid")
    if snapshot_id:
        snapshot = call.cloud.snapshots.get(snapshot_id)
        if snapshot is None or snapshot.state != "BackedUp":
            raise invalid_value(f"There is no BackedUp snapshot {snapshot_id}.")
        check_owner(call, snapshot.account)
        return _Root(_origin(snapshot.templateid), snapshot.size, snapshotid=snapshot_id)
    volume = existing(call, need(call, "volumeid"))
    if volume.state != "Ready" or call.cloud.config.pool_scope != "ZONE":
        raise invalid_value("Only a volume that lies on zone-wide primary storage can become a root disk.")
    templateid = _origin(volume.templateid)
    if volume.virtualmachineid:
        raise invalid_value(f"Volume {volume.id} is attached to a virtual machine already.")
    if volume.zoneid != need(call, "zoneid"):
        raise invalid_value("The volume is in another zone.")
    return _Root(templateid, volume.size, volumeid=volume.id)


def _origin(template_id: str | None) -> str:
    """The real server takes the machine's template from the volume, so a volume made blank cannot be deployed."""
    if not template_id:
        raise invalid_value("The volume or snapshot comes from no template, so no machine can be deployed from it.")
    return template_id


def _data_size(call: Call) -> int:
    offering_id = text(call, "diskofferingid")
    return offered_size(offering_id, number(call, "size")) if offering_id else 0


def _place_root(cloud: Cloud, vm: Vm, root: _Root, serial: int) -> str:
    if root.volumeid is None:
        return _row(cloud, vm, f"ROOT-{serial}", root.size, 0, "ROOT", root.templateid, root.snapshotid)
    volume = cloud.volumes[root.volumeid]
    cloud.volumes[volume.id] = replace(volume, virtualmachineid=vm.id, deviceid=0, type="ROOT", attached=now())
    return volume.id


def _row(
    cloud: Cloud, vm: Vm, name: str, size: int, device: int, kind: str,
    template: str | None = None, snapshot: str | None = None, offering: str | None = None,
) -> str:  # fmt: skip
    volume = Volume(
        id=str(uuid.uuid4()), name=name, account=vm.account, zoneid=vm.zoneid, size=size, type=kind, state="Allocated",
        created=now(), diskofferingid=offering, virtualmachineid=vm.id, deviceid=device, attached=now(),
        templateid=template, snapshotid=snapshot,
    )  # fmt: skip
    cloud.volumes[volume.id] = volume
    return volume.id
