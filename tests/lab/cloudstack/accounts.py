"""The keys file: who may call the API, with which keys, limits and forbidden commands."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from .catalogue import stable_id
from .model import Account, Project


def load(path: Path) -> tuple[dict[str, Account], dict[str, Project]]:
    """Accounts by API key, and projects. The file holds secrets, so one that others can read is refused like ssh does.

    Several users of one account are entries with one `account` and a `user` each.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SystemExit(f"{path} must not be readable by others (chmod 600)")
    told = json.loads(path.read_text())
    accounts = [_account(entry) for entry in told["accounts"]]
    projects = [_project(entry) for entry in told.get("projects", ())]
    if not accounts:
        raise SystemExit(f"{path} names no account")
    return {account.apikey: account for account in accounts}, {project.id: project for project in projects}


def _account(entry: dict[str, object]) -> Account:
    name, domain = str(entry["account"]), str(entry.get("domain", "ROOT"))
    kind = entry.get("accounttype", 1 if name == "admin" else 0)
    limits, deny = entry.get("limits", {}), entry.get("deny", [])
    assert isinstance(limits, dict) and isinstance(deny, list) and isinstance(kind, int)
    return Account(
        id=stable_id("account", f"{domain}/{name}"),
        name=name,
        domain=domain,
        domainid=stable_id("domain", domain),
        userid=stable_id("user", f"{domain}/{entry.get('user', name)}"),
        accounttype=kind,
        apikey=str(entry["apikey"]),
        secretkey=str(entry["secretkey"]),
        deny=frozenset(deny),
        limits=limits,
        path=str(entry.get("path", domain)),
        user=str(entry.get("user", "")),
    )


def _project(entry: dict[str, object]) -> Project:
    name, owner, members = str(entry["name"]), str(entry["owner"]), entry.get("members", [])
    assert isinstance(members, list)
    return Project(
        id=stable_id("project", name),
        name=name,
        displaytext=name,
        account=f"PrjAcct-{name}-1",
        owner=owner,
        members=frozenset({owner, *members}),
    )
