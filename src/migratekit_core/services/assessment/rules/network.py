"""Network cards, their networks and the guest's addresses."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

from migratekit_core.adapters.vsphere.inventory import Nic, VirtualMachine
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule, site_rule
from migratekit_core.services.assessment.site import Site


def version_of(address: str) -> int:
    """Return 4 or 6, or 0 for what is no address, and for link-local ones, which are no way to anywhere."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return 0
    return 0 if found.is_link_local or found.is_loopback else found.version


@machine_rule(
    "MK-NET-001",
    Severity.BLOCKER,
    "no network card",
    why="CloudStack deploys no machine without a network.",
    remedy="Add a card in vCenter; it may be disconnected.",
)
def no_nic(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines without a card."""
    if not vm.nics:
        yield Hit("the machine has no network card")


@machine_rule(
    "MK-NET-002",
    Severity.BLOCKER,
    "unresolved network",
    why="Without the network's name there is nothing to map to a network of the target.",
    remedy="Connect the card to an existing network; for an NSX segment give the account read permission on it.",
)
def unresolved(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report cards whose network has no name, and that are not mapped by themselves."""
    for nic in vm.nics:
        if nic.unresolved and site.goes(vm, nic) is None:
            yield Hit(nic.unresolved, nic.label)


@machine_rule(
    "MK-NET-003",
    Severity.BLOCKER,
    "unmapped network",
    why="Every card needs a network of the target before failover; nothing is guessed.",
    remedy=hint(
        "Map it with `",
        migratekit("networks"),
        "`, or by a line in [networks.map]: docs/networks.md. What is stored in the database is known to "
        "`assess --history` only.",
    ),
    needs=("network_map",),
)
def unmapped(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report networks that nothing says anything about."""
    for nic in vm.nics:
        if nic.network and site.goes(vm, nic) is None:
            yield Hit(f"network {nic.network!r} is not mapped", nic.label)


@machine_rule(
    "MK-NET-004",
    Severity.WARNING,
    "several default gateways",
    why="Which way the guest's traffic takes depends on the order and names of its cards, and both change.",
    remedy="Keep one default gateway; make the others routes to their networks.",
)
def gateways(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guests with more than one default gateway of the same IP version."""
    count = Counter(version_of(gateway) for gateway in set(vm.gateways))
    if count[4] > 1 or count[6] > 1:
        yield Hit(f"its gateways are {', '.join(vm.gateways)}")


@machine_rule(
    "MK-NET-005",
    Severity.WARNING,
    "MAC address of several cards",
    why="CloudStack has a MAC address only once in a network, and the new machine keeps its own.",
    remedy="Give one of the cards another address (edit it, or remove and add the card).",
)
def mac_conflict(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report addresses that several cards have."""
    for nic in vm.nics:
        users = site.by_mac.get(nic.mac.lower(), ())
        if len(users) > 1:
            others = sorted({other.path for other in users if other.moref != vm.moref}) or ["another card of it"]
            yield Hit(f"{nic.mac} is also used by {', '.join(others)}", nic.label)


@machine_rule(
    "MK-NET-006",
    Severity.INFO,
    "network card is no vmxnet3",
    why="On the target every card is a virtio one. A guest that old or plain may have no driver for it; and names of "
    "interfaces (ens192, eth0) change.",
    remedy="See that the guest has virtio_net (Windows: NetKVM), and that its configuration goes by MAC address.",
)
def model(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report other models; SR-IOV has a rule of its own."""
    for nic in vm.nics:
        if nic.type != "vmxnet3" and "sriov" not in nic.type:
            yield Hit(f"its model is {nic.type}", nic.label)


@machine_rule(
    "MK-NET-007",
    Severity.WARNING,
    "IPv6 only",
    why="Networks of CloudStack have IPv6 only where the zone and the offering do; most have none.",
    remedy="Map it to a network with IPv6, or give the guest an IPv4 address first.",
)
def ipv6_only(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guests without an IPv4 address."""
    versions = {version_of(address) for nic in vm.nics for address in nic.ip_addresses}
    if 6 in versions and 4 not in versions:
        yield Hit("the guest has IPv6 addresses only")


@machine_rule(
    "MK-NET-008",
    Severity.INFO,
    "disconnected network card",
    why="In CloudStack a card is always connected: the guest will be in a network that it is not in now.",
    remedy="Remove the card, or map its network to one where the guest does no harm.",
)
def disconnected(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report cards that are unplugged on purpose."""
    for nic in vm.nics:
        unplugged = not nic.connected if vm.power == "poweredOn" else not (nic.connected or nic.start_connected)
        if unplugged:
            yield Hit("it is disconnected", nic.label)


@machine_rule(
    "MK-NET-009",
    Severity.BLOCKER,
    "two cards in the same network of the target",
    why="CloudStack gives a machine one card in each network; the second would be lost.",
    remedy="Map the cards' networks to different ones, or remove a card and give the other both addresses.",
    needs=("network_map",),
)
def same_network(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report cards that would meet in one network."""
    seen: dict[str, Nic] = {}
    for nic in vm.nics:
        mapped = site.goes(vm, nic)
        if not mapped:
            continue
        if mapped in seen:
            yield Hit(f"it and {seen[mapped].label} both go to {mapped!r}", nic.label)
        seen.setdefault(mapped, nic)


@site_rule(
    "MK-NET-010",
    Severity.WARNING,
    "no isolated network for rehearsals",
    why="test-failover puts copies of machines into an isolated network, so that they do not disturb the originals.",
    remedy="Make an isolated network in CloudStack and name it in networks.test.",
    needs=("network_map",),
)
def no_test_network(site: Site) -> Iterator[Hit]:
    """Report a configuration without networks.test."""
    if not site.test_network:
        yield Hit("networks.test is not set")
