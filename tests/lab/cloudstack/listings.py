"""The list commands: what the caller may see, filtered. Paging is the dispatcher's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import answers, catalogue, quirks
from .access import may_use, visible
from .call import Call, items, mappings, need, text
from .errors import invalid_value
from .model import RESOURCE_TYPES, Account, Project, Vm
from .reference import ROLES
from .state import usage

Rows = list[dict[str, Any]]
Listing = tuple[str, Rows]


def matching(call: Call, rows: Iterable[dict[str, Any]], equal: str, like: str = "") -> Rows:
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
    return "volume", matching(call, rows, equal="id name virtualmachineid zoneid type state diskofferingid storageid")


def snapshots(call: Call) -> Listing:
    found = [snapshot for snapshot in call.cloud.snapshots.values() if visible(call, snapshot.account)]
    rows = [answers.snapshot(call.cloud, snapshot) for snapshot in found]
    return "snapshot", matching(call, rows, equal="id name volumeid zoneid")


def virtual_machines(call: Call) -> Listing:
    """The name is matched in part here, so a client that wants one machine must compare again."""
    rows = [
        answers.virtualmachine(call.cloud, vm, call.account)
        for vm in call.cloud.vms.values()
        if visible(call, vm.account) and _shows(call, vm)
    ]
    if network := text(call, "networkid"):
        rows = [row for row in rows if any(nic["networkid"] == network for nic in row["nic"])]
    return "virtualmachine", matching(call, rows, equal="id zoneid state templateid", like="name displayname")


def _shows(call: Call, vm: Vm) -> bool:
    """A destroyed machine is hidden from its own user, who still sees its root volume."""
    return vm.state != "Destroyed" or call.account.is_admin or call.cloud.config.allow_user_view_destroyed


def nics(call: Call) -> Listing:
    vm = call.cloud.vms.get(need(call, "virtualmachineid"))
    if vm is None or not visible(call, vm.account):
        return "nic", []
    rows = [answers.nic(call.cloud, nic, vm, listed=True) for nic in vm.nics]
    if nic_id := text(call, "nicid"):
        rows = [row for row in rows if row["id"] == nic_id]
    return "nic", matching(call, rows, equal="networkid")


def tags(call: Call) -> Listing:
    rows = [answers.tag(call.cloud, tag) for tag in call.cloud.tags if visible(call, tag.account)]
    return "tag", matching(call, rows, equal="resourceid resourcetype key value")


def async_jobs(call: Call) -> Listing:
    found = [job for job in call.cloud.jobs.values() if job.jobstatus == 0 and visible(call, job.account)]
    return "asyncjobs", [answers.job(call.cloud, job) for job in found]


def _accounts(call: Call) -> list[Account]:
    """The accounts that the caller sees, each once, whatever users it has."""
    return list({account.id: account for account in reversed(_users(call))}.values())[::-1]


def _users(call: Call) -> list[Account]:
    return [account for account in call.cloud.accounts.values() if visible(call, account.name)]


def domains(call: Call) -> Listing:
    rows = {
        account.domainid: {
            "id": account.domainid, "name": account.domain, "level": 0, "haschild": False, "path": account.path,
            "state": "Active", "created": catalogue.CREATED,
        }
        for account in _accounts(call)
    }  # fmt: skip
    return "domain", matching(call, rows.values(), equal="id name")


_COUNTED = (
    ("user_vm", "vm"),
    ("volume", "volume"),
    ("snapshot", "snapshot"),
    ("cpu", "cpu"),
    ("memory", "memory"),
    ("primary_storage", "primarystorage"),
)


def accounts(call: Call) -> Listing:
    """Accounts, with their limits, what they use of them, and their users."""
    rows = []
    for account in _accounts(call):
        row = _names(account) | {
            "id": account.id, "name": account.name, "state": "enabled", "isdefault": False, "groups": [],
            "receivedbytes": 0, "sentbytes": 0, "user": [_user(user) for user in _users(call) if user.id == account.id],
        }  # fmt: skip
        rows.append(row | limits(call, account) | _counted("project", -1, 0))
    return "account", matching(call, rows, equal="id name domainid")


def users(call: Call) -> Listing:
    """The users of accounts."""
    return "user", matching(call, [_user(account) for account in _users(call)], equal="id username")


def projects(call: Call) -> Listing:
    """The projects whose member the caller is, with their limits."""
    found = [one for one in call.cloud.projects.values() if may_use(call.cloud, call.account, one.account)]
    return "project", matching(call, [_project(call, one) for one in found], equal="id name state")


def _project(call: Call, project: Project) -> dict[str, Any]:
    owner = call.cloud.account(project.owner)
    row = {
        "id": project.id, "name": project.name, "displaytext": project.displaytext, "state": project.state,
        "projectaccountname": project.account, "domain": owner.domain, "domainid": owner.domainid, "tags": [],
        "created": catalogue.CREATED, "owner": [{"account": owner.name}],
    }  # fmt: skip
    return row | limits(call, call.cloud.account(project.account))


def _names(account: Account) -> dict[str, Any]:
    role = ROLES[account.accounttype]
    return {
        "accounttype": account.accounttype, "domainid": account.domainid, "domain": account.domain,
        "domainpath": account.path, "roleid": catalogue.stable_id("role", role), "rolename": role,
        "roletype": role.replace(" ", "").replace("Root", ""), "created": catalogue.CREATED,
    }  # fmt: skip


def _user(account: Account) -> dict[str, Any]:
    names = {key: value for key, value in _names(account).items() if key != "domainpath"}
    return names | {
        "id": account.userid, "username": account.username, "account": account.name, "accountid": account.id,
        "state": "enabled", "apikey": account.apikey, "email": f"{account.username}@example.org",
        "firstname": account.name, "lastname": "lab", "is2faenabled": False, "is2famandated": False,
        "iscallerchilddomain": False, "isdefault": False, "usersource": "native",
    }  # fmt: skip


_UNCOUNTED = ("backup", "backupstorage", "bucket", "gpu", "ip", "network", "objectstorage", "template", "vpc")


def limits(call: Call, account: Account) -> dict[str, Any]:
    """The limits of an account or of a project's one. Secondary storage is told in GiB with a point."""
    used, row = usage(call.cloud, account.name), {}
    for resource, prefix in _COUNTED:
        row |= _counted(prefix, account.limit[resource], used[resource])
    for prefix in _UNCOUNTED:
        row |= _counted(prefix, -1, 0)
    running = sum(vm.account == account.name and vm.state == "Running" for vm in call.cloud.vms.values())
    row |= {"vmrunning": running, "vmstopped": used["user_vm"] - running}
    return row | {
        "secondarystoragelimit": "Unlimited", "secondarystoragetotal": 0.0, "secondarystorageavailable": "Unlimited",
    }  # fmt: skip


def _counted(prefix: str, limit: int, used: int) -> dict[str, Any]:
    """Limits and what is left are strings because of the word Unlimited; what is used is a number."""
    if limit < 0:
        return {f"{prefix}limit": "Unlimited", f"{prefix}total": used, f"{prefix}available": "Unlimited"}
    return {f"{prefix}limit": str(limit), f"{prefix}total": used, f"{prefix}available": str(max(0, limit - used))}


def resource_limits(call: Call) -> Listing:
    """Asked for a project, the server tells the caller's own limits; the project's are in listProjects."""
    rows = [
        {
            "account": account.name, "domainid": account.domainid, "domain": account.domain,
            "resourcetype": number, "resourcetypename": name, "max": account.limit[name],
        }
        for account in ([call.account] if text(call, "projectid") else _accounts(call))
        for name, number in RESOURCE_TYPES.items()
    ]  # fmt: skip
    return "resourcelimit", matching(call, rows, equal="resourcetype")
