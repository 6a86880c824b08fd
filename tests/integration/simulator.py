"""Starts the lab's vCenter alone, for tests that ask it with pyVmomi as any client would."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from tests.lab.lab import BINARY

USER = "administrator@vsphere.local"
PASSWORD = "correct horse"


def machine(name: str, sizes: list[int], **more: Any) -> dict[str, Any]:
    """Return a machine of the inventory that is on and whose tools run, unless `more` says else."""
    disks = [{"size_bytes": size, "provisioning": "thin"} for size in sizes]
    return {"name": name, "power": "on", "tools": "running", "disks": disks, **more}


@dataclass
class LabVcsim:
    """The running simulator, and what a client logged in to it sees."""

    url: str
    store: Path
    tls: ssl.SSLContext
    http: httpx.Client
    certificate_files: dict[str, str]
    content: Any = None
    vms: dict[str, Any] = field(default_factory=dict)

    def login(self, user: str = USER, password: str = PASSWORD, timeout: float | None = None) -> Any:
        at = urlsplit(self.url)
        return SmartConnect(
            host=at.hostname,
            port=at.port,
            user=user,
            pwd=password,
            sslContext=self.tls,
            httpConnectionTimeout=timeout,
        )

    def vm(self, name: str) -> Any:
        return self.vms[name]

    def flat(self, name: str, disk: int = 1) -> bytes:
        return (self.store / name / f"disk{disk}-flat.vmdk").read_bytes()

    def write(self, name: str, offset: int, data: bytes, disk: int = 0) -> None:
        self.http.put(f"/lab/vms/{name}/disks/{disk}", params={"offset": offset}, content=data).raise_for_status()

    def discard(self, name: str, offset: int, length: int, disk: int = 0) -> None:
        where = {"offset": offset, "length": length}
        self.http.delete(f"/lab/vms/{name}/disks/{disk}", params=where).raise_for_status()

    def read(self, name: str, disk: int = 0) -> bytes:
        return self.http.get(f"/lab/vms/{name}/disks/{disk}").raise_for_status().content

    def state(self, name: str) -> Any:
        return self.http.get(f"/lab/vms/{name}").raise_for_status().json()

    def fault(self, mode: str = "", method: str = "*", **rule: Any) -> None:
        self.http.post("/lab/faults", json={"mode": mode, "method": method, **rule}).raise_for_status()

    def mend(self) -> None:
        """Take all faults and switches back."""
        self.http.delete("/lab/faults").raise_for_status()
        self.http.delete("/lab/switches").raise_for_status()
        self.http.delete("/lab/datastore").raise_for_status()

    def switch(self, **switches: Any) -> None:
        self.http.put("/lab/switches", json=switches).raise_for_status()

    def calls(self, since: int = 0) -> Any:
        return self.http.get("/lab/calls/log", params={"since": since}).raise_for_status().json()


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@contextmanager
def started(folder: Path, inventory: dict[str, Any]) -> Iterator[LabVcsim]:
    """Run the simulator with this inventory, its files below `folder`, and log in."""
    assert BINARY.exists(), "the simulator is not built: run tests/lab/setup.sh"
    certificate(folder)
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "inventory.json").write_text(json.dumps(inventory))
    args = {
        "cert": "cert.pem",
        "key": "key.pem",
        "user": USER,
        "password-file": "password",
        "datastore": "store",
        "inventory": "inventory.json",
    }
    command = [str(BINARY), *(word for flag, value in args.items() for word in (f"-{flag}", value))]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            ready = json.loads(line)
            assert ready["pid"] == process.pid
            tls = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            base = ready["url"].removesuffix("/sdk")
            with httpx.Client(base_url=base, verify=tls, timeout=30) as http:
                files = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
                lab = LabVcsim(ready["url"], folder / "store" / "LocalDS_0", tls, http, files)
                instance = lab.login()
                lab.content = instance.RetrieveContent()
                view = lab.content.viewManager.CreateContainerView(
                    lab.content.rootFolder, [vim.VirtualMachine], recursive=True
                )
                lab.vms = {vm.name: vm for vm in view.view}
                yield lab
                Disconnect(instance)
            process.terminate()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
            process.wait(timeout=10)
