"""The lab's vCenter: our vcsim, and the "guest" in it that writes to the disks."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.files import write_private
from tests.lab.parts.process import LabError, Part, Side, There, first_line, launch, wait_until

USER = "administrator@vsphere.local"


def _path(name: str) -> str:
    return f"/lab/vms/{quote(name, safe='')}"


@dataclass(frozen=True)
class VCenter:
    """The running simulator."""

    part: Part
    port: int
    ca: Path
    datastore: Path
    http: httpx.Client

    def vm(self, name: str) -> dict[str, Any]:
        """Return what the simulator knows of a machine: power, disks with their layers, snapshots."""
        return self._json(self.http.get(f"{_path(name)}"))

    def has(self, name: str) -> bool:
        """Return whether the simulator has this machine (still)."""
        return self.http.get(_path(name)).is_success

    def write(self, name: str, disk: int, offset: int, data: bytes) -> None:
        """Have the guest write."""
        self._json(self.http.put(f"{_path(name)}/disks/{disk}", params={"offset": offset}, content=data))

    def discard(self, name: str, disk: int, offset: int, length: int) -> None:
        """Have the guest discard a stretch, which reads as zeros from then on."""
        self._json(self.http.delete(f"{_path(name)}/disks/{disk}", params={"offset": offset, "length": length}))

    def read(self, name: str, disk: int) -> bytes:
        """Return the guest's view of a whole disk."""
        answer = self.http.get(f"{_path(name)}/disks/{disk}")
        answer.raise_for_status()
        return answer.content

    def new_epoch(self, name: str) -> None:
        """Have change tracking begin anew, as storage vMotion does."""
        self._json(self.http.post(f"{_path(name)}/epoch"))

    def fault(self, **rule: Any) -> None:
        """Have a method fail; see the simulator's README."""
        self._json(self.http.post("/lab/faults", json=rule))

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules by mode, with how often each has applied (`hits`)."""
        found: list[dict[str, Any]] = self._json(self.http.get("/lab/faults"))["faults"]
        return found

    def clear_faults(self) -> None:
        """Have everything work again."""
        self._json(self.http.delete("/lab/faults"))

    def switch(self, **switches: Any) -> None:
        """Have vCenter be another one as a whole; see the simulator's README."""
        self._json(self.http.put("/lab/switches", json=switches))

    def limit_space(self, free: int, capacity: int) -> None:
        """Have so many bytes be free on the datastore now; deltas take of it."""
        self._json(self.http.put("/lab/datastore", json={"free_bytes": free, "capacity_bytes": capacity}))

    def free_space(self) -> int:
        """Return how many bytes are free on the datastore, whatever a client sees."""
        return int(self._json(self.http.get("/lab/datastore"))["free_bytes"])

    def renew_certificate(self, certificate: Path) -> None:
        """Show new connections this certificate, with its key in the same file."""
        self._json(self.http.put("/lab/certificate", json={"cert": str(certificate), "key": str(certificate)}))

    def calls(self, since: int = 0) -> dict[str, Any]:
        """Return the calls from this number on, in order, and the number of the next one."""
        return self._json(self.http.get("/lab/calls/log", params={"since": since}))

    def properties(self, kind: str, moref: str, values: dict[str, Any]) -> None:
        """Set properties of a managed object, in vSphere's JSON form."""
        self._json(self.http.put(f"/lab/properties/{kind}/{moref}", json=values))

    def deny(self, *privileges: str, on: str = "*") -> None:
        """Have vCenter say that the account lacks these privileges, everywhere or on one object."""
        self._json(self.http.post("/lab/privileges", json={"privileges": privileges, "object": on}))

    def allow(self) -> None:
        """Have it say that the account lacks none."""
        self._json(self.http.delete("/lab/privileges"))

    def nfc(self) -> dict[str, Any]:
        """Return what the NFC hosts have seen: connections, open files, bytes, requests in flight, violations."""
        return self._json(self.http.get("/lab/nfc"))

    def nfc_forget(self) -> None:
        """Have the NFC hosts begin their figures anew."""
        self._json(self.http.delete("/lab/nfc"))

    def nfc_switch(self, **switches: Any) -> None:
        """Have the NFC hosts be others as a whole; see the simulator's README."""
        self._json(self.http.put("/lab/nfc/switches", json=switches))

    def nfc_fault(self, **rule: Any) -> None:
        """Have a step of an NFC connection break; see the simulator's README."""
        self._json(self.http.post("/lab/nfc/faults", json=rule))

    def nfc_mend(self) -> None:
        """Have the NFC hosts be as they are without switches and faults."""
        self._json(self.http.delete("/lab/nfc/switches"))
        self._json(self.http.delete("/lab/nfc/faults"))

    def nfc_drop(self) -> int:
        """Cut all NFC connections; return how many there were."""
        return int(self._json(self.http.post("/lab/nfc/drop"))["dropped"])

    def flat_file(self, name: str, disk: int) -> Path:
        """Return the flat file of a disk on the simulator's datastore: the disk itself where there is no snapshot."""
        report = self.vm(name)
        descriptor: str = report["disks"][disk]["layers"][0]["name"]
        return self.datastore / report["datastore"] / report["dir"] / descriptor.replace(".vmdk", "-flat.vmdk")

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if not answer.is_success:
            raise LabError(f"vcsim: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def start(
    run: Path, binary: Path, port: int, password: str, inventory: dict[str, Any], side: Side = nullcontext
) -> VCenter:
    """Start the simulator with these machines, behind a certificate of a CA of its own; `side` is where it runs."""
    certificates = run / "vcenter-pki"
    pki.init(certificates)
    certificate = pki.issue(certificates, "vcenter", server=True, names=["127.0.0.1", "localhost"])
    write_private(run / "vcenter.pass", password)
    (run / "inventory.json").write_text(json.dumps(inventory, indent=2))
    datastore = run / "datastore"
    command = [
        str(binary),
        *("-listen", f"127.0.0.1:{port}"),
        *("-cert", str(certificate), "-key", str(certificate)),
        *("-user", USER, "-password-file", str(run / "vcenter.pass")),
        *("-datastore", str(datastore), "-inventory", str(run / "inventory.json")),
    ]
    part = launch("vcenter", command, run)
    wait_until(lambda: bool(first_line(part)), part)
    ca = certificates / pki.CA_FILE
    transport = There(side, httpx.HTTPTransport(verify=str(ca), trust_env=False))
    http = httpx.Client(base_url=f"https://127.0.0.1:{port}", transport=transport, timeout=120)
    return VCenter(part, port, ca, datastore, http)
