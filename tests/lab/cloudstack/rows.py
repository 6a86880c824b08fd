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
    """An advanced zone, as an administrator sees it."""
    row: Row = {
        "id": id or stable_id("zone", name), "name": name, "dns1": "192.0.2.53", "internaldns1": "192.0.2.53",
        "networktype": "Advanced", "securitygroupsenabled": security_groups, "allocationstate": "Enabled",
        "localstorageenabled": False, "zonetoken": stable_id("zonetoken", name), "dhcpprovider": "VirtualRouter",
        "type": "Core", "tags": [], "allowuserspecifyvrmtu": False, "asnrange": "", "gputotal": 0, "gpuused": 0,
        "hasannotations": False, "ismultiarch": False, "isnsxenabled": False, "routedmodeenabled": True,
        "routerprivateinterfacemaxmtu": 1500, "routerpublicinterfacemaxmtu": 1500,
    }  # fmt: skip
    return row if security_groups else row | {"guestcidraddress": "10.1.1.0/24"}


ZONE_FOR_ADMINISTRATORS = frozenset({"dns1", "internaldns1", "guestcidraddress"})
"""Fields of a zone that users do not see."""


def service_offering(
    name: str, cpus: int | None, memory: int | None, *, id: str | None = None, speed: int | None = 1000,
    bounds: dict[str, str] | None = None, rootdisksize: int = 0, storage_tag: str | None = None, gpu: bool = False,
) -> Row:  # fmt: skip
    """A compute offering. Without `cpus` it is a custom one; without `speed` the caller chooses that as well."""
    row: Row = {
        "id": id or stable_id("serviceoffering", name), "name": name, "displaytext": name,
        "created": CREATED, "storagetype": "shared", "provisioningtype": "thin", "offerha": False,
        "limitcpuuse": False, "isvolatile": False, "issystem": False, "defaultuse": False,
        "iscustomized": cpus is None, "dynamicscalingenabled": True, "diskofferingstrictness": False,
        "diskofferingid": stable_id("computediskoffering", name), "diskofferingname": name,
        "diskofferingdisplaytext": name, "encryptroot": False, "hasannotations": False,
        "rootdisksize": rootdisksize, "state": "Active",
    }  # fmt: skip
    row |= {"cpuspeed": speed} if speed is not None else {}
    row |= {"serviceofferingdetails": bounds} if bounds else {}
    row |= {"storagetags": storage_tag} if storage_tag else {}
    row |= {"gpudisplay": False} if gpu else {}
    return row if cpus is None else row | {"cpunumber": cpus, "memory": memory}


def disk_offering(
    name: str, gib: int | None, *, id: str | None = None, displaytext: str | None = None, tag: str | None = None,
    encrypt: bool = False, custom_iops: bool = False, local: bool = False, strict: bool = False,
    cache_mode: str | None = None, domain: tuple[str, str] | None = None, zone: tuple[str, str] | None = None,
) -> Row:  # fmt: skip
    """A disk offering; without `gib` the caller chooses the size. `domain` and `zone` are (id, name)."""
    row: Row = {
        "id": id or stable_id("diskoffering", name), "name": name, "displaytext": displaytext or name,
        "disksize": gib or 0, "created": CREATED, "iscustomized": gib is None, "encrypt": encrypt,
        "storagetype": "local" if local else "shared", "provisioningtype": "thin", "displayoffering": True,
        "disksizestrictness": strict, "state": "Active", "hasannotations": False,
    }  # fmt: skip
    row |= {"iscustomizediops": True} if custom_iops else {}
    row |= {"tags": tag} if tag else {}
    row |= {"cacheMode": cache_mode} if cache_mode else {}
    row |= {"domainid": domain[0], "domain": domain[1]} if domain else {}
    row |= {"zoneid": zone[0], "zone": zone[1]} if zone else {}
    return row | ({"details": {"domainid": "2"} if domain else {"zoneid": "2"}} if domain or zone else {})


def network(
    name: str, cidr: str | None, domain: str, vlan: int, *, id: str | None = None, kind: str = "Isolated",
    zone: tuple[str, str] | None = None, owner: str | None = None, addresses: tuple[str, str] | None = None,
    router: str | None = None,
    security_groups: bool = False, state: str = "Implemented", vpc: tuple[str, str] | None = None,
) -> Row:  # fmt: skip
    """A guest network. `zone` and `vpc` are (id, name); `addresses` are the first and the last one it gives, and
    `router` is the one that its virtual router has, which users are not told.

    What begins with an underscore is the double's own and no field of the API.
    """
    network_id, offering = id or stable_id("network", name), _NETWORK_OFFERINGS[_offering(kind, vpc, security_groups)]
    zone_id, zone_name = zone or (stable_id("zone", "lab-zone-1"), "lab-zone-1")
    row: Row = {
        "id": network_id, "related": network_id, "name": name, "displaytext": name, "type": kind, "state": state,
        "zoneid": zone_id, "zonename": zone_name, "physicalnetworkid": stable_id("physicalnetwork", zone_name),
        "networkofferingid": stable_id("networkoffering", offering[0]), "networkofferingname": offering[0],
        "networkofferingdisplaytext": offering[1], "networkofferingavailability": offering[2],
        "networkofferingconservemode": True, "broadcastdomaintype": "Vlan", "traffictype": "Guest",
        "acltype": "Domain" if kind == "Shared" else "Account", "dns1": "192.0.2.53", "issystem": False,
        "restartrequired": False, "specifyipranges": kind == "Shared", "specifyvlan": kind == "Shared",
        "canusefordeploy": True, "ispersistent": False, "strechedl2subnet": False, "redundantrouter": False,
        "supportsvmautoscaling": kind == "Isolated", "privatemtu": 1500, "publicmtu": 1500, "receivedbytes": 0,
        "sentbytes": 0, "hasannotations": False, "created": CREATED, "tags": [],
        "service": [_service(one, "VpcVirtualRouter" if vpc else "VirtualRouter") for one in offering[3].split()],
        "_owner": owner, "_vlan": vlan, "_addresses": addresses, "_router": router,
        "_security_groups": security_groups,
    }  # fmt: skip
    if cidr:
        gateway = cidr.rsplit(".", 1)[0] + ".1"
        row |= {"cidr": cidr, "gateway": gateway, "netmask": "255.255.255.0", "networkdomain": domain}
    row |= {"subdomainaccess": True} if kind == "Shared" else {}
    row |= {"egressdefaultpolicy": False} if kind == "Isolated" and not vpc else {}
    return row | ({"vpcid": vpc[0], "vpcname": vpc[1]} if vpc else {})


def shown(row: Row) -> Row:
    """A row without what is the double's own."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


def _offering(kind: str, vpc: tuple[str, str] | None, security_groups: bool) -> str:
    if kind == "Isolated":
        return "vpc" if vpc else "isolated"
    return "security groups" if security_groups else kind.lower()


_NETWORK_OFFERINGS = {
    "isolated": (
        "DefaultIsolatedNetworkOfferingWithSourceNatService",
        "Offering for Isolated networks with Source Nat service enabled", "Required",
        "Dns Firewall SourceNat StaticNat Vpn Dhcp PortForwarding UserData Lb",
    ),
    "vpc": (
        "DefaultIsolatedNetworkOfferingForVpcNetworks",
        "Offering for Isolated Vpc networks with Source Nat service enabled", "Optional",
        "NetworkACL Dns SourceNat StaticNat Vpn Dhcp PortForwarding UserData Lb",
    ),
    "shared": ("DefaultSharedNetworkOffering", "Offering for Shared networks", "Optional", "Dns Dhcp UserData"),
    "security groups": (
        "DefaultSharedNetworkOfferingWithSGService", "Offering for Shared Security group enabled networks",
        "Optional", "Dns SecurityGroup Dhcp UserData",
    ),
    "l2": ("DefaultL2NetworkOffering", "Offering for L2 networks", "Optional", ""),
}  # fmt: skip
"""Name, description, availability and services of the offerings that every CloudStack has."""

_CAPABILITIES = {
    "Dns": {"AllowDnsSuffixModification": "true"}, "Dhcp": {"DhcpAccrossMultipleSubnets": "true"},
    "Firewall": {"SupportedProtocols": "tcp,udp,icmp", "TrafficStatistics": "per public ip"},
    "NetworkACL": {"SupportedProtocols": "tcp,udp,icmp"}, "Vpn": {"SupportedVpnTypes": "pptp,l2tp,ipsec"},
    "SourceNat": {"SupportedSourceNatTypes": "peraccount", "RedundantRouter": "false"},
    "StaticNat": {"ElasticIp": "false", "AssociatePublicIP": "true"},
    "PortForwarding": {"SupportedProtocols": "tcp,udp"},
    "Lb": {"SupportedLbAlgorithms": "roundrobin,leastconn,source", "LbSchemes": "Public"},
}  # fmt: skip


def _service(name: str, router: str) -> Row:
    provider = "SecurityGroupProvider" if name == "SecurityGroup" else router
    capabilities = [
        {"canchooseservicecapability": name == "SourceNat", "name": key, "value": value}
        for key, value in _CAPABILITIES.get(name, {}).items()
    ]
    return {"name": name, "capability": capabilities, "provider": [{"name": provider}]}


def os_type(name: str, category: str, *, id: str | None = None) -> Row:
    """A guest operating system that one can name."""
    return {
        "id": id or stable_id("ostype", name), "oscategoryid": stable_id("oscategory", category),
        "oscategoryname": category, "name": name, "description": name, "isuserdefined": False, "fordisplay": True,
    }  # fmt: skip


def template(
    name: str, os_type: Row, *, id: str | None = None, zone: tuple[str, str] | None = None, hypervisor: str = "KVM",
    size: int = GIB, ready: bool = True,
) -> Row:  # fmt: skip
    """A template in one zone, (id, name). One that is not ready is in no list that a user can ask for."""
    zone_id, zone_name = zone or (stable_id("zone", "lab-zone-1"), "lab-zone-1")
    return {
        "id": id or stable_id("template", name), "name": name, "displaytext": name, "ispublic": True,
        "created": CREATED, "isready": ready, "passwordenabled": False, "isfeatured": True,
        "format": "QCOW2" if hypervisor == "KVM" else "VHD", "crossZones": True, "ostypeid": os_type["id"],
        "ostypename": os_type["name"], "zoneid": zone_id, "zonename": zone_name, "size": size, "physicalsize": 1 << 20,
        "templatetype": "USER" if hypervisor == "KVM" else "BUILTIN", "hypervisor": hypervisor, "isextractable": True,
        "sshkeyenabled": False, "isdynamicallyscalable": False, "directdownload": False, "deployasis": False,
        "requireshvm": True, "tags": [], "arch": "x86_64", "bits": 0, "checksum": "", "details": {}, "forcks": False,
        "downloaddetails": [{"datastore": "lab-secondary", "downloadPercent": "100", "downloadState": "DOWNLOADED"}],
        "hasannotations": False,
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


def storage_pool(name: str, host: Row, scope: str, *, id: str | None = None, tag: str | None = None) -> Row:
    """A pool of primary storage for the host's zone, or for its cluster; its sizes are not in it."""
    row: Row = {
        "id": id or stable_id("storagepool", name), "name": name, "zoneid": host["zoneid"],
        "zonename": host["zonename"], "ipaddress": "192.0.2.20", "path": "/export/primary", "created": CREATED,
        "details": {}, "type": "NetworkFilesystem", "scope": scope, "state": "Up", "hypervisor": host["hypervisor"],
        "overprovisionfactor": "2.0", "provider": "DefaultPrimary", "hasannotations": False, "istagarule": False,
        "managed": False, "capacityiops": 1000000, "usediops": 0,
        "storagecapabilities": {"VOLUME_SNAPSHOT_QUIESCEVM": "false"},
    }  # fmt: skip
    row |= {"tags": tag} if tag else {}
    if scope == "CLUSTER":
        row |= {key: host[key] for key in ("clusterid", "clustername", "podid", "podname")}
    return row
