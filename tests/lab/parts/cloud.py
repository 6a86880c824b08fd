"""The lab's CloudStack: the API double as a process, and a look behind its API."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cs import CloudStack

from migratekit_core.common.files import write_private
from tests.lab.parts.process import LabError, Part, Side, There, first_line, launch, wait_until

ACCOUNTS = {"migratekit": "User", "colleague": "User", "admin": "Root Admin"}
"""The accounts of the lab's cloud and their roles. The first one is MigrateKit's, and owns the OMA."""
SECOND_USER = "second"
"""Another user of the first account, with keys of its own."""
PROJECT = "migration"
"""A project of the first account, of which the second one is a member, too."""
FOREIGN_PROJECT = "foreign"
"""A project of the second account, of which the first one is no member."""


@dataclass(frozen=True)
class Keys:
    """The keys of a user."""

    api_key: str
    secret_key: str


@dataclass(frozen=True)
class Cloud:
    """The running double."""

    part: Part
    url: str
    keys: Mapping[str, Keys]
    http: httpx.Client
    side: Side

    @property
    def api_key(self) -> str:
        """Return the API key that MigrateKit has."""
        return self.keys["migratekit"].api_key

    @property
    def secret_key(self) -> str:
        """Return the secret key that MigrateKit has."""
        return self.keys["migratekit"].secret_key

    def api(self, user: str = "migratekit") -> CloudStack:
        """Return a client of the API for an account (ACCOUNTS) or for SECOND_USER."""
        keys = self.keys[user]
        return CloudStack(endpoint=self.url, key=keys.api_key, secret=keys.secret_key, fetch_result=True)

    def state(self) -> dict[str, Any]:
        """Return everything it has: volumes with their files, machines with their devices, snapshots, jobs, events."""
        return self._json(self.http.get("/lab/state"))

    def running(self) -> list[str]:
        """Return the names of the machines that run; cheap enough to be asked all the time."""
        names: list[str] = self.http.get("/lab/running").raise_for_status().json()
        return names

    def fault(self, **rule: Any) -> None:
        """Have a command fail; see tests/lab/cloudstack/faults.py."""
        self._json(self.http.post("/lab/faults", json=rule))

    def waiting_faults(self) -> list[str]:
        """Return the commands that are yet to fail."""
        return [fault["command"] for fault in self.state()["faults"] if fault["count"]]

    def clear_faults(self) -> None:
        """Have everything work again."""
        self._json(self.http.delete("/lab/faults"))

    def volumes(self, count: int, name: str, tags: dict[str, str]) -> list[str]:
        """Put many volumes there at once, which were never attached; return their ids."""
        answer = self.http.post("/lab/volumes", json={"count": count, "name": name, "tags": tags})
        made: list[str] = answer.raise_for_status().json()
        return made

    def room(self, size: int | None) -> None:
        """Set how many bytes of primary storage are left; None is no limit."""
        self._json(self.http.post("/lab/full", json={"bytes": size}))

    def boot(self, *names: str, ports: tuple[int, ...] = ()) -> None:
        """Have machines whose names begin so boot for real, with these ports forwarded; none named: none boots."""
        self._json(self.http.post("/lab/boot", json={"names": names, "ports": ports}))

    def console(self, name: str) -> str:
        """Return what a booted machine has written to its serial console."""
        return str(self._json(self.http.get(f"/lab/consoles/{name}"))["text"])

    def screen(self, name: str) -> Path:
        """Return a picture (PNG) of a booted machine's screen."""
        return Path(self._json(self.http.post(f"/lab/screens/{name}"))["file"])

    def account(
        self, *, limits: dict[str, int] | None = None, deny: tuple[str, ...] = (), name: str = "migratekit"
    ) -> None:
        """Set an account's limits and what its role may not call; without arguments there are none."""
        body = {"account": name, "limits": limits or {}, "deny": list(deny)}
        self._json(self.http.post("/lab/account", json=body))

    def project(self, name: str = PROJECT, *, state: str = "Active", limits: dict[str, int] | None = None) -> None:
        """Set a project's state (Active or Suspended) and its limits."""
        self._json(self.http.post("/lab/project", json={"name": name, "state": state, "limits": limits or {}}))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change switches of the double (tests/lab/cloudstack/settings.py) and return all of them."""
        return self._json(self.http.post("/lab/settings", json=changes))

    def restart(self, seconds: float = 1.0) -> None:
        """Restart the management server: connections are refused for so long, jobs end without a result."""
        self._json(self.http.post("/lab/restart", json={"seconds": seconds}))

    def calls(self) -> dict[str, int]:
        """Return how often each command was called."""
        found: dict[str, int] = self._json(self.http.get("/lab/calls"))
        return found

    def backup_offering(self, machine: str, on: bool = True) -> None:
        """Give a machine a backup offering, or take it away."""
        self._json(self.http.post("/lab/backup", json={"vm": machine, "on": on}))

    def default_settings(self) -> dict[str, Any]:
        """Put back the switches that the double was started with."""
        return self._json(self.http.delete("/lab/settings"))

    def machine(self, name: str) -> dict[str, Any] | None:
        """Return a virtual machine by its name."""
        return next((vm for vm in self.state()["virtualmachines"] if vm["name"] == name), None)

    def api_machines(self) -> list[dict[str, Any]]:
        """Return the virtual machines as the API describes them, with the names of their networks."""
        client = self.api("admin")
        with self.side():
            found: list[dict[str, Any]] = client.listVirtualMachines(fetch_list=True, listall=True, pagesize=5)
        return found

    def volume(self, volume_id: str) -> dict[str, Any]:
        """Return a volume; its `file` is where its bytes are."""
        return self._json(self.http.get(f"/lab/volumes/{volume_id}"))

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise LabError(f"CloudStack double: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def start(
    run: Path, root: Path, port: int, *options: str, side: Side = nullcontext, role: str = ACCOUNTS["migratekit"]
) -> Cloud:
    """Start the double with the lab's accounts and projects, whose keys are made now.

    `role` is that of MigrateKit's account: "Root Admin" for a test that needs an administrator's view.
    """
    keys = {name: Keys(secrets.token_urlsafe(32), secrets.token_urlsafe(32)) for name in (*ACCOUNTS, SECOND_USER)}
    write_private(run / "cloud-keys.json", json.dumps(_accounts(keys, role)))
    command = [
        sys.executable,
        *("-m", "tests.lab.cloudstack"),
        *("--listen", f"127.0.0.1:{port}", "--state", str(run / "cloud"), "--keys", str(run / "cloud-keys.json")),
        *("--job-seconds", "0.05", *options),
    ]
    part = launch("cloud", command, run, cwd=root)
    wait_until(lambda: bool(first_line(part)), part)
    urls = json.loads(first_line(part))
    url, base = str(urls["url"]), str(urls["lab"])
    http = httpx.Client(base_url=base, timeout=60, transport=There(side, httpx.HTTPTransport(trust_env=False)))
    return Cloud(part, url, keys, http, side)


def _accounts(keys: Mapping[str, Keys], role: str) -> dict[str, Any]:
    """Return the keys file of the double."""
    kinds = {"User": 0, "Root Admin": 1}
    first, second = list(ACCOUNTS)[:2]
    roles = ACCOUNTS | {first: role}
    rows = [
        {"account": name, "domain": "ROOT", "accounttype": kinds[roles[name]], **_pair(keys[name])} for name in ACCOUNTS
    ]
    rows.append({**rows[0], "user": SECOND_USER, **_pair(keys[SECOND_USER])})
    projects = [
        {"name": PROJECT, "owner": first, "members": [second]},
        {"name": FOREIGN_PROJECT, "owner": second, "members": []},
    ]
    return {"accounts": rows, "projects": projects}


def _pair(keys: Keys) -> dict[str, str]:
    return {"apikey": keys.api_key, "secretkey": keys.secret_key}
