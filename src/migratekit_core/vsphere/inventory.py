"""What machines there are. One view and one PropertyCollector, paged; no call per machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.errors import PreconditionError
from migratekit_core.vsphere.networks import Networks, Nic, read_nics

PAGE = 200
"""Machines per answer: small enough to show the first ones soon, large enough that round trips do not matter."""

VM_PROPERTIES = [
    "name",
    "parent",
    "config.instanceUuid",
    "config.template",
    "config.firmware",
    "config.guestId",
    "config.guestFullName",
    "config.version",
    "config.changeTrackingEnabled",
    "config.hardware.device",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "runtime.powerState",
    "runtime.host",
    "runtime.connectionState",
    "guest.toolsRunningStatus",
    "guest.net",
    "snapshot",
]


@dataclass(frozen=True)
class Disk:
    """A virtual disk. `key` is vSphere's device key, sizes are bytes."""

    key: int
    label: str
    unit_number: int
    controller: str
    capacity_bytes: int
    path: str
    """Datastore path of the file that is written now: `[datastore] folder/disk.vmdk`."""
    datastore: str
    provisioning: str
    """thin, thick (lazy zeroed) or eager (zeroed)."""
    mode: str
    change_id: str | None
    backing: str
    """Type of the backing, such as FlatVer2 or RawDiskMappingVer1."""
    has_parent: bool
    """Whether the file is a delta on top of another (a snapshot or a linked clone)."""


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine of the source."""

    moref: str
    uuid: str
    """instanceUuid: vCenter's own, unique name of the machine."""
    name: str
    path: str
    """Inventory path: /datacenter/vm/folder/name."""
    datacenter: str
    """Its name, with the folders that it is in: what the datastore browser calls `dcPath`."""
    power: str
    connection: str
    template: bool
    cpus: int
    memory_mib: int
    firmware: str
    guest_id: str
    guest_name: str
    hardware_version: str
    tools: str
    cbt_enabled: bool
    has_snapshots: bool
    host: str | None
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]


def list_vms(service: Any) -> Iterator[VirtualMachine]:
    """Yield every virtual machine and template that the account can see, as the pages arrive."""
    content = service.RetrieveContent()
    folders = _Folders(content)
    networks = Networks(content)
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    try:
        for reference, properties in retrieve(content, view, vim.VirtualMachine, VM_PROPERTIES):
            if "config.hardware.device" in properties:
                yield _machine(reference, properties, folders, networks)
    finally:
        view.Destroy()


def find_vm(service: Any, name: str) -> VirtualMachine:
    """Return the machine that `name` means: its name, its inventory path, its instanceUuid or its moref.

    Raises PreconditionError where there is none, or more than one.
    """
    found = []
    for vm in list_vms(service):
        if name in (vm.moref, vm.uuid, vm.path):
            return vm
        if vm.name == name:
            found.append(vm)
    if not found:
        raise PreconditionError(
            f"no virtual machine {name!r}",
            "vCenter shows none with this name, path, uuid or id to this account",
            "look with: migratekit discover",
        )
    if len(found) > 1:
        paths = ", ".join(f"{vm.path} ({vm.moref})" for vm in found)
        raise PreconditionError(
            f"the name {name!r} is ambiguous", f"{len(found)} machines have it: {paths}", "name one by its path or id"
        )
    return found[0]


def managed_object(service: Any, vm: VirtualMachine) -> Any:
    """Return pyVmomi's object of `vm`."""
    return vim.VirtualMachine(vm.moref, service._stub)


def retrieve(content: Any, view: Any, kind: Any, properties: list[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield (object, properties) of every object of `kind` in `view`; a property that is unset is left out."""
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        objectSet=[
            query.ObjectSpec(
                obj=view,
                skip=True,
                selectSet=[query.TraversalSpec(name="view", path="view", skip=False, type=type(view))],
            )
        ],
        propSet=[query.PropertySpec(type=kind, pathSet=properties)],
    )
    collector = content.propertyCollector
    page = collector.RetrievePropertiesEx([spec], query.RetrieveOptions(maxObjects=PAGE))
    while page is not None:
        for found in page.objects:
            yield found.obj, {change.name: change.val for change in found.propSet}
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None


def read_disks(devices: Any) -> tuple[Disk, ...]:
    """Return the virtual disks among a machine's (or snapshot's) devices, in the order of controller and unit."""
    controllers = {device.key: device for device in devices if isinstance(device, vim.vm.device.VirtualController)}
    disks = [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]
    disks.sort(key=lambda disk: (disk.controllerKey or 0, disk.unitNumber or 0))
    return tuple(_disk(disk, controllers.get(disk.controllerKey or 0)) for disk in disks)


def _disk(disk: Any, controller: Any) -> Disk:
    backing = disk.backing
    path = getattr(backing, "fileName", "") or ""
    return Disk(
        key=disk.key,
        label=disk.deviceInfo.label if disk.deviceInfo else f"disk {disk.key}",
        unit_number=disk.unitNumber or 0,
        controller=_type_name(controller) if controller is not None else "",
        capacity_bytes=disk.capacityInBytes or disk.capacityInKB * 1024,
        path=path,
        datastore=path[1:].partition("]")[0] if path.startswith("[") else "",
        provisioning=_provisioning(backing),
        mode=getattr(backing, "diskMode", "") or "",
        change_id=getattr(backing, "changeId", None) or None,
        backing=_type_name(backing).removesuffix("BackingInfo"),
        has_parent=getattr(backing, "parent", None) is not None,
    )


def _provisioning(backing: Any) -> str:
    if getattr(backing, "thinProvisioned", False):
        return "thin"
    return "eager" if getattr(backing, "eagerlyScrub", False) else "thick"


def _type_name(managed: Any) -> str:
    """Return the last part of a pyVmomi type's name, which is how VMware's documentation calls it."""
    return type(managed).__name__.rpartition(".")[2]


def _machine(reference: Any, properties: dict[str, Any], folders: _Folders, networks: Networks) -> VirtualMachine:
    devices = properties["config.hardware.device"]
    path, datacenter = folders.place(properties.get("parent"))
    host = properties.get("runtime.host")
    return VirtualMachine(
        moref=reference._moId,
        uuid=properties.get("config.instanceUuid", ""),
        name=properties["name"],
        path=f"{path}/{properties['name']}",
        datacenter=datacenter,
        power=str(properties.get("runtime.powerState", "")),
        connection=str(properties.get("runtime.connectionState", "")),
        template=bool(properties.get("config.template", False)),
        cpus=properties.get("config.hardware.numCPU", 0),
        memory_mib=properties.get("config.hardware.memoryMB", 0),
        firmware=properties.get("config.firmware", "") or "bios",
        guest_id=properties.get("config.guestId", ""),
        guest_name=properties.get("config.guestFullName", ""),
        hardware_version=properties.get("config.version", ""),
        tools=properties.get("guest.toolsRunningStatus", "") or "guestToolsNotRunning",
        cbt_enabled=bool(properties.get("config.changeTrackingEnabled", False)),
        has_snapshots=properties.get("snapshot") is not None,
        host=host._moId if host is not None else None,
        disks=read_disks(devices),
        nics=read_nics(devices, properties.get("guest.net") or [], networks),
    )


class _Folders:
    """Inventory paths, from one look at all folders and datacenters."""

    def __init__(self, content: Any) -> None:
        self._places: dict[str, tuple[str, str | None, bool]] = {}
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.Folder, vim.Datacenter], True)
        try:
            for kind in (vim.Folder, vim.Datacenter):
                for found, properties in retrieve(content, view, kind, ["name", "parent"]):
                    parent = properties.get("parent")
                    self._places[found._moId] = (
                        properties["name"],
                        parent._moId if parent is not None else None,
                        kind is vim.Datacenter,
                    )
        finally:
            view.Destroy()

    def place(self, folder: Any) -> tuple[str, str]:
        """Return the path of a folder, and its datacenter with the folders above it, as `dcPath` wants it."""
        parts: list[str] = []
        below_datacenter = 0
        key = folder._moId if folder is not None else None
        while key is not None and key in self._places:
            name, parent, is_datacenter = self._places[key]
            # The root folder ("Datacenters", or "ha-folder-root" of a host) is no part of a path.
            if parent is not None:
                parts.append(name)
            if is_datacenter:
                below_datacenter = len(parts) - 1
            key = parent
        parts.reverse()
        datacenter = parts[: len(parts) - below_datacenter]
        return "/" + "/".join(parts) if parts else "", "/".join(datacenter)
