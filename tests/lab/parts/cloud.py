"""The lab's CloudStack: the API double as a process, and a look behind its API."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cs import CloudStack

from migratekit_core.files import write_private
from tests.lab.parts.process import LabError, Part, first_line, launch, wait_until


@dataclass(frozen=True)
class Cloud:
    """The running double."""

    part: Part
    url: str
    api_key: str
    secret_key: str
    http: httpx.Client

    def state(self) -> dict[str, Any]:
        """Return everything it has: volumes with their files, machines with their devices, snapshots, jobs, events."""
        return self._json(self.http.get("/lab/state"))

    def fault(self, **rule: Any) -> None:
        """Have a command fail; see tests/lab/cloudstack/faults.py."""
        self._json(self.http.post("/lab/faults", json=rule))

    def clear_faults(self) -> None:
        """Have everything work again."""
        self._json(self.http.delete("/lab/faults"))

    def room(self, size: int | None) -> None:
        """Set how many bytes of primary storage are left; None is no limit."""
        self._json(self.http.post("/lab/full", json={"bytes": size}))

    def machine(self, name: str) -> dict[str, Any] | None:
        """Return a virtual machine by its name."""
        return next((vm for vm in self.state()["virtualmachines"] if vm["name"] == name), None)

    def api_machines(self) -> list[dict[str, Any]]:
        """Return the virtual machines as the API describes them, with the names of their networks."""
        client = CloudStack(endpoint=self.url, key=self.api_key, secret=self.secret_key)
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


def start(run: Path, root: Path, port: int, *options: str) -> Cloud:
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
    return Cloud(part, url, api_key, secret_key, httpx.Client(base_url=base, timeout=60, trust_env=False))
