"""Addresses of a machine in a network of the cloud: which of them it can keep."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from migratekit_core.adapters.vsphere.inventory import Nic

Row = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def subnet(network: Row) -> Subnet | None:
    """Return the addresses that a network gives; None of one without (L2)."""
    try:
        return ipaddress.ip_network(str(network.get("cidr")), strict=False)
    except ValueError:
        return None


def of_guest(nic: Nic) -> Iterator[Address]:
    """Yield the addresses that the guest says a card has, without those that are no way to anywhere."""
    for text in nic.ip_addresses:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            continue
        if not (address.is_link_local or address.is_loopback):
            yield address


def static(nic: Nic) -> Iterator[Address]:
    """Yield the addresses that DHCP did not give, so far as the guest says."""
    origins = {address.address: address.origin for address in nic.addresses}
    for address in of_guest(nic):
        by_itself = origins.get(str(address), "") in ("dhcp", "linklayer", "random")
        if not by_itself and not (nic.dhcp and address.version == 4):
            yield address


def cards_in(machines: Iterable[Row], network: Row) -> Iterator[tuple[Row, str]]:
    """Yield the cards that machines of the cloud have in a network, each with the machine's name."""
    for vm in machines:
        for card in vm.get("nic") or ():
            if card.get("networkid") == network.get("id"):
                yield card, str(vm.get("name"))


def taken(machines: Iterable[Row], network: Row) -> dict[str, str]:
    """Return who has which address in a network."""
    users = {str(card.get("ipaddress")): name for card, name in cards_in(machines, network) if card.get("ipaddress")}
    return ({str(network.get("gateway")): "the gateway"} if network.get("gateway") else {}) | users


def macs(machines: Iterable[Row], network: Row) -> dict[str, str]:
    """Return who has which MAC address, in lower case, in a network."""
    return {str(card.get("macaddress", "")).lower(): name for card, name in cards_in(machines, network)}


def keepable(address: Address, network: Row, users: Mapping[str, str]) -> str:
    """Return why a machine cannot have an address in a network, or "" where it can."""
    name, inside = network.get("name"), subnet(network)
    if inside is None or network.get("type") == "L2":
        return f"network {name} gives no addresses (L2): the guest keeps its own, and CloudStack does not know it"
    if address.version != inside.version or address not in inside:
        return f"{address} is not in {inside} of {name}"
    if address in (inside.network_address, inside.broadcast_address):
        return f"{address} is not an address of one machine in {inside} of {name}"
    if str(address) in users:
        return f"{address} is the address of {users[str(address)]} in {name}"
    return ""
