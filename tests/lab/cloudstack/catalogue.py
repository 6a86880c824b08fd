"""What an administrator has set up before the lab starts: zones, offerings, networks, templates, guest OS types.

Ids are derived from names, so that every lab has the same ones and a failing test can be read.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from .model import GIB

_NAMESPACE = uuid.UUID("6d696772-6174-656b-6974-6c6162000000")
CREATED = "2025-01-01T00:00:00+0000"

Row = dict[str, Any]


def stable_id(kind: str, name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{name}"))


def _zone(name: str) -> Row:
    return {
        "id": stable_id("zone", name), "name": name, "dns1": "192.0.2.53", "internaldns1": "192.0.2.53",
        "networktype": "Advanced", "securitygroupsenabled": False, "allocationstate": "Enabled",
        "localstorageenabled": False, "zonetoken": stable_id("zonetoken", name), "dhcpprovider": "VirtualRouter",
        "type": "Core", "tags": [],
    }  # fmt: skip


def _service_offering(name: str, cpus: int | None, memory: int | None) -> Row:
    row: Row = {
        "id": stable_id("serviceoffering", name), "name": name, "displaytext": name, "cpuspeed": 1000,
        "created": CREATED, "storagetype": "shared", "provisioningtype": "thin", "offerha": False,
        "limitcpuuse": False, "isvolatile": False, "issystem": False, "defaultuse": False,
        "iscustomized": cpus is None, "dynamicscalingenabled": True, "diskofferingstrictness": False,
        "rootdisksize": 0, "state": "Active", "tags": [],
    }  # fmt: skip
    return row if cpus is None else row | {"cpunumber": cpus, "memory": memory}


def _constrained(name: str, speed: int | None, **bounds: int) -> Row:
    """A custom offering: without `speed` the caller chooses that as well, with bounds it is a constrained one."""
    row = {key: value for key, value in _service_offering(name, None, None).items() if key != "cpuspeed"}
    row |= {"cpuspeed": speed} if speed is not None else {}
    return row | ({"serviceofferingdetails": {key: str(value) for key, value in bounds.items()}} if bounds else {})


def _disk_offering(name: str, gib: int | None) -> Row:
    return {
        "id": stable_id("diskoffering", name), "name": name, "displaytext": name, "disksize": gib or 0,
        "created": CREATED, "iscustomized": gib is None, "iscustomizediops": False, "storagetype": "shared",
        "provisioningtype": "thin", "displayoffering": True, "disksizestrictness": False, "state": "Active",
    }  # fmt: skip


def _network(name: str, cidr: str, domain: str, vlan: int) -> Row:
    gateway = cidr.rsplit(".", 1)[0] + ".1"
    return {
        "id": stable_id("network", name), "name": name, "displaytext": name, "cidr": cidr, "gateway": gateway,
        "netmask": "255.255.255.0", "networkdomain": domain, "zoneid": ZONE, "zonename": "lab-zone-1",
        "networkofferingid": stable_id("networkoffering", "isolated"),
        "networkofferingname": "DefaultIsolatedNetworkOfferingWithSourceNatService",
        "networkofferingdisplaytext": "Isolated, with source NAT", "networkofferingconservemode": True,
        "networkofferingavailability": "Required", "issystem": False, "state": "Implemented",
        "related": stable_id("network", name), "broadcasturi": f"vlan://{vlan}", "broadcastdomaintype": "Vlan",
        "vlan": str(vlan), "dns1": "192.0.2.53", "type": "Isolated", "acltype": "Account", "traffictype": "Guest",
        "subdomainaccess": False, "restartrequired": False, "specifyipranges": False, "canusefordeploy": True,
        "ispersistent": False, "displaynetwork": True, "strechedl2subnet": False, "redundantrouter": False,
        "created": CREATED, "service": [{"name": "Dhcp"}, {"name": "SourceNat"}], "tags": [],
    }  # fmt: skip


def _other(name: str, kind: str, cidr: str | None, vlan: int) -> Row:
    """A shared network, or an L2 one, which has neither addresses nor services."""
    row = _network(name, cidr or "10.0.0.0/24", f"{name}.cloud.internal", vlan)
    row |= {"type": kind, "networkofferingname": f"Default{kind}NetworkOffering", "specifyipranges": cidr is not None}
    if cidr is not None:
        return row | {"acltype": "Domain", "service": [{"name": "Dhcp"}, {"name": "Dns"}]}
    return {key: value for key, value in row.items() if key not in ("cidr", "gateway", "netmask", "dns1")} | {
        "service": []
    }


_OS_TYPES = """
CentOS|CentOS 7;CentOS 8;CentOS Stream 9
Debian|Debian GNU/Linux 10 (64-bit);Debian GNU/Linux 11 (64-bit);Debian GNU/Linux 12 (64-bit)
RedHat|Red Hat Enterprise Linux 6 (64-bit);Red Hat Enterprise Linux 7.0;Red Hat Enterprise Linux 8.0
RedHat|Red Hat Enterprise Linux 9.0;Rocky Linux 8;Rocky Linux 9;AlmaLinux 8;AlmaLinux 9
Oracle|Oracle Linux 7;Oracle Linux 8;Oracle Linux 9
SUSE|SUSE Linux Enterprise Server 12 (64-bit);SUSE Linux Enterprise Server 15 (64-bit);openSUSE Leap 15
Ubuntu|Ubuntu 18.04 LTS;Ubuntu 20.04 LTS;Ubuntu 22.04 LTS;Ubuntu 24.04 LTS
Unix|FreeBSD 12 (64-bit);FreeBSD 13 (64-bit);FreeBSD 14 (64-bit)
Windows|Windows 7 (64-bit);Windows 10 (64-bit);Windows 11 (64-bit);Windows Server 2008 R2 (64-bit)
Windows|Windows Server 2012 (64-bit);Windows Server 2012 R2 (64-bit);Windows Server 2016 (64-bit)
Windows|Windows Server 2019 (64-bit);Windows Server 2022 (64-bit);Windows Server 2025 (64-bit)
Other|Other (32-bit);Other (64-bit);Other Linux (32-bit);Other Linux (64-bit);Other PV (64-bit)
"""


def _os_types() -> list[Row]:
    rows = []
    for line in _OS_TYPES.strip().splitlines():
        category, names = line.split("|")
        rows += [
            {"id": stable_id("ostype", name), "oscategoryid": stable_id("oscategory", category),
             "oscategoryname": category, "name": name, "description": name, "isuserdefined": False}
            for name in names.split(";")
        ]  # fmt: skip
    return rows


def _template(name: str, os_name: str) -> Row:
    return {
        "id": stable_id("template", name), "name": name, "displaytext": name, "ispublic": True, "created": CREATED,
        "isready": True, "passwordenabled": False, "format": "QCOW2", "isfeatured": True, "crossZones": False,
        "ostypeid": stable_id("ostype", os_name), "ostypename": os_name, "zoneid": ZONE, "zonename": "lab-zone-1",
        "status": "Download Complete", "size": GIB, "physicalsize": 1 << 20, "templatetype": "USER",
        "hypervisor": "KVM", "isextractable": True, "sshkeyenabled": False, "isdynamicallyscalable": False,
        "directdownload": False, "deployasis": False, "requireshvm": True, "tags": [],
    }  # fmt: skip


ZONE = stable_id("zone", "lab-zone-1")
LOOPBACK = f"127.{10 + secrets.randbelow(240)}"
"""Two labs on one host must not have the same addresses."""
POOL = stable_id("storagepool", "lab-primary")
HOST = stable_id("host", "lab-kvm-1")
ROOT_DOMAIN = stable_id("domain", "ROOT")
OMA_VM = stable_id("virtualmachine", "oma01")

ZONES = [_zone("lab-zone-1"), _zone("lab-zone-2")]
SERVICE_OFFERINGS = [
    _service_offering("Small Instance", 1, 1024),
    _service_offering("Medium Instance", 2, 4096),
    _service_offering("Custom Instance", None, None),
    _constrained("Custom Bounded", 1000, mincpunumber=1, maxcpunumber=4, minmemory=1024, maxmemory=8192),
    _constrained("Custom Free", None),
]
DISK_OFFERINGS = [_disk_offering("Small", 5), _disk_offering("Medium", 20), _disk_offering("Custom", None)]
NETWORKS = [
    _network("guest-prod", "10.1.1.0/24", "prod.cloud.internal", 101),
    _network("migration-test", "10.99.0.0/24", "test.cloud.internal", 199),
    # Whose machines, if they boot, can be reached from here.
    _network("reachable-prod", f"{LOOPBACK}.1.0/24", "reach.cloud.internal", 201),
    _network("reachable-test", f"{LOOPBACK}.2.0/24", "reach-test.cloud.internal", 299),
    _other("guest-dmz", "Shared", "10.50.0.0/24", 150),
    _other("legacy-l2", "L2", None, 160),
]
OS_TYPES = _os_types()
TEMPLATES = [
    _template("migratekit-shell", "Other Linux (64-bit)"),
    _template("debian-12", "Debian GNU/Linux 12 (64-bit)"),
]
HOSTS: list[Row] = [{
    "id": HOST, "name": "lab-kvm-1", "state": "Up", "type": "Routing", "ipaddress": "192.0.2.11", "zoneid": ZONE,
    "zonename": "lab-zone-1", "podid": stable_id("pod", "lab"), "podname": "lab", "hypervisor": "KVM",
    "clusterid": stable_id("cluster", "lab"), "clustername": "lab", "clustertype": "CloudManaged",
    "cpunumber": 32, "cpuspeed": 2400, "memorytotal": 128 * GIB, "created": CREATED, "resourcestate": "Enabled",
    "hahost": False, "ueficapability": True,
}]  # fmt: skip

_TABLES = {
    "zone": ZONES, "serviceoffering": SERVICE_OFFERINGS, "diskoffering": DISK_OFFERINGS, "network": NETWORKS,
    "ostype": OS_TYPES, "template": TEMPLATES, "host": HOSTS,
}  # fmt: skip
_BY_ID: dict[str, dict[str, Row]] = {kind: {row["id"]: row for row in rows} for kind, rows in _TABLES.items()}


def row(kind: str, entity_id: str) -> Row:
    return _BY_ID[kind][entity_id]


def has(kind: str, entity_id: str) -> bool:
    return entity_id in _BY_ID.get(kind, {})
