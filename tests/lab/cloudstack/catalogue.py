"""What an administrator has set up before the lab starts: zones, offerings, networks, templates, guest OS types."""

from __future__ import annotations

import secrets

from .rows import (
    CREATED,
    Row,
    disk_offering,
    host,
    network,
    os_type,
    service_offering,
    stable_id,
    template,
    zone,
)

__all__ = ["CREATED", "Row", "stable_id"]

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
    found = []
    for line in _OS_TYPES.strip().splitlines():
        category, names = line.split("|")
        found += [os_type(name, category) for name in names.split(";")]
    return found


ZONE = stable_id("zone", "lab-zone-1")
LOOPBACK = f"127.{10 + secrets.randbelow(240)}"
"""Two labs on one host must not have the same addresses."""
POOL = stable_id("storagepool", "lab-primary")
OTHER_POOL = stable_id("storagepool", "lab-primary-2")
"""Of another cluster (`attach_migrates`)."""
HOST = stable_id("host", "lab-kvm-1")
ROOT_DOMAIN = stable_id("domain", "ROOT")
OMA_VM = stable_id("virtualmachine", "oma01")

ZONES = [zone("lab-zone-1"), zone("lab-zone-2")]
SERVICE_OFFERINGS = [
    service_offering("Small Instance", 1, 1024),
    service_offering("Medium Instance", 2, 4096),
    service_offering("Custom Instance", None, None),
    service_offering("Custom Bounded", None, None, bounds={
        "mincpunumber": "1", "maxcpunumber": "4", "minmemory": "1024", "maxmemory": "8192",
    }),
    service_offering("Custom Free", None, None, speed=None),
]  # fmt: skip
DISK_OFFERINGS = [disk_offering("Small", 5), disk_offering("Medium", 20), disk_offering("Custom", None)]
NETWORKS = [
    network("guest-prod", "10.1.1.0/24", "prod.cloud.internal", 101),
    network("migration-test", "10.99.0.0/24", "test.cloud.internal", 199),
    # Whose machines, if they boot, can be reached from here.
    network("reachable-prod", f"{LOOPBACK}.1.0/24", "reach.cloud.internal", 201),
    network("reachable-test", f"{LOOPBACK}.2.0/24", "reach-test.cloud.internal", 299),
    network("guest-dmz", "10.50.0.0/24", "guest-dmz.cloud.internal", 150, kind="Shared"),
    # Its addresses are a part of it, and its router has one of them: in no list that a user can ask for.
    network(
        "guest-narrow",
        "10.60.0.0/24",
        "narrow.cloud.internal",
        151,
        kind="Shared",
        addresses=("10.60.0.100", "10.60.0.199"),
        router="10.60.0.101",
    ),
    network("legacy-l2", None, "legacy-l2.cloud.internal", 160, kind="L2"),
]
OS_TYPES = _os_types()
_OS_BY_NAME = {one["name"]: one for one in OS_TYPES}
TEMPLATES = [
    template("migratekit-shell", _OS_BY_NAME["Other Linux (64-bit)"]),
    template("debian-12", _OS_BY_NAME["Debian GNU/Linux 12 (64-bit)"]),
]
HOSTS: list[Row] = [host("lab-kvm-1", (ZONE, "lab-zone-1"))]

Tables = dict[str, list[Row]]
"""The rows of each kind: zone, serviceoffering, diskoffering, network, ostype, template, host.

A test may add securitygroup, affinitygroup, keypair and userdata.
"""

_LAB: Tables = {
    "zone": ZONES, "serviceoffering": SERVICE_OFFERINGS, "diskoffering": DISK_OFFERINGS, "network": NETWORKS,
    "ostype": OS_TYPES, "template": TEMPLATES, "host": HOSTS,
}  # fmt: skip
_tables: Tables = {}
_by_id: dict[str, dict[str, Row]] = {}


def use(tables: Tables) -> None:
    """Make these the rows of the cloud. A process has one catalogue: the lab's, unless a test says otherwise."""
    _tables.clear()
    _tables.update(tables)
    _by_id.clear()
    _by_id.update({kind: {row["id"]: row for row in rows} for kind, rows in tables.items()})


def use_lab() -> None:
    """Make the lab's rows those of the cloud."""
    use(_LAB)


def kinds() -> list[str]:
    """The kinds that there are rows of."""
    return list(_tables)


def rows(kind: str) -> list[Row]:
    """All rows of a kind."""
    return _tables.get(kind, [])


def row(kind: str, entity_id: str) -> Row:
    """The row of an id. Raises KeyError where there is none."""
    return _by_id[kind][entity_id]


def has(kind: str, entity_id: str) -> bool:
    """Whether there is a row of that id."""
    return entity_id in _by_id.get(kind, {})


use_lab()
