"""Who may see and use what: accounts, domain administrators, projects.

An account has its own things. A root administrator has all of them, a domain administrator those of his domain. What
belongs to a project belongs to the project's own account, and each member may use it; lists show it only where they are
asked for the project, or for all of them (`projectid=-1`).
"""

from __future__ import annotations

from . import texts
from .call import Call, flag, text
from .errors import ApiError, bad_value, invalid_value, permission_denied
from .model import Account
from .state import Cloud

ALL_PROJECTS = "-1"
NO_PERMISSION = "Caller does not have permission to operate with provided resource."


def may_use(cloud: Cloud, caller: Account, owner: str) -> bool:
    """Return whether a caller may use what this account has."""
    if owner == caller.name or caller.is_admin:
        return True
    project = cloud.project_of(owner)
    if project:
        return caller.name in project.members
    return caller.is_domain_admin and in_domain(cloud.account(owner).path, caller.path)


def check_owner(call: Call, owner: str) -> None:
    """Raise ApiError where the caller may not use what this account has."""
    if not may_use(call.cloud, call.account, owner):
        raise permission_denied(NO_PERMISSION)


def in_domain(path: str, ancestor: str) -> bool:
    """Return whether a domain is the other one, or below it."""
    return f"{path}/".startswith(f"{ancestor}/")


def visible(call: Call, owner: str) -> bool:
    """Return whether a list shows what this account has."""
    cloud, caller, wanted = call.cloud, call.account, text(call, "projectid")
    project = cloud.project_of(owner)
    if wanted == ALL_PROJECTS:
        return bool(project and may_use(cloud, caller, owner)) or (
            project is None and flag(call, "listall") and owner == caller.name
        )
    if wanted:
        return project is not None and project.id == wanted
    if project:
        return False
    return _visible_outside_projects(call, owner)


def _visible_outside_projects(call: Call, owner: str) -> bool:
    """Even an administrator sees only his own things, unless he names one by its id or asks for more."""
    account, domain = text(call, "account"), text(call, "domainid")
    if account or domain:
        theirs = call.cloud.account(owner)
        below = flag(call, "isrecursive") or flag(call, "listall")
        root = domain_path(call.cloud, domain) if domain else call.account.path
        here = theirs.path == root or (below and in_domain(theirs.path, root))
        mine = may_use(call.cloud, call.account, owner)
        return mine and (owner == account if account else here and (_administers(call) or owner == call.account.name))
    if owner == call.account.name:
        return True
    return (flag(call, "listall") or bool(text(call, "id"))) and may_use(call.cloud, call.account, owner)


def _administers(call: Call) -> bool:
    return call.account.is_admin or call.account.is_domain_admin


def domain_path(cloud: Cloud, domain_id: str) -> str:
    """Return the path of a domain that an account is in."""
    return next((one.path for one in cloud.accounts.values() if one.domainid == domain_id), "")


def check_project(call: Call) -> None:
    """Raise ApiError where the project that a command names is none, or one whose member the caller is not."""
    sent = call.params.get("projectid")
    if sent is None or sent == ALL_PROJECTS:
        return
    project = call.cloud.projects.get(sent)
    if project is None:
        raise bad_value(call.command, "projectid", sent)
    if not may_use(call.cloud, call.account, project.account):
        text = f"does not exist or is not available for this account/user in project [{sent}]."
        raise ApiError(432, 9999, f"The API [{call.command}] {text}")


def check_list(call: Call) -> None:
    """Raise ApiError where a list is asked for an account or a domain that is not the caller's to see."""
    account, domain = text(call, "account"), text(call, "domainid")
    if account and text(call, "projectid"):
        raise invalid_value("Account and projectId can't be specified together")
    if domain and not call.account.is_admin and not _has_domain(call, domain):
        what = f"does not have permission to operate within domain id={domain}"
        raise permission_denied(f"Account {texts.account(call.account)} {what}")
    if account:
        check_owner(call, _named(call, account, domain).name)


def _has_domain(call: Call, domain_id: str) -> bool:
    path = domain_path(call.cloud, domain_id)
    if call.account.is_domain_admin:
        return bool(path) and in_domain(path, call.account.path)
    return path == call.account.path


def _named(call: Call, name: str, domain_id: str | None) -> Account:
    """Return an account by its name and domain; without a domain, by its name."""
    for one in call.cloud.accounts.values():
        if one.name == name and domain_id in (None, one.domainid):
            return one
    raise invalid_value(f"Unable to find account by name {name} in domain with specified id")


def owner_for(call: Call) -> str:
    """Return the account that what a command makes belongs to. Raises ApiError where that may not be."""
    account, domain, project_id = text(call, "account"), text(call, "domainid"), text(call, "projectid")
    if account:
        if not domain:
            raise invalid_value("Account must be specified with domainId parameter")
        owner = _named(call, account, domain).name
        check_owner(call, owner)
        return owner
    if not project_id:
        return call.account.name
    project = call.cloud.projects[project_id]
    if project.state != "Active":
        why = f"in state={project.state} as it's no longer active"
        told = f"Can't add resources to the project with specified projectId {why}"
        raise ApiError(531, 4365, told, ({"uuid": project.id, "description": "projectId"},))
    return project.account
