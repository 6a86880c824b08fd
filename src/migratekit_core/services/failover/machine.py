"""What the new machine will be: its cards with their addresses, its devices, its firmware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migratekit_core.adapters.cloudstack import addresses
from migratekit_core.adapters.cloudstack.compute import NicSpec, VmSpec
from migratekit_core.adapters.vsphere.inventory import Nic, VirtualMachine
from migratekit_core.config.schema import Failover, Networks
from migratekit_core.services.assessment import systems
from migratekit_core.services.assessment.rules.guest import is_windows
from migratekit_core.services.networks.model import Entry, NetworkMap, join
from migratekit_core.services.networks.overview import find_goal

Row = Mapping[str, Any]
REHEARSAL = "rehearsal"
"""Origin of entries that come from networks.test and networks.test_map."""


@dataclass(frozen=True)
class Cards:
    """The cards of the new machine, in the order of the source's; the first is its default one."""

    nics: tuple[NicSpec, ...] = ()
    mappings: tuple[tuple[str, str], ...] = ()
    """Source network (or card) and target network."""
    lines: tuple[str, ...] = ()
    """What each card will be, for people."""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """What cards are placed on: the mapping, the cloud's networks, and the machines that are in them."""

    mapping: NetworkMap
    networks: Sequence[Row]
    machines: Sequence[Row]


def cards(vm: VirtualMachine, ground: Ground, networks: Networks, settings: Failover, *, test: bool) -> Cards:
    """Return the cards of a live failover, or of a rehearsal (`test`: in the isolated networks, without addresses)."""
    found = Cards(problems=() if vm.nics else ("it has no network card, and CloudStack deploys no machine without",))
    taken: dict[str, str] = {}
    for nic in vm.nics:
        entry = _rehearsed(networks, nic) if test else ground.mapping.of(vm, nic)
        if entry is None:
            found = _more(found, problems=(_missing(nic, test),))
            continue
        if entry.target is None:
            found = _more(found, notes=(f"{nic.label} is left out ({entry.source} goes nowhere)",))
            continue
        row = find_goal(ground.networks, entry.target)
        if isinstance(row, str):
            found = _more(found, problems=(f"{row} (for {nic.network or nic.label})",))
            continue
        if row["id"] in taken:
            found = _more(found, **_second(nic, taken[row["id"]], row, test))
            continue
        taken[row["id"]] = nic.label
        found = _more(found, **_placed(nic, row, ground, settings, test))
    if vm.nics and not found.nics and not found.problems:
        found = _more(found, problems=("all of its cards are left out, and CloudStack deploys no machine without one",))
    return found


def _more(
    found: Cards,
    nics: tuple[NicSpec, ...] = (),
    mappings: tuple[tuple[str, str], ...] = (),
    lines: tuple[str, ...] = (),
    problems: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Cards:
    return replace(
        found,
        nics=found.nics + nics,
        mappings=found.mappings + mappings,
        lines=found.lines + lines,
        problems=found.problems + problems,
        notes=found.notes + notes,
    )


def _rehearsed(networks: Networks, nic: Nic) -> Entry | None:
    named = join(networks.test_map).of_network(nic)
    if named is not None:
        return replace(named, origin=REHEARSAL)
    return Entry(nic.network, networks.test, origin=REHEARSAL) if networks.test is not None else None


def _missing(nic: Nic, test: bool) -> str:
    if test:
        return "networks.test names no isolated network for rehearsals"
    if nic.unresolved:
        return f"{nic.label} has no network: {nic.unresolved}"
    return f"network {nic.network!r} of {nic.label} is not mapped"


def _second(nic: Nic, first: str, row: Row, test: bool) -> dict[str, Any]:
    """Return what becomes of a second card in a network: CloudStack gives a machine one."""
    name = row.get("name")
    if test:
        return {
            "notes": (f"{nic.label} is left out: {first} is in {name} already (networks.test_map tells them apart)",)
        }
    return {
        "problems": (f"{first} and {nic.label} both go to {name}, and CloudStack gives a machine one card in each",)
    }


def _placed(nic: Nic, row: Row, ground: Ground, settings: Failover, test: bool) -> dict[str, Any]:
    name = str(row.get("name"))
    mappings = ((nic.network or nic.label, name),)
    if test:
        return {"nics": (NicSpec(str(row["id"])),), "mappings": mappings, "lines": (f"{nic.label} → {name}",)}
    problems, notes = [], []
    mac = nic.mac.lower() if settings.keep_mac else ""
    if mac and (owner := addresses.macs(ground.machines, row).get(mac)):
        problems.append(f"MAC address {mac} of {nic.label} is that of {owner} in {name}")
    elif not mac:
        notes.append(f"{nic.label} gets a new MAC address" + ("" if nic.mac else ", for it has none"))
    ip, why = _address(nic, row, ground, settings)
    if why:
        (problems if settings.keep_ip == "require" else notes).append(f"{nic.label} keeps no address: {why}")
    others = [str(address) for address in addresses.of_guest(nic) if str(address) != ip]
    if ip and others:
        notes.append(f"{nic.label} also has {', '.join(others)}: CloudStack does not know of that")
    if not (nic.connected or nic.start_connected):
        notes.append(f"{nic.label} is disconnected now; in CloudStack a card always is connected")
    return {
        "nics": (NicSpec(str(row["id"]), mac=mac or None, ip=ip or None),),
        "mappings": mappings,
        "lines": (f"{nic.label} → {name}, MAC {mac or 'new'}, address {ip or 'given by CloudStack'}",),
        "problems": tuple(problems),
        "notes": tuple(notes),
    }


def _address(nic: Nic, row: Row, ground: Ground, settings: Failover) -> tuple[str, str]:
    """Return the IPv4 address that a card keeps, or "" and why it keeps none; both "" where nothing is to be kept."""
    if settings.keep_ip == "never":
        return "", ""
    known = [address for address in addresses.of_guest(nic) if address.version == 4]
    if not known:
        return "", "VMware Tools tell no IPv4 address of it"
    users = addresses.taken(ground.machines, row)
    reasons = [addresses.keepable(address, row, users) for address in known]
    kept = next((str(address) for address, reason in zip(known, reasons, strict=True) if not reason), "")
    return (kept, "") if kept else ("", reasons[0])


@dataclass(frozen=True)
class Devices:
    """Details of the machine for CloudStack, and what is worth knowing about them."""

    details: dict[str, str]
    line: str
    notes: tuple[str, ...] = ()


def devices(vm: VirtualMachine, settings: Failover, converted: bool) -> Devices:
    """Return controller and card models. Said explicitly: CloudStack would go by the OS type, which may not be known.

    `converted`: the guest was, or will be, given virtio drivers by virt-v2v.
    """
    windows, old = is_windows(vm), systems.before_virtio(vm) is not None
    inbox = not converted and (windows or old)
    notes = []
    if inbox:
        # AHCI is what UEFI machines (q35) have; what has no virtio drivers has drivers for these.
        disk, card = ("sata" if vm.firmware == "efi" else "ide"), "e1000"
        what = "Windows may have no virtio drivers" if windows else "its kernel is older than virtio"
        if "auto" in (settings.disk_controller, settings.nic_model):
            notes.append(
                f"{what}: its disks are attached as {disk}, its cards as {card}; where it has the drivers, set "
                "failover.disk_controller and failover.nic_model to virtio, or convert it"
            )
    else:
        disk, card = "virtio", "virtio"
    disk = disk if settings.disk_controller == "auto" else settings.disk_controller
    card = card if settings.nic_model == "auto" else settings.nic_model
    details = {"rootDiskController": disk, "nicAdapter": card}
    if disk != "virtio":
        # Without it data disks would be virtio ones all the same.
        details["dataDiskController"] = disk
    if disk == "ide" and len(vm.disks) > 3:
        notes.append(f"IDE has room for 3 disks beside the CD-ROM, and the machine has {len(vm.disks)}")
    if vm.cores_per_socket > 1 and vm.cpus % vm.cores_per_socket == 0:
        details["cpu.corespersocket"] = str(vm.cores_per_socket)
    return Devices(details, f"disks {disk}, cards {card}", tuple(notes))


MODELS = ("rootDiskController", "dataDiskController", "nicAdapter")


def suited(spec: VmSpec, vm: VirtualMachine, settings: Failover, converted: bool) -> VmSpec:
    """Return a machine to be with the models that suit its guest, now that it is known whether it was converted."""
    kept = {key: value for key, value in spec.details.items() if key not in MODELS}
    return replace(spec, details={**kept, **devices(vm, settings, converted).details})


def expects_conversion(vm: VirtualMachine, settings: Failover) -> bool:
    """Return whether the guest will be converted, as far as that can be told without looking into it."""
    return settings.convert == "always" or (settings.convert == "auto" and is_windows(vm))
