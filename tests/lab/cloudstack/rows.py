"""What an administrator sets up, as the lists show it: one function per kind of row. The catalogue is made of them.

Ids are derived from names, so that every lab has the same ones and a failing test can be read.
"""

from __future__ import annotations

import uuid
from typing import Any

from .model import GIB

_NAMESPACE = uuid.UUID("6d696772-6174-656b-6974-6c6162000000")
CREATED = "2025-01-01T00:00:00+0000"

Row = dict[str, Any]


def stable_id(kind: str, name: str) -> str:
    """Return the id of a thing that has the same one in every lab."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{name}"))


def zone(name: str, *, id: str | None = None, security_groups: bool = False) -> Row:
    """An advanced zone."""
    return {
        "id": id or stable_id("zone", name), "name": name, "dns1": "192.0.2.53", "internaldns1": "192.0.2.53",
        "networktype": "Advanced", "securitygroupsenabled": security_groups, "allocationstate": "Enabled",
        "localstorageenabled": False, "zonetoken": stable_id("zonetoken", name), "dhcpprovider": "VirtualRouter",
        "type": "Core", "tags": [],
    }  # fmt: skip


def service_offering(
    name: str, cpus: int | None, memory: int | None, *, id: str | None = None, speed: int | None = 1000,
    bounds: dict[str, str] | None = None, rootdisksize: int = 0, storage_tag: str | None = None,
) -> Row:  # fmt: skip
    """A compute offering. Without `cpus` it is a custom one; without `speed` the caller chooses that as well."""
    row: Row = {
        "id": id or stable_id("serviceoffering", name), "name": name, "displaytext": name,
        "created": CREATED, "storagetype": "shared", "provisioningtype": "thin", "offerha": False,
        "limitcpuuse": False, "isvolatile": False, "issystem": False, "defaultuse": False,
        "iscustomized": cpus is None, "dynamicscalingenabled": True, "diskofferingstrictness": False,
        "rootdisksize": rootdisksize, "state": "Active", "tags": [],
    }  # fmt: skip
    row |= {"cpuspeed": speed} if speed is not None else {}
    row |= {"serviceofferingdetails": bounds} if bounds else {}
    row |= {"storagetags": storage_tag} if storage_tag else {}
    return row if cpus is None else row | {"cpunumber": cpus, "memory": memory}


def disk_offering(
    name: str, gib: int | None, *, id: str | None = None, displaytext: str | None = None, tag: str | None = None,
    encrypt: bool = False, custom_iops: bool = False, local: bool = False, strict: bool = False,
    cache_mode: str | None = None, domain: tuple[str, str] | None = None, zone: tuple[str, str] | None = None,
) -> Row:  # fmt: skip
    """A disk offering; without `gib` the caller chooses the size. `domain` and `zone` are (id, name)."""
    return {
        "id": id or stable_id("diskoffering", name), "name": name, "displaytext": name, "disksize": gib or 0,
        "created": CREATED, "iscustomized": gib is None, "iscustomizediops": False, "storagetype": "shared",
        "provisioningtype": "thin", "displayoffering": True, "disksizestrictness": False, "state": "Active",
    }  # fmt: skip


def network(
    name: str, cidr: str | None, domain: str, vlan: int, *, id: str | None = None, kind: str = "Isolated",
    zone: tuple[str, str] | None = None, owner: str | None = None, addresses: tuple[str, str] | None = None,
    security_groups: bool = False, state: str = "Implemented", vpc: tuple[str, str] | None = None,
) -> Row:  # fmt: skip
    """A guest network. `zone` and `vpc` are (id, name); `addresses` are the first and the last one it gives."""
    zone_id, zone_name = zone or (stable_id("zone", "lab-zone-1"), "lab-zone-1")
    row: Row = {
        "id": id or stable_id("network", name), "name": name, "displaytext": name,
        "networkdomain": domain, "zoneid": zone_id, "zonename": zone_name,
        "networkofferingid": stable_id("networkoffering", "isolated"),
        "networkofferingname": "DefaultIsolatedNetworkOfferingWithSourceNatService",
        "networkofferingdisplaytext": "Isolated, with source NAT", "networkofferingconservemode": True,
        "networkofferingavailability": "Required", "issystem": False, "state": "Implemented",
        "related": stable_id("network", name), "broadcasturi": f"vlan://{vlan}", "broadcastdomaintype": "Vlan",
        "vlan": str(vlan), "dns1": "192.0.2.53", "type": kind, "acltype": "Account", "traffictype": "Guest",
        "subdomainaccess": False, "restartrequired": False, "specifyipranges": False, "canusefordeploy": True,
        "ispersistent": False, "displaynetwork": True, "strechedl2subnet": False, "redundantrouter": False,
        "created": CREATED, "service": [{"name": "Dhcp"}, {"name": "SourceNat"}], "tags": [],
    }  # fmt: skip
    row |= {"account": owner} if owner else {}
    if cidr:
        row |= {"cidr": cidr, "gateway": cidr.rsplit(".", 1)[0] + ".1", "netmask": "255.255.255.0"}
    if kind == "Isolated":
        return row
    row |= {"networkofferingname": f"Default{kind}NetworkOffering", "specifyipranges": cidr is not None}
    if cidr is not None:
        return row | {"acltype": "Domain", "service": [{"name": "Dhcp"}, {"name": "Dns"}]}
    return {key: value for key, value in row.items() if key != "dns1"} | {"service": []}


def os_type(name: str, category: str, *, id: str | None = None) -> Row:
    """A guest operating system that one can name."""
    return {
        "id": id or stable_id("ostype", name), "oscategoryid": stable_id("oscategory", category),
        "oscategoryname": category, "name": name, "description": name, "isuserdefined": False,
    }  # fmt: skip


def template(
    name: str, os_type: Row, *, id: str | None = None, zone: tuple[str, str] | None = None, hypervisor: str = "KVM",
    size: int = GIB,
) -> Row:  # fmt: skip
    """A template in one zone, (id, name)."""
    zone_id, zone_name = zone or (stable_id("zone", "lab-zone-1"), "lab-zone-1")
    return {
        "id": id or stable_id("template", name), "name": name, "displaytext": name, "ispublic": True,
        "created": CREATED, "isready": True, "passwordenabled": False, "format": "QCOW2", "isfeatured": True,
        "crossZones": False, "ostypeid": os_type["id"], "ostypename": os_type["name"], "zoneid": zone_id,
        "zonename": zone_name, "status": "Download Complete", "size": size, "physicalsize": 1 << 20,
        "templatetype": "USER", "hypervisor": hypervisor, "isextractable": True, "sshkeyenabled": False,
        "isdynamicallyscalable": False, "directdownload": False, "deployasis": False, "requireshvm": True, "tags": [],
    }  # fmt: skip


def host(name: str, zone: tuple[str, str], *, id: str | None = None, hypervisor: str = "KVM", uefi: bool = True) -> Row:
    """A host in a zone, (id, name)."""
    return {
        "id": id or stable_id("host", name), "name": name, "state": "Up", "type": "Routing",
        "ipaddress": "192.0.2.11", "zoneid": zone[0], "zonename": zone[1], "podid": stable_id("pod", "lab"),
        "podname": "lab", "hypervisor": hypervisor, "clusterid": stable_id("cluster", "lab"), "clustername": "lab",
        "clustertype": "CloudManaged", "cpunumber": 32, "cpuspeed": 2400, "memorytotal": 128 * GIB,
        "created": CREATED, "resourcestate": "Enabled", "hahost": False, "ueficapability": uefi,
    }  # fmt: skip
