"""A virtual machine, from its properties as they came over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.inventory.collector import Found, Properties
from migratekit_core.adapters.vsphere.inventory.devices import GuestNic, read_hardware
from migratekit_core.adapters.vsphere.inventory.model import (
    REDO_APART,
    Datastore,
    Disk,
    GuestAddress,
    GuestVolume,
    Snapshot,
    VirtualMachine,
)
from migratekit_core.adapters.vsphere.inventory.places import Places
from migratekit_core.common.vsphere_names import shown

DEVICES = "config.hardware.device"

IDENTITY = ["name", "parent", "parentVApp", "config.instanceUuid"]
"""What a machine is named by."""

PROPERTIES = [
    *IDENTITY,
    "resourcePool",
    "datastore",
    "config.uuid",
    "config.template",
    "config.firmware",
    "config.guestId",
    "config.guestFullName",
    "config.version",
    "config.changeTrackingEnabled",
    DEVICES,
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "config.hardware.numCoresPerSocket",
    "config.cpuHotAddEnabled",
    "config.cpuHotRemoveEnabled",
    "config.memoryHotAddEnabled",
    "config.memoryReservationLockedToMax",
    "config.bootOptions",
    "config.keyId",
    "config.cpuAffinity",
    "config.memoryAffinity",
    "config.latencySensitivity",
    "config.cpuAllocation",
    "config.memoryAllocation",
    "config.managedBy",
    "config.files.vmPathName",
    "config.extraConfig",
    "runtime.powerState",
    "runtime.host",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.faultToleranceState",
    "capability.changeTrackingSupported",
    "guest.toolsRunningStatus",
    "guest.toolsVersionStatus2",
    "guest.toolsVersion",
    "guest.guestFamily",
    "guest.guestId",
    "guest.guestFullName",
    "guest.hostName",
    "guest.net",
    "guest.disk",
    "guest.ipStack",
    "summary.storage",
    "snapshot",
]
"""Short ones by themselves; of the long ones (devices, extraConfig) vSphere gives all or nothing."""

EXTRA_CONFIG_PREFIXES = ("sched.", "numa.", "pcipassthru", "guestinfo.", "guestos.", "hypervisor.", "monitor_control.")
"""Of the advanced settings that are kept, in lower case: vSphere does not care, and writes them in many ways."""
EXTRA_CONFIG_KEYS = ("disk.enableuuid", REDO_APART)
EXTRA_CONFIG_LIMIT = 4096
"""Characters of a value that are kept: the tools write whole documents into guestinfo."""
GUESTINFO = "guestinfo."
GUESTINFO_SHOWN = ("guestinfo.detailed.data", "guestinfo.vmtools.")
"""What VMware Tools write. Of all else in guestinfo the key is kept and no value: user data of cloud-init, ignition
and appliances is full of passwords, and an inventory ends up in artifacts of pipelines."""

_DEFAULT_ROUTES = {"0.0.0.0", "::"}  # noqa: S104 (an address to compare with)


def read_machine(found: Found, places: Places) -> VirtualMachine:
    """Return the machine; where vSphere cannot read its files, what is known of it."""
    facts = found.properties

    def said(path: str) -> str:
        return wire.text(facts.get(path))

    def true(path: str) -> bool:
        return wire.truth(facts.get(path))

    name = said("name")
    folder, datacenter = _folder(found, places)
    hardware = read_hardware(facts.get(DEVICES, ()), _guest_nics(facts), places)
    snapshots = tuple(_snapshots(facts.get("snapshot")))
    host = said("runtime.host") or None
    boot, sensitivity = facts.get("config.bootOptions"), facts.get("config.latencySensitivity")
    cpu, memory = facts.get("config.cpuAllocation"), facts.get("config.memoryAllocation")
    gateways, dns_servers = _routing(facts.get("guest.ipStack"))
    return VirtualMachine(
        moref=found.moref,
        uuid=said("config.instanceUuid"),
        name=shown(name),
        path=f"{folder}/{name}",
        datacenter=datacenter,
        power=said("runtime.powerState"),
        connection=said("runtime.connectionState"),
        template=true("config.template"),
        cpus=wire.number(facts.get("config.hardware.numCPU")),
        memory_mib=wire.number(facts.get("config.hardware.memoryMB")),
        firmware=said("config.firmware") or "bios",
        guest_id=said("config.guestId"),
        guest_name=said("config.guestFullName"),
        hardware_version=said("config.version"),
        tools=said("guest.toolsRunningStatus") or "guestToolsNotRunning",
        cbt_enabled=true("config.changeTrackingEnabled"),
        has_snapshots=bool(snapshots),
        host=host,
        disks=hardware.disks,
        nics=hardware.nics,
        folder=folder,
        host_name=shown(places.name(host or "")),
        cluster=shown(places.cluster(host or "")),
        resource_pool=places.pool(said("resourcePool")),
        vapp=shown(places.name(said("parentVApp")) or places.vapp(said("resourcePool"))),
        vmx_path=said("config.files.vmPathName"),
        datastores=_datastores(facts, hardware.disks, places),
        bios_uuid=said("config.uuid"),
        managed_by=wire.text(facts.get("config.managedBy"), "extensionKey"),
        controllers=hardware.controllers,
        devices=hardware.devices,
        secure_boot=wire.truth(boot, "efiSecureBootEnabled"),
        vtpm=any(device.type == "VirtualTPM" for device in hardware.devices),
        encrypted="config.keyId" in facts,
        cores_per_socket=wire.number(facts.get("config.hardware.numCoresPerSocket")),
        cpu_hot_add=true("config.cpuHotAddEnabled"),
        cpu_hot_remove=true("config.cpuHotRemoveEnabled"),
        memory_hot_add=true("config.memoryHotAddEnabled"),
        cpu_reservation_mhz=wire.number(cpu, "reservation"),
        memory_reservation_mib=wire.number(memory, "reservation"),
        memory_reservation_locked=true("config.memoryReservationLockedToMax"),
        cpu_limit_mhz=_limit(cpu),
        memory_limit_mib=_limit(memory),
        cpu_affinity=_numbers(facts.get("config.cpuAffinity"), "affinitySet"),
        memory_affinity=_numbers(facts.get("config.memoryAffinity"), "affinitySet"),
        latency_sensitivity=wire.text(sensitivity, "level"),
        fault_tolerance=said("runtime.faultToleranceState"),
        drs_override=places.drs_overrides.get(found.moref, ""),
        ha_override=places.ha_overrides.get(found.moref, ""),
        drs_rules=places.drs_rules.get(found.moref, ()),
        snapshots=snapshots,
        consolidation_needed=true("runtime.consolidationNeeded"),
        cbt_supported=said("capability.changeTrackingSupported") != "false",
        tools_status=said("guest.toolsVersionStatus2"),
        tools_version=said("guest.toolsVersion"),
        guest_family=said("guest.guestFamily"),
        guest_hostname=said("guest.hostName"),
        guest_reported_id=said("guest.guestId"),
        guest_reported_name=said("guest.guestFullName"),
        gateways=gateways,
        dns_servers=dns_servers,
        guest_volumes=tuple(_volume(each) for each in facts.get("guest.disk", ())),
        committed_bytes=wire.number(facts.get("summary.storage"), "committed"),
        uncommitted_bytes=wire.number(facts.get("summary.storage"), "uncommitted"),
        extra_config=read_extra_config(facts.get("config.extraConfig")),
    )


def read_path(found: Found, places: Places) -> str:
    """Return a machine's inventory path."""
    return f"{_folder(found, places)[0]}/{wire.text(found.properties.get('name'))}"


def _folder(found: Found, places: Places) -> tuple[str, str]:
    """Return the path of the folder, and the datacenter; a machine in a vApp has no folder, but the vApp has one."""
    properties = found.properties
    return places.folder(wire.text(properties.get("parent")) or wire.text(properties.get("parentVApp")))


def _limit(allocation: Element | None) -> int | None:
    """Return a limit; vSphere writes -1, or nothing, for none."""
    limit = wire.text(allocation, "limit")
    return int(limit) if limit and not limit.startswith("-") else None


def _numbers(element: Element | None, name: str) -> tuple[int, ...]:
    return tuple(int(text) for text in wire.texts(element, name) if text)


def _datastores(facts: Properties, disks: tuple[Disk, ...], places: Places) -> tuple[Datastore, ...]:
    listed = [reference.text or "" for reference in facts.get("datastore", ())]
    morefs = dict.fromkeys([*listed, *(disk.datastore_moref for disk in disks)])
    return tuple(places.datastores[moref] for moref in morefs if moref in places.datastores)


def read_extra_config(options: Element | None) -> dict[str, str]:
    kept = {}
    for option in options if options is not None else ():
        key = wire.text(option, "key")
        lower = key.lower()
        if lower.startswith(EXTRA_CONFIG_PREFIXES) or lower.endswith("ctkenabled") or lower in EXTRA_CONFIG_KEYS:
            secret = lower.startswith(GUESTINFO) and not lower.startswith(GUESTINFO_SHOWN)
            kept[key] = "" if secret else wire.text(option, "value")[:EXTRA_CONFIG_LIMIT]
    return kept


def _snapshots(info: Element | None) -> Iterator[Snapshot]:
    """Yield the snapshots of a tree, parents before children; deep trees are no recursion."""
    current = wire.text(info, "currentSnapshot")
    waiting: list[tuple[Element, str | None]] = [(tree, None) for tree in wire.children(info, "rootSnapshotList")]
    while waiting:
        tree, parent = waiting.pop(0)
        moref = wire.text(tree, "snapshot")
        yield Snapshot(
            moref=moref,
            name=shown(wire.text(tree, "name")),
            description=wire.text(tree, "description"),
            created=wire.text(tree, "createTime"),
            parent=parent,
            current=moref == current,
            quiesced=wire.truth(tree, "quiesced"),
        )
        waiting += [(below, moref) for below in wire.children(tree, "childSnapshotList")]


def _guest_nics(facts: Properties) -> dict[int, GuestNic]:
    """Return what the guest says of its cards, by the key of the card; -1 stands for those it made itself.

    Interfaces on top of a card (VLANs of a router) are told with the card's key: theirs and its own are all the card's.
    """
    cards: dict[int, GuestNic] = {}
    for net in facts.get("guest.net", ()):
        key, told = wire.number(net, "deviceConfigId"), _guest_nic(net)
        cards[key] = cards[key].joined(told) if key in cards else told
    return cards


def _guest_nic(net: Element) -> GuestNic:
    ips = wire.child(net, "ipConfig")
    addresses = tuple(
        GuestAddress(wire.text(ip, "ipAddress"), wire.number(ip, "prefixLength"), wire.text(ip, "origin"))
        for ip in wire.children(ips, "ipAddress")
    )
    return GuestNic(
        ip_addresses=wire.texts(net, "ipAddress"),
        addresses=addresses,
        dhcp=_asks_dhcp(wire.child(ips, "dhcp", "ipv4", "enable"), addresses),
        network=wire.text(net, "network"),
    )


def _asks_dhcp(enabled: Element | None, addresses: tuple[GuestAddress, ...]) -> bool | None:
    """Return whether an interface has its IPv4 addresses of DHCP; None where the guest does not say.

    `dnsConfig.dhcp` is about name servers: it is false beside addresses that DHCP gave (recorded, of Windows).
    """
    if enabled is not None:
        return wire.truth(enabled)
    origins = {address.origin for address in addresses if ":" not in address.address} - {""}
    return "dhcp" in origins if origins else None


def _volume(disk: Element) -> GuestVolume:
    return GuestVolume(
        path=wire.text(disk, "diskPath"),
        capacity_bytes=wire.number(disk, "capacity"),
        free_bytes=wire.number(disk, "freeSpace"),
        filesystem=wire.text(disk, "filesystemType"),
        disk_keys=tuple(wire.number(mapping, "key") for mapping in wire.children(disk, "mappings")),
    )


def _routing(stacks: Element | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the default gateways and the name servers of all IP stacks."""
    gateways: dict[str, None] = {}
    servers: dict[str, None] = {}
    for stack in stacks if stacks is not None else ():
        for route in wire.children(wire.child(stack, "ipRouteConfig"), "ipRoute"):
            gateway = wire.text(route, "gateway", "ipAddress")
            if gateway and wire.text(route, "network") in _DEFAULT_ROUTES and wire.number(route, "prefixLength") == 0:
                gateways[gateway] = None
        servers |= dict.fromkeys(wire.texts(wire.child(stack, "dnsConfig"), "ipAddress"))
    return tuple(gateways), tuple(servers)
