"""The double alone, without the rest of the lab: started by itself, asked with `cs`, and looked into."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack, CloudStackApiException

from tests.lab.cloudstack.signature import sign

GIB = 1 << 30
ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS: list[dict[str, Any]] = [
    {"account": "admin", "domain": "ROOT", "apikey": "admin-key", "secretkey": "admin-secret"},
    {
        "account": "restricted",
        "domain": "ROOT",
        "apikey": "user-key",
        "secretkey": "user-secret",
        "deny": ["deleteVolume"],
        "limits": {"volume": 2, "primary_storage": 10, "snapshot": 0, "user_vm": 1},
    },
    {"account": "plain", "domain": "ROOT", "apikey": "plain-key", "secretkey": "plain-secret"},
    {"account": "plain", "user": "plain2", "domain": "ROOT", "apikey": "plain2-key", "secretkey": "plain2-secret"},
    {"account": "other", "domain": "ROOT", "apikey": "other-key", "secretkey": "other-secret"},
]
PLAIN, PLAIN2, OTHER = 2, 3, 4
PROJECTS = [
    {"name": "ours", "owner": "plain", "members": []},
    {"name": "shared", "owner": "other", "members": ["plain"]},
]


@dataclass(frozen=True)
class Double:
    """The running double."""

    url: str
    lab: str
    state: Path

    def api(self, account: int = 0, **options: Any) -> CloudStack:
        keys = ACCOUNTS[account]
        settings = {"poll_interval": 0.02, "fetch_result": True, "timeout": 10} | options
        return CloudStack(self.url, key=keys["apikey"], secret=keys["secretkey"], **settings)

    def ask(self, command: str, account: int = 0, **params: Any) -> tuple[int, dict[str, Any]]:
        """Send a request as it is, where `cs` adds or forbids something; return the status and the answer's inside."""
        keys = ACCOUNTS[account]
        sent = {name: str(value) for name, value in params.items()}
        sent |= {"command": command, "response": "json", "apikey": keys["apikey"]}
        query = urllib.parse.urlencode(sent | {"signature": sign(sent, keys["secretkey"])})
        try:
            with urllib.request.urlopen(f"{self.url}?{query}", timeout=10) as answer:
                return answer.status, next(iter(json.load(answer).values()))
        except urllib.error.HTTPError as error:
            return error.code, next(iter(json.load(error).values()))

    def control(self, method: str, path: str, **body: Any) -> Any:
        request = urllib.request.Request(self.lab + path, method=method)
        data = json.dumps(body).encode() if method == "POST" else None
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            return json.load(answer)

    def settings(self, **changes: Any) -> Any:
        """Change switches of the double, and return all of them."""
        return self.control("POST", "/lab/settings", **changes)

    def devices(self, vm_id: str) -> set[str]:
        return {link.name for link in (self.state / "vms" / vm_id / "by-id").glob("*")}

    def file(self, volume_id: str) -> Path:
        return self.state / "volumes" / f"{volume_id}.raw"


@contextmanager
def running(directory: Path, *flags: str) -> Iterator[Double]:
    keys = directory / "keys.json"
    keys.write_text(json.dumps({"accounts": ACCOUNTS, "projects": PROJECTS}))
    keys.chmod(0o600)
    command = [sys.executable, "-m", "tests.lab.cloudstack", "--state", str(directory / "state"), "--keys", str(keys)]
    with subprocess.Popen([*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            urls = json.loads(process.stdout.readline())
            yield Double(urls["url"], urls["lab"], directory / "state")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@dataclass(frozen=True)
class Ids:
    zone: str
    other_zone: str
    small: str
    custom: str
    fixed_disk: str
    disk: str
    prod: str
    test: str
    template: str
    oma: str


def find_ids(shared: Double) -> Ids:
    """Return the ids of what the catalogue has."""
    api = shared.api()
    zones = [zone["id"] for zone in api.listZones()["zone"]]
    offerings = api.listServiceOfferings()["serviceoffering"]
    disks = api.listDiskOfferings()["diskoffering"]
    networks = {network["name"]: network["id"] for network in api.listNetworks()["network"]}
    return Ids(
        zone=zones[0], other_zone=zones[1],
        small=offerings[0]["id"], custom=next(o["id"] for o in offerings if o["iscustomized"]),
        fixed_disk=disks[0]["id"], disk=next(d["id"] for d in disks if d["iscustomized"] and d["disksize"] == 0),
        prod=networks["guest-prod"], test=networks["migration-test"],
        template=api.listTemplates(templatefilter="featured")["template"][0]["id"],
        oma=api.listVirtualMachines(name="oma01")["virtualmachine"][0]["id"],
    )  # fmt: skip


def refused(code: int, call: Callable[..., Any], in_job: bool | None = None, **params: Any) -> dict[str, Any]:
    """The call fails with this code; `in_job` says whether at once or by its job."""
    with pytest.raises(CloudStackApiException) as caught:
        call(**params)
    error: dict[str, Any] = caught.value.error
    assert error["errorcode"] == code, error
    if in_job is not None:
        assert (caught.value.args[0] == "Job failure") == in_job
    return error


def blank(api: CloudStack, ids: Ids, size: int = 1, **params: Any) -> Any:
    return api.createVolume(**{"diskofferingid": ids.disk, "size": size, "zoneid": ids.zone} | params)["volume"]


def deploy(api: CloudStack, ids: Ids, name: str, **params: Any) -> Any:
    standard = {"zoneid": ids.zone, "serviceofferingid": ids.small, "networkids": ids.test, "name": name}
    if not {"volumeid", "snapshotid"} & params.keys():
        standard["templateid"] = ids.template
    return api.deployVirtualMachine(**standard | params)["virtualmachine"]


def root_of(api: CloudStack, vm_id: str) -> Any:
    return api.listVolumes(virtualmachineid=vm_id, type="ROOT")["volume"][0]


def serial(volume_id: str) -> str:
    return "virtio-" + volume_id.replace("-", "")[:20]


def write(lab: Double, vm_id: str, volume_id: str, offset: int, data: bytes) -> None:
    """As Linux in the machine would: through /dev/disk/by-id."""
    with (lab.state / "vms" / vm_id / "by-id" / serial(volume_id)).open("r+b") as device:
        device.seek(offset)
        device.write(data)
