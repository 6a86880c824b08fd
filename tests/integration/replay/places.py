"""The two servers that were recorded: their accounts, zones, networks, offerings and templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab.cloudstack import catalogue, rows
from tests.lab.cloudstack.model import GIB

from .facts import Facts

USER, ROOT_ADMIN, DOMAIN_ADMIN = 0, 1, 2


@dataclass(frozen=True)
class Who:
    """An account: its domain, and what it is."""

    name: str
    domain: str
    kind: int = USER


@dataclass(frozen=True)
class Place:
    """One server. Domains are path to id."""

    domains: Mapping[str, str]
    accounts: tuple[Who, ...]
    projects: Mapping[str, tuple[str, str]]


PLACES = {
    "first": Place({"ROOT": "b556b03f-ec9a-11f1-8307-02fc00000001"}, (Who("mig", "ROOT"),), {}),
    "more": Place(
        {
            "ROOT": "f349a5b9-ecab-11f1-8f90-02fc00000001",
            "ROOT/tenant1": "238dea8e-9477-4f7e-bc6d-bb05126d6a9b",
            "ROOT/tenant1/team-a": "5a575844-cc7a-429f-ab22-2facad8554a8",
            "ROOT/tenant2": "04dc94bb-d810-4f57-a981-4a3ae7c556a7",
        },
        (
            Who("mig", "ROOT"),
            Who("other", "ROOT"),
            Who("t1admin", "ROOT/tenant1", DOMAIN_ADMIN),
            Who("t1user", "ROOT/tenant1"),
            Who("t1user2", "ROOT/tenant1"),
            Who("team", "ROOT/tenant1/team-a"),
            Who("t2user", "ROOT/tenant2"),
            Who("rootadm", "ROOT", ROOT_ADMIN),
        ),
        {
            "723c4fd7-c1f2-43c0-b7ca-af87c4fa39de": ("proj1", "Project one"),
            "73777908-c41f-4073-b4f5-e0f899d2f1ca": ("mk-proj", "mk-proj"),
        },
    ),
}

CUSTOM_BOUNDS = {"mincpunumber": "1", "maxcpunumber": "8", "minmemory": "256", "maxmemory": "8192"}
KVM_TEMPLATE = "f334c386-ecab-11f1-8f90-02fc00000001"
ZONE_WIDE_OFFERING = "8e207ff7-85f0-48dc-b7e0-9c89d22f3c56"
HOSTS = ("45f7335e-6ae9-453f-bfb1-f3b4fad09da6", "983394e9-7738-4d5c-9bec-dd6b13e8412a")
PROJECT_ACCOUNT = "PrjAcct-proj1-1"
SECURITY_GROUPS = (
    ("ea905979-7178-414f-8067-368a4101e43b", "web", "web", "mig"),
    ("33614c6d-33db-4683-9569-1537ee36a6e9", "default", "Default Security Group", "mig"),
    ("176f2250-0390-41fe-8d31-81fe3a16c6a4", "default", "Default Security Group", PROJECT_ACCOUNT),
)
AFFINITY_GROUPS = (
    ("8849bf9b-a0e9-4ad7-a500-9f1726fba9c9", "aa", "apart", "mig"),
    ("312bf605-cc6c-4582-b53f-a989074fa0ac", "paa", "apart", PROJECT_ACCOUNT),
)
"""Id, name, description and owner."""
POOLS = (
    ("7c07ec9b-a3c6-3466-ab5a-f5669ead0b22", "PS0", "CLUSTER", None),
    ("0bbd54fe-b348-3e3d-9b91-b453a21bc43a", "PS2", "CLUSTER", None),
    ("5d975d74-aac2-39db-b187-1d1c8a95235a", "ZPS", "ZONE", "zw"),
)
"""Id, name, scope and tag."""
USER_DATA = ("7b8b9d00-5b23-4a5d-a59e-4103209af4c2", "66ca5b4c-ec26-42cc-ad9e-ae9f0a77d34c")
_SHARED_RANGE = re.compile(r"^(\d+\.\d+\.\d+)\.")
SHARED_RANGES = {"shared1": (10, 50), "sim-sg-sgnet": (10, 200)}
"""The addresses that the two shared networks give: .10 to .50, .10 to .200."""


def tables(server: str, facts: Facts) -> catalogue.Tables:
    """The catalogue of a server, its rows made by the double's own functions."""
    zones = [
        rows.zone(one["name"], id=one["id"], security_groups=one["name"].endswith("-sg"))
        for one in facts.all("zone")
        if "networktype" in one
    ]
    by_name = {one["name"]: (one["id"], one["name"]) for one in zones}
    systems = _systems(facts)
    return {
        "zone": zones,
        "serviceoffering": [_service_offering(one) for one in facts.all("serviceoffering")],
        "diskoffering": _disk_offerings(server, facts),
        "network": [_network(one, by_name) for one in facts.all("network")],
        "ostype": systems,
        "template": _templates(server, facts, systems, by_name),
        "host": [
            rows.host(f"sim-host-{one}", by_name["sim-zone"], id=one, hypervisor="Simulator", uefi=False)
            for one in HOSTS
        ],
        "securitygroup": [_group(one) for one in SECURITY_GROUPS],
        "affinitygroup": [_group(one) for one in AFFINITY_GROUPS],
        "vpc": [{"id": one["vpcid"]} for one in facts.all("network") if "vpcid" in one],
        "storagepool": _pools(server, by_name["sim-zone"]),
        "keypair": [{"id": name, "name": name, "_owner": "mig"} for name in ("krsa", "kgen")],
        "userdata": [{"id": one, "name": f"ud{n}"} for n, one in enumerate(USER_DATA)],
    }


def _pools(server: str, zone: tuple[str, str]) -> list[rows.Row]:
    host = rows.host("sim-host", zone, hypervisor="Simulator")
    if server == "first":
        return [rows.storage_pool("PS0", host, "CLUSTER")]
    return [rows.storage_pool(name, host, scope, id=one, tag=tag) for one, name, scope, tag in POOLS]


def _group(told: tuple[str, str, str, str]) -> rows.Row:
    return dict(zip(("id", "name", "description", "_owner"), told, strict=True))


def _service_offering(seen: Mapping[str, Any]) -> rows.Row:
    bounds = CUSTOM_BOUNDS if seen["name"] == "custom" else None
    return rows.service_offering(
        seen["name"], seen.get("cpunumber"), seen.get("memory"), id=seen["id"], speed=seen.get("cpuspeed"),
        bounds=bounds, rootdisksize=seen["rootdisksize"], storage_tag="zw" if seen["name"] == "small-zw" else None,
        gpu="gpudisplay" in seen,
    )  # fmt: skip


def _disk_offerings(server: str, facts: Facts) -> list[rows.Row]:
    found = []
    for one in facts.all("diskoffering"):
        domain, zone = one.get("domain"), one.get("zone")
        found.append(rows.disk_offering(
            one["name"], None if one["iscustomized"] else one["disksize"], id=one["id"],
            displaytext=one["displaytext"], tag=one.get("tags"), encrypt=one["encrypt"],
            custom_iops=one.get("iscustomizediops", False), local=one["storagetype"] == "local",
            strict=one["disksizestrictness"], cache_mode=one.get("cacheMode"),
            domain=(one["domainid"], domain) if domain else None, zone=(one["zoneid"], zone) if zone else None,
        ))  # fmt: skip
    if server == "first":
        found.append(rows.disk_offering("Custom", None, id="154f81ae-284a-4568-9fb3-069b410da980"))
    else:
        found.append(rows.disk_offering("zonewide", None, id=ZONE_WIDE_OFFERING, tag="zw"))
    return found


def _network(seen: Mapping[str, Any], zones: Mapping[str, tuple[str, str]]) -> rows.Row:
    cidr, name = seen.get("cidr"), seen["name"]
    first, last = SHARED_RANGES.get(name, (0, 0))
    addresses = None
    if last and cidr:
        base = cidr.rsplit(".", 1)[0]
        addresses = (f"{base}.{first}", f"{base}.{last}")
    domain = seen.get("networkdomain", "cs4cloud.internal")
    owner = seen.get("account") or (f"PrjAcct-{seen['project']}-1" if "project" in seen else None)
    return rows.network(
        name, cidr, domain, 101, id=seen["id"], kind=seen["type"], zone=zones[seen["zonename"]], owner=owner,
        addresses=addresses, security_groups=name.endswith("sgnet"), state=seen["state"],
        vpc=(seen["vpcid"], seen["vpcname"]) if "vpcid" in seen else None,
    )  # fmt: skip


def _systems(facts: Facts) -> list[rows.Row]:
    found = {one["id"]: (one["name"], one["oscategoryname"]) for one in facts.all("ostype")}
    for machine in facts.all("virtualmachine"):
        found.setdefault(machine["ostypeid"], (machine["osdisplayname"], "CentOS"))
    for template in facts.all("template"):
        found.setdefault(template["ostypeid"], (template["ostypename"], "CentOS"))
    found.setdefault("fdf18089-ecab-11f1-8f90-02fc00000001", ("Windows Server 2019 (64-bit)", "Windows"))
    found.setdefault("b8b8455e-ec9a-11f1-8307-02fc00000001", ("AlmaLinux 8", "AlmaLinux"))
    return [rows.os_type(name, category, id=one) for one, (name, category) in found.items()]


def _templates(
    server: str, facts: Facts, systems: list[rows.Row], zones: Mapping[str, tuple[str, str]]
) -> list[rows.Row]:
    """Each template in each zone that it was seen in; the KVM one cannot be used, so no list has it."""
    by_id = {one["id"]: one for one in systems}
    found = [
        rows.template(
            one["name"], by_id[one["ostypeid"]], id=one["id"], zone=zone, hypervisor=one["hypervisor"], size=one["size"]
        )
        for one in facts.all("template")
        for zone in zones.values()
    ]
    if server == "more":
        name, system = "CentOS 5.5(64-bit) no GUI (KVM)", systems[0]
        found.append(
            rows.template(
                name, system, id=KVM_TEMPLATE, zone=zones["sim-zone"], hypervisor="KVM", size=8 * GIB, ready=False
            )
        )
    return found
