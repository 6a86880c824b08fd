"""Lists of what an administrator has set up: zones, offerings, networks, templates, hosts, pools."""

from __future__ import annotations

from . import answers, catalogue, rows
from .access import ALL_PROJECTS, may_use, visible
from .call import Call, flag, need, text
from .errors import invalid_value
from .listings import Listing, matching
from .model import GIB

_FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "all")


def zones(call: Call) -> Listing:
    """Zones; their name servers are for administrators."""
    hidden: frozenset[str] = frozenset() if call.account.is_admin else rows.ZONE_FOR_ADMINISTRATORS
    shown = [{key: value for key, value in row.items() if key not in hidden} for row in catalogue.rows("zone")]
    return "zone", matching(call, shown, equal="id name")


def service_offerings(call: Call) -> Listing:
    """Compute offerings."""
    return "serviceoffering", matching(call, catalogue.rows("serviceoffering"), equal="id name")


def disk_offerings(call: Call) -> Listing:
    """Disk offerings: of the caller's domain or of all, and of the zone that is asked for or of all."""
    kept, zone_id, caller = [], text(call, "zoneid"), call.account
    for row in catalogue.rows("diskoffering"):
        foreign = row.get("domainid") not in (None, caller.domainid) and not caller.is_admin
        if not foreign and (zone_id is None or row.get("zoneid") in (None, zone_id)):
            kept.append(row if caller.is_admin else {key: value for key, value in row.items() if key != "details"})
    return "diskoffering", matching(call, kept, equal="id name")


def networks(call: Call) -> Listing:
    """Guest networks: one's own, and the shared ones of the domain."""
    first = next(iter(call.cloud.accounts.values()))
    kept = []
    for row in catalogue.rows("network"):
        shared = row["acltype"] == "Domain"
        owner = call.cloud.account(row["_owner"]) if row["_owner"] else first
        if not shared and row["_owner"] and not _sees_network(call, owner.name):
            continue
        names = answers.names_of(call.cloud, owner.name)
        kept.append(rows.shown(row) | {key: value for key, value in names.items() if not shared or key != "account"})
    if text(call, "forvpc"):
        kept = [row for row in kept if ("vpcid" in row) == flag(call, "forvpc")]
    return "network", matching(call, kept, equal="id zoneid type traffictype vpcid")


def _sees_network(call: Call, owner: str) -> bool:
    """Networks are listed more freely: those of a domain administrator's domain, and one's own beside all projects'."""
    if visible(call, owner):
        return True
    wanted = text(call, "projectid")
    if wanted == ALL_PROJECTS:
        return owner == call.account.name
    named = wanted or text(call, "account") or text(call, "domainid")
    return not named and call.account.is_domain_admin and may_use(call.cloud, call.account, owner)


def templates(call: Call) -> Listing:
    """Templates of the system's own account. One that is not ready is in no list that asks for usable ones."""
    asked = need(call, "templatefilter").lower()
    if asked not in _FILTERS:
        raise invalid_value(f"Template filter {asked} is not supported")
    if asked == "all" and not call.account.is_admin:
        raise invalid_value("Filter all can be specified by admin only")
    owner = next(iter(call.cloud.accounts.values()))
    names = {"account": "system", "domain": "ROOT", "domainid": catalogue.ROOT_DOMAIN, "domainpath": "ROOT"}
    mine = asked.startswith("self") and call.account.is_admin and owner.name == call.account.name
    shown = asked in ("featured", "executable", "all") or mine
    kept = [row | names for row in catalogue.rows("template") if shown and (row["isready"] or asked == "all")]
    return "template", matching(call, kept, equal="id name zoneid hypervisor")


def os_types(call: Call) -> Listing:
    """Guest operating systems."""
    return "ostype", matching(call, catalogue.rows("ostype"), equal="id oscategoryid description")


def hosts(call: Call) -> Listing:
    """Hosts."""
    return "host", matching(call, catalogue.rows("host"), equal="id name type zoneid hypervisor")


def storage_pools(call: Call) -> Listing:
    """Primary storage. The lab has one pool, of the zone or of its cluster; a test may have others."""
    used = sum(volume.size for volume in call.cloud.volumes.values() if volume.storageid)
    free, scope, host = call.cloud.free_bytes, call.cloud.config.pool_scope, catalogue.rows("host")[0]
    total = used + free if free is not None else 1024 * GIB
    pools = catalogue.rows("storagepool") or [rows.storage_pool("lab-primary", host, scope, id=catalogue.POOL)]
    sizes = {"disksizetotal": total, "capacitybytes": total, "disksizeallocated": used, "disksizeused": used}
    return "storagepool", matching(call, [pool | sizes for pool in pools], equal="id name zoneid")


def hypervisor_capabilities(call: Call) -> Listing:
    """What a host's hypervisor can do: how many disks a machine has at most."""
    row = {
        "id": catalogue.stable_id("hypervisorcapability", "KVM"), "hypervisor": "KVM", "hypervisorversion": "default",
        "maxguestslimit": 50, "maxdatavolumeslimit": call.cloud.config.max_data_volumes, "maxhostspercluster": 64,
        "securitygroupenabled": True, "storagemotionenabled": True, "vmsnapshotenabled": True,
    }  # fmt: skip
    return "hypervisorCapabilities", matching(call, [row], equal="id hypervisor")
