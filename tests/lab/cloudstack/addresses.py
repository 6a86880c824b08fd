"""Which networks a new machine gets, with which IP and hardware addresses."""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from dataclasses import dataclass

from . import catalogue
from .call import Call, items, mappings, text
from .errors import invalid_value, no_capacity, runtime
from .model import Nic
from .state import Cloud, knows

_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")


@dataclass(frozen=True)
class _Wish:
    networkid: str
    ip: str | None = None
    mac: str | None = None


def plan(call: Call) -> tuple[Nic, ...]:
    """The first NIC is the default one."""
    nics: list[Nic] = []
    for index, wish in enumerate(_wishes(call)):
        if not knows(call.cloud, "network", wish.networkid):
            raise invalid_value(f"There is no network {wish.networkid}.")
        if any(nic.networkid == wish.networkid for nic in nics):
            raise invalid_value("A machine has at most one NIC in a network.")
        mac, ip = _mac(call.cloud, wish), _ip(call.cloud, wish)
        nics.append(Nic(str(uuid.uuid4()), wish.networkid, mac, ip, isdefault=index == 0, deviceid=index))
    return tuple(nics)


def _wishes(call: Call) -> list[_Wish]:
    listed, networks = mappings(call, "iptonetworklist"), items(call, "networkids")
    ip, mac = text(call, "ipaddress"), text(call, "macaddress")
    if listed:
        if networks or ip:
            raise invalid_value("iptonetworklist stands alone: neither networkids nor ipaddress go with it.")
        # By network: of two rows for one network the last counts, in the place of the first.
        rows = {row.get("networkid", ""): row for row in listed}
        wishes = [_Wish(network, row.get("ip"), row.get("mac")) for network, row in rows.items()]
    else:
        wishes = [_Wish(network) for network in networks]
    if not wishes:
        raise invalid_value("The account has more than one network: say which with networkids.")
    first = wishes[0]
    return [_Wish(first.networkid, first.ip or ip, first.mac or mac), *wishes[1:]]


def _used(cloud: Cloud, network_id: str) -> list[Nic]:
    return [nic for vm in cloud.vms.values() for nic in vm.nics if nic.networkid == network_id]


def _mac(cloud: Cloud, wish: _Wish) -> str:
    used = {nic.macaddress for nic in _used(cloud, wish.networkid)}
    if wish.mac is None:
        return "1e:00:" + secrets.token_bytes(4).hex(":")
    mac = wish.mac.lower().replace("-", ":")
    if not _MAC.match(mac):
        raise invalid_value(f"{wish.mac} is no MAC address.")
    if int(mac[:2], 16) & 1:
        raise invalid_value(f"{wish.mac} is not the MAC address of a single machine.")
    if mac in used:
        raise runtime(f"MAC address {mac} is used in network {wish.networkid} already.")
    return mac


def _ip(cloud: Cloud, wish: _Wish) -> str | None:
    network = catalogue.row("network", wish.networkid)
    if "cidr" not in network:
        if wish.ip is not None:
            raise invalid_value(f"Network {network['name']} is an L2 one: it has no address {wish.ip} to give.")
        return None
    cidr = ipaddress.ip_network(network["cidr"])
    used = {nic.ipaddress for nic in _used(cloud, wish.networkid)} | {network["gateway"]}
    if wish.ip is None:
        return next(str(host) for host in cidr.hosts() if str(host) not in used and int(host) & 0xFF >= 10)
    try:
        asked = ipaddress.ip_address(wish.ip)
    except ValueError:
        raise invalid_value(f"{wish.ip} is no IP address.") from None
    free = asked in cidr and str(asked) not in used
    if not free or asked in (cidr.network_address, cidr.broadcast_address):
        raise no_capacity(f"Address {wish.ip} cannot be had in network {network['name']} ({network['cidr']}).")
    return str(asked)
