"""The virtual hardware: an element of `config.hardware.device` becomes a disk, a card, a controller or a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.inventory.model import Controller, Device, Disk, GuestAddress, Nic
from migratekit_core.adapters.vsphere.inventory.networks import card_network
from migratekit_core.adapters.vsphere.inventory.places import Places

CARDS = {
    "VirtualE1000",
    "VirtualE1000e",
    "VirtualPCNet32",
    "VirtualSriovEthernetCard",
    "VirtualVmxnet",
    "VirtualVmxnet2",
    "VirtualVmxnet3",
    "VirtualVmxnet3Vrdma",
}
"""The types below VirtualEthernetCard."""

_ENCRYPTED = "keyId"


@dataclass(frozen=True)
class GuestNic:
    """What VMware Tools say of a card."""

    ip_addresses: tuple[str, ...] = ()
    addresses: tuple[GuestAddress, ...] = ()
    dhcp: bool | None = None
    network: str = ""
    """What the tools call the network."""

    def joined(self, other: GuestNic) -> GuestNic:
        """Return what both interfaces of a card have; DHCP where one of them asks it."""
        said = {self.dhcp, other.dhcp} - {None}
        return GuestNic(
            ip_addresses=tuple(dict.fromkeys((*self.ip_addresses, *other.ip_addresses))),
            addresses=tuple(dict.fromkeys((*self.addresses, *other.addresses))),
            dhcp=True in said if said else None,
            network=self.network or other.network,
        )


@dataclass(frozen=True)
class Hardware:
    """All devices of a machine."""

    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    controllers: tuple[Controller, ...]
    devices: tuple[Device, ...]


def read_hardware(elements: Iterable[Element], guest: dict[int, GuestNic], places: Places | None) -> Hardware:
    """Sort a machine's devices. Without `places` the networks of cards stay unresolved."""
    disks: list[tuple[dict[str, Element], int]] = []
    nics: list[Nic] = []
    controllers: dict[int, Controller] = {}
    devices: list[Device] = []
    for element in elements:
        kind = wire.type_of(element)
        facts = wire.fields(element)
        key = wire.number(facts.get("key"))
        if kind == "VirtualDisk":
            disks.append((facts, key))
        elif kind in CARDS:
            nics.append(_nic(key, kind, facts, guest.get(key, GuestNic()), places))
        elif "busNumber" in facts:
            controllers[key] = Controller(
                key=key,
                type=kind,
                label=_label(facts, kind),
                bus_number=wire.number(facts["busNumber"]),
                bus_sharing=wire.text(facts.get("sharedBus")),
            )
        else:
            devices.append(_device(key, kind, facts))
    found = sorted((_disk(key, facts, controllers) for facts, key in disks), key=_place)
    return Hardware(tuple(found), tuple(nics), tuple(controllers.values()), tuple(devices))


def _place(disk: Disk) -> tuple[int, int]:
    return disk.controller_key, disk.unit_number


def _label(facts: dict[str, Element], kind: str) -> str:
    return wire.text(facts.get("deviceInfo"), "label") or f"{kind} {wire.text(facts.get('key'))}"


def _disk(key: int, facts: dict[str, Element], controllers: dict[int, Controller]) -> Disk:
    backing = facts.get("backing")
    about = {} if backing is None else wire.fields(backing)
    kind = "" if backing is None else wire.type_of(backing)
    path = wire.text(about.get("fileName"))
    parents = _parents(about.get("parent"))
    controller = controllers.get(wire.number(facts.get("controllerKey")))
    return Disk(
        key=key,
        label=wire.text(facts.get("deviceInfo"), "label") or f"disk {key}",
        unit_number=wire.number(facts.get("unitNumber")),
        controller=controller.type if controller else "",
        controller_key=wire.number(facts.get("controllerKey")),
        capacity_bytes=wire.number(facts.get("capacityInBytes")) or wire.number(facts.get("capacityInKB")) * 1024,
        path=path,
        datastore=path[1:].partition("]")[0] if path.startswith("[") else "",
        datastore_moref=wire.text(about.get("datastore")),
        provisioning=_provisioning(about),
        mode=wire.text(about.get("diskMode")),
        sharing=wire.text(about.get("sharing")),
        change_id=wire.text(about.get("changeId")) or None,
        backing=kind.removeprefix("VirtualDisk").removesuffix("BackingInfo"),
        has_parent=bool(parents),
        parent_path=parents[0] if parents else "",
        base_path=parents[-1] if parents else path,
        rdm_mode=wire.text(about.get("compatibilityMode")),
        encrypted=_ENCRYPTED in about,
        uuid=wire.text(about.get("uuid")),
        write_through=wire.truth(about.get("writeThrough")),
    )


def _parents(backing: Element | None) -> list[str]:
    """Return the files below a disk's, the next one first."""
    paths = []
    while backing is not None:
        paths.append(wire.text(backing, "fileName"))
        backing = wire.child(backing, "parent")
    return paths


def _provisioning(backing: dict[str, Element]) -> str:
    if wire.truth(backing.get("thinProvisioned")):
        return "thin"
    return "eager" if wire.truth(backing.get("eagerlyScrub")) else "thick"


def _device(key: int, kind: str, facts: dict[str, Element]) -> Device:
    backing = facts.get("backing")
    about = {} if backing is None else wire.fields(backing)
    connectable = facts.get("connectable")
    named = (about.get(name) for name in ("fileName", "vgpu", "deviceName", "serviceURI", "pipeName", "id"))
    return Device(
        key=key,
        type=kind,
        label=_label(facts, kind),
        controller_key=wire.number(facts.get("controllerKey")),
        unit_number=wire.number(facts.get("unitNumber")),
        backing="" if backing is None else wire.type_of(backing).removesuffix("BackingInfo"),
        backing_name=next((name for name in map(wire.text, named) if name), ""),
        # A USB device says so itself.
        connected=wire.truth(connectable, "connected") or wire.truth(facts.get("connected")),
        start_connected=wire.truth(connectable, "startConnected"),
    )


def _nic(key: int, kind: str, facts: dict[str, Element], guest: GuestNic, places: Places | None) -> Nic:
    network = card_network(facts.get("backing"), guest.network, places)
    connectable = facts.get("connectable")
    return Nic(
        key=key,
        label=wire.text(facts.get("deviceInfo"), "label") or f"NIC {key}",
        type=kind.removeprefix("Virtual").lower(),
        mac=wire.text(facts.get("macAddress")),
        mac_type=wire.text(facts.get("addressType")),
        network=network.name,
        network_moref=network.moref,
        network_kind=network.kind,
        network_path=network.path,
        network_key=network.key,
        network_record=network.record,
        network_state=network.state,
        connected=wire.truth(connectable, "connected"),
        start_connected=wire.truth(connectable, "startConnected"),
        ip_addresses=guest.ip_addresses,
        addresses=guest.addresses,
        dhcp=guest.dhcp,
        unresolved=network.unresolved,
    )
