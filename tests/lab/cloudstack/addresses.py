"""Which networks a new machine gets, with which IP and hardware addresses."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import catalogue
from .call import Call, items, mappings, text
from .errors import ApiError, invalid_value
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
        mac, ip = _mac(call.cloud, wish), _ip(call.cloud, wish, nics)
        nics.append(Nic(str(uuid.uuid4()), wish.networkid, mac, ip, isdefault=index == 0, deviceid=index))
    return tuple(nics)


def _wishes(call: Call) -> list[_Wish]:
    listed, networks = mappings(call, "iptonetworklist"), items(call, "networkids")
    ip, mac = text(call, "ipaddress"), text(call, "macaddress")
    if listed:
        if networks or ip:
            raise invalid_value("ipToNetworkMap can't be specified along with networkIds or ipAddress")
        # By network: of two rows for one network the last counts, in the place of the first.
        rows = {row.get("networkid", ""): row for row in listed}
        wishes = [_Wish(network, row.get("ip"), row.get("mac")) for network, row in rows.items()]
    else:
        wishes = [_Wish(network) for network in networks]
    if not wishes:
        wishes = [_Wish(_default_network(call))]
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
        raise invalid_value(f"Mac address is not valid: {wish.mac}")
    if int(mac[:2], 16) & 1:
        raise invalid_value(f"Mac address is not unicast: {wish.mac}")
    if mac in used:
        raise invalid_value(f"The requested Mac address is already taken! {mac}")
    return mac


def _ip(cloud: Cloud, wish: _Wish, others: list[Nic]) -> str | None:
    """The address of a card. An L2 network has none to give, and drops the one that is asked for without a word."""
    network = catalogue.row("network", wish.networkid)
    if "cidr" not in network:
        return None
    hosts = _pool(network)
    used = {nic.ipaddress for nic in (*_used(cloud, wish.networkid), *others)} | {
        network["gateway"],
        network["_router"],
    }
    if wish.ip is None:
        return next(str(host) for host in hosts if str(host) not in used)
    try:
        asked = ipaddress.ip_address(wish.ip)
    except ValueError:
        raise invalid_value(f"Invalid specified IPv4 address {wish.ip}") from None
    if network["type"] == "Shared" and (asked not in hosts or str(asked) in used):
        raise ApiError(530, 0, "Insufficient address capacity")
    inside = asked in ipaddress.ip_network(network["cidr"])
    if not inside or str(asked) in used or asked.packed[-1] in (0, 255):
        row = {"id": 1, "name": network["name"], "uuid": network["id"], "networkofferingid": 1}
        raise ApiError(530, 0, f"Unable to acquire Guest IP address for network Network {json.dumps(row)}")
    return str(asked)


def _pool(network: Mapping[str, Any]) -> list[ipaddress.IPv4Address]:
    """The addresses that a network gives by itself."""
    hosts = [host for host in ipaddress.IPv4Network(network["cidr"]).hosts() if host.packed[-1] >= 10]
    if network["_addresses"] is None:
        return hosts
    first, last = (ipaddress.IPv4Address(one) for one in network["_addresses"])
    return [host for host in hosts if first <= host <= last]


def _default_network(call: Call) -> str:
    """The network of a zone with security groups; elsewhere one has to say which."""
    for row in catalogue.rows("network"):
        if row["zoneid"] == text(call, "zoneid") and row["_security_groups"]:
            return str(row["id"])
    who = json.dumps({"accountName": call.account.name, "id": 1, "uuid": call.account.id})
    raise invalid_value(
        f"More than 1 default Isolated networks are found for account Account [{who}]; please specify networkIds"
    )
