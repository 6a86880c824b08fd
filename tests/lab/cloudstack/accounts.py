"""The keys file: who may call the API, with which keys, limits and forbidden commands."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from .catalogue import stable_id
from .model import Account


def load(path: Path) -> dict[str, Account]:
    """Accounts by API key. The file holds secrets, so one that others can read is refused like ssh does."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SystemExit(f"{path} must not be readable by others (chmod 600)")
    entries = json.loads(path.read_text())["accounts"]
    accounts = [_account(entry) for entry in entries]
    if not accounts:
        raise SystemExit(f"{path} names no account")
    return {account.apikey: account for account in accounts}


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
        userid=stable_id("user", f"{domain}/{name}"),
        accounttype=kind,
        apikey=str(entry["apikey"]),
        secretkey=str(entry["secretkey"]),
        deny=frozenset(deny),
        limits=limits,
    )
