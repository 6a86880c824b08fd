"""The lab's CloudStack: the API double as a process, and a look behind its API."""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cs import CloudStack

from migratekit_core.files import write_private
from tests.lab.parts.process import LabError, Part, Side, There, first_line, launch, wait_until


@dataclass(frozen=True)
class Cloud:
    """The running double."""

    part: Part
    url: str
    api_key: str
    secret_key: str
    http: httpx.Client
    side: Side

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

    def account(self, *, limits: dict[str, int] | None = None, deny: tuple[str, ...] = ()) -> None:
        """Set the account's limits and what its role may not call; without arguments there are none."""
        self._json(self.http.post("/lab/account", json={"limits": limits or {}, "deny": list(deny)}))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change switches of the double (tests/lab/cloudstack/settings.py) and return all of them."""
        return self._json(self.http.post("/lab/settings", json=changes))

    def default_settings(self) -> dict[str, Any]:
        """Put back the switches that the double was started with."""
        return self._json(self.http.delete("/lab/settings"))

    def machine(self, name: str) -> dict[str, Any] | None:
        """Return a virtual machine by its name."""
        return next((vm for vm in self.state()["virtualmachines"] if vm["name"] == name), None)

    def api_machines(self) -> list[dict[str, Any]]:
        """Return the virtual machines as the API describes them, with the names of their networks."""
        client = CloudStack(endpoint=self.url, key=self.api_key, secret=self.secret_key)
        with self.side():
            found: list[dict[str, Any]] = client.listVirtualMachines(fetch_list=True)
        return found

    def volume(self, volume_id: str) -> dict[str, Any]:
        """Return a volume; its `file` is where its bytes are."""
        found = next((volume for volume in self.state()["volumes"] if volume["id"] == volume_id), None)
        if found is None:
            raise LabError(f"the cloud has no volume {volume_id}")
        return found

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise LabError(f"CloudStack double: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def start(run: Path, root: Path, port: int, *options: str, side: Side = nullcontext) -> Cloud:
    """Start the double with an administrator's account whose keys are made now."""
    api_key, secret_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    account = {"account": "admin", "domain": "ROOT", "apikey": api_key, "secretkey": secret_key}
    write_private(run / "cloud-keys.json", json.dumps({"accounts": [account]}))
    command = [
        sys.executable,
        *("-m", "tests.lab.cloudstack"),
        *("--listen", f"127.0.0.1:{port}", "--state", str(run / "cloud"), "--keys", str(run / "cloud-keys.json")),
        *("--job-seconds", "0.05", *options),
    ]
    part = launch("cloud", command, run, cwd=root)
    wait_until(lambda: bool(first_line(part)), part)
    url = str(json.loads(first_line(part))["url"])
    base = url.removesuffix("/client/api")
    http = httpx.Client(base_url=base, timeout=60, transport=There(side, httpx.HTTPTransport(trust_env=False)))
    return Cloud(part, url, api_key, secret_key, http, side)
