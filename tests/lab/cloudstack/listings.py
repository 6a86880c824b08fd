"""The list commands: what the caller may see, filtered. Paging is the dispatcher's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import answers, catalogue, quirks
from .call import Call, items, mappings, need, text, visible
from .errors import invalid_value
from .model import GIB, MAX_DATA_VOLUMES, RESOURCE_TYPES, Account, Vm
from .state import usage

Rows = list[dict[str, Any]]
Listing = tuple[str, Rows]


def _matching(call: Call, rows: Iterable[dict[str, Any]], equal: str, like: str = "") -> Rows:
    """`equal` parameters must be the field's value, `like` ones a part of it; MySQL looks at neither's case."""
    kept = list(rows)
    for name in equal.split():
        if wanted := text(call, name):
            kept = [row for row in kept if _plain(row.get(name)) == wanted.lower()]
    for name in like.split():
        if wanted := text(call, name):
            kept = [row for row in kept if wanted.lower() in _plain(row.get(name))]
    if wanted := text(call, "keyword"):
        kept = [row for row in kept if wanted.lower() in _plain(row.get("name", row.get("key")))]
    if ids := items(call, "ids"):
        kept = [row for row in kept if row["id"] in ids]
    if tags := _tag_filter(call):
        kept = [row for row in kept if any(_has_tag(row, tag) for tag in tags)]
    return kept


def _tag_filter(call: Call) -> list[dict[str, str]]:
    """Return the tags that are asked for. Raises ApiError for a key without a value: there is no such filter."""
    tags = mappings(call, "tags")
    for tag in tags:
        if not tag.get("value"):
            raise invalid_value(f"No value is passed in for key {tag.get('key')}")
    return tags


def matches(call: Call, rows: Rows) -> int:
    """Return the count of a list: with a tag filter it is of the tags that match, not of the rows."""
    tags = mappings(call, "tags")
    return sum(_has_tag(row, tag) for row in rows for tag in tags) if tags else len(rows)


def _plain(value: Any) -> str:
    return str(value if value is not None else "").lower()


def _has_tag(row: dict[str, Any], wanted: dict[str, str]) -> bool:
    return any(tag["key"] == wanted.get("key") and tag["value"] == wanted["value"] for tag in row["tags"])


def volumes(call: Call) -> Listing:
    rows = [
        answers.volume(call.cloud, volume, call.account)
        for volume in quirks.listed(call.cloud)
        if visible(call, volume.account)
    ]
    return "volume", _matching(call, rows, equal="id name virtualmachineid zoneid type state diskofferingid storageid")


def snapshots(call: Call) -> Listing:
    found = [snapshot for snapshot in call.cloud.snapshots.values() if visible(call, snapshot.account)]
    rows = [answers.snapshot(call.cloud, snapshot) for snapshot in found]
    return "snapshot", _matching(call, rows, equal="id name volumeid zoneid")


def virtual_machines(call: Call) -> Listing:
    """The name is matched in part here, so a client that wants one machine must compare again."""
    rows = [
        answers.virtualmachine(call.cloud, vm, call.account)
        for vm in call.cloud.vms.values()
        if visible(call, vm.account) and _shows(call, vm)
    ]
    if network := text(call, "networkid"):
        rows = [row for row in rows if any(nic["networkid"] == network for nic in row["nic"])]
    return "virtualmachine", _matching(call, rows, equal="id zoneid state templateid", like="name displayname")


def _shows(call: Call, vm: Vm) -> bool:
    """A destroyed machine is hidden from its own user, who still sees its root volume."""
    return vm.state != "Destroyed" or call.account.is_admin or call.cloud.config.allow_user_view_destroyed


def nics(call: Call) -> Listing:
    vm = call.cloud.vms.get(need(call, "virtualmachineid"))
    if vm is None or not visible(call, vm.account):
        return "nic", []
    rows = [answers.nic(nic, vm.id) for nic in vm.nics]
    if nic_id := text(call, "nicid"):
        rows = [row for row in rows if row["id"] == nic_id]
    return "nic", _matching(call, rows, equal="networkid")


def tags(call: Call) -> Listing:
    rows = [answers.tag(call.cloud, tag) for tag in call.cloud.tags if visible(call, tag.account)]
    return "tag", _matching(call, rows, equal="resourceid resourcetype key value")


def async_jobs(call: Call) -> Listing:
    found = [job for job in call.cloud.jobs.values() if job.jobstatus == 0 and visible(call, job.account)]
    return "asyncjobs", [answers.job(call.cloud, job) for job in found]


def zones(call: Call) -> Listing:
    return "zone", _matching(call, catalogue.rows("zone"), equal="id name")


def service_offerings(call: Call) -> Listing:
    return "serviceoffering", _matching(call, catalogue.rows("serviceoffering"), equal="id name")


def disk_offerings(call: Call) -> Listing:
    return "diskoffering", _matching(call, catalogue.rows("diskoffering"), equal="id name")


def networks(call: Call) -> Listing:
    owner = next(iter(call.cloud.accounts.values()))
    names = {"account": owner.name, "domain": owner.domain, "domainid": owner.domainid}
    rows = [names | row for row in catalogue.rows("network")]
    return "network", _matching(call, rows, equal="id zoneid type traffictype")


def templates(call: Call) -> Listing:
    asked = need(call, "templatefilter").lower()
    if asked not in ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "all"):
        raise invalid_value(f"{asked} is no template filter.")
    if asked == "all" and not call.account.is_admin:
        raise invalid_value("The template filter 'all' is the administrator's.")
    owner = next(iter(call.cloud.accounts.values()))
    mine = owner.name == call.account.name
    shown = asked in ("featured", "executable", "all") or (asked.startswith("self") and mine)
    names = {"account": owner.name, "domain": owner.domain, "domainid": owner.domainid}
    rows = [row | names for row in catalogue.rows("template")] if shown else []
    return "template", _matching(call, rows, equal="id name zoneid hypervisor")


def os_types(call: Call) -> Listing:
    return "ostype", _matching(call, catalogue.rows("ostype"), equal="id oscategoryid description")


def hosts(call: Call) -> Listing:
    return "host", _matching(call, catalogue.rows("host"), equal="id name type zoneid hypervisor")


def storage_pools(call: Call) -> Listing:
    used = sum(volume.size for volume in call.cloud.volumes.values() if volume.storageid)
    free = call.cloud.free_bytes
    pool = {
        "id": catalogue.POOL, "name": "lab-primary", "zoneid": catalogue.ZONE, "zonename": "lab-zone-1",
        "ipaddress": "192.0.2.20", "path": "/export/primary", "created": catalogue.CREATED,
        "type": "NetworkFilesystem", "scope": call.cloud.config.pool_scope, "state": "Up", "hypervisor": "KVM",
        "disksizetotal": used + free if free is not None else 1024 * GIB, "disksizeallocated": used,
        "disksizeused": used, "overprovisionfactor": "2.0", "provider": "DefaultPrimary", "suitableformigration": False,
    }  # fmt: skip
    return "storagepool", _matching(call, [pool], equal="id name zoneid")


def hypervisor_capabilities(call: Call) -> Listing:
    row = {
        "id": catalogue.stable_id("hypervisorcapability", "KVM"), "hypervisor": "KVM", "hypervisorversion": "default",
        "maxguestslimit": 50, "maxdatavolumeslimit": MAX_DATA_VOLUMES, "maxhostspercluster": 64,
        "securitygroupenabled": True, "storagemotionenabled": True, "vmsnapshotenabled": True,
    }  # fmt: skip
    return "hypervisorCapabilities", _matching(call, [row], equal="id hypervisor")


def _accounts(call: Call) -> list[Account]:
    return [account for account in call.cloud.accounts.values() if visible(call, account.name)]


def domains(call: Call) -> Listing:
    rows = {
        account.domainid: {
            "id": account.domainid, "name": account.domain, "level": 0, "haschild": False, "path": "ROOT",
            "state": "Active", "created": catalogue.CREATED,
        }
        for account in _accounts(call)
    }  # fmt: skip
    return "domain", _matching(call, rows.values(), equal="id name")


_COUNTED = (("user_vm", "vm"), ("volume", "volume"), ("snapshot", "snapshot"), ("cpu", "cpu"), ("memory", "memory"))


def accounts(call: Call) -> Listing:
    rows = []
    for account in _accounts(call):
        used = usage(call.cloud, account.name)
        row = {
            "id": account.id, "name": account.name, "accounttype": account.accounttype, "domainid": account.domainid,
            "domain": account.domain, "domainpath": "ROOT", "state": "enabled", "isdefault": False,
            "rolename": "Root Admin" if account.is_admin else "User", "created": catalogue.CREATED,
            "user": [{"id": account.userid, "username": account.name, "account": account.name, "state": "enabled"}],
        }  # fmt: skip
        for resource, prefix in _COUNTED:
            row |= _limits(prefix, account.limit[resource], used[resource])
        row |= _limits("primarystorage", account.limit["primary_storage"], used["primary_storage"])
        rows.append(row)
    return "account", _matching(call, rows, equal="id name domainid")


def _limits(prefix: str, limit: int, used: int) -> dict[str, Any]:
    """Limits and what is left are strings because of the word Unlimited; what is used is a number."""
    if limit < 0:
        return {f"{prefix}limit": "Unlimited", f"{prefix}total": used, f"{prefix}available": "Unlimited"}
    return {f"{prefix}limit": str(limit), f"{prefix}total": used, f"{prefix}available": str(max(0, limit - used))}


def resource_limits(call: Call) -> Listing:
    rows = [
        {
            "account": account.name, "domainid": account.domainid, "domain": account.domain,
            "resourcetype": number, "resourcetypename": name, "max": account.limit[name],
        }
        for account in _accounts(call)
        for name, number in RESOURCE_TYPES.items()
    ]  # fmt: skip
    return "resourcelimit", _matching(call, rows, equal="resourcetype")
