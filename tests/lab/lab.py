"""Starts the whole lab and stops it: vCenter, CloudStack, MariaDB, the OMA's tunnel end, the volume daemon.

Everything lives below one folder (`run`); the sockets, whose paths must be short, in one below the temporary directory.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.files import write_private
from tests.lab import guest
from tests.lab.cloudstack import violations
from tests.lab.parts import cloud, mariadb, oma, process, vcenter
from tests.lab.parts.process import LabError, Part

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab"
BINARY = LAB / "bin" / "labvcsim"
COMMAND = ROOT / ".venv" / "bin" / "migratekit"
PREFERRED = {"tunnel": 443, "daemon": 8090, "nbd": 10809, "db": 3306, "vcenter": 8989, "cloud": 8096}
"""The ports of the production layout; another free one is taken where one is in use."""
NOBODY = ROOT / "tests" / "data" / "nobodys-ca.pem"
"""An authority that has signed nothing."""
COMMAND_SECONDS = 180
SOCKETS = "sockets"
"""File that says where the lab's sockets are."""


class Sides(Protocol):
    """Where the parts of each host run: blocks that a thread enters, and the address of the OMA's one port.

    The lab as a rule has both on this machine's loopback; tests.wire puts a link between them.
    """

    @property
    def address(self) -> str:
        """Return the address that the OMA's port is on."""

    def vma(self) -> AbstractContextManager[None]:
        """Be on the VMA."""

    def oma(self) -> AbstractContextManager[None]:
        """Be on the OMA, or where CloudStack is."""


class Together:
    """Both on loopback."""

    address = "127.0.0.1"

    def vma(self) -> AbstractContextManager[None]:
        """Be where everything is."""
        return nullcontext()

    oma = vma


@dataclass
class Lab:
    """The running lab."""

    run: Path
    sockets: Path
    ports: dict[str, int]
    config: Path
    daemon_config: Path
    vcenter: vcenter.VCenter
    cloud: cloud.Cloud
    secrets: dict[str, str]
    sides: Sides
    parts: dict[str, Part] = field(default_factory=dict)

    def migratekit(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line with the lab's configuration; `options` go to subprocess.run."""
        with self.sides.vma():
            return subprocess.run(
                [str(COMMAND), "--config", str(self.config), *arguments],
                **{
                    "capture_output": True,
                    "text": True,
                    "timeout": COMMAND_SECONDS,
                    "check": False,
                    "stdin": subprocess.DEVNULL,
                    "env": environment(),
                    **options,
                },
            )

    def oma_problem(self) -> str:
        """Return the code of what keeps the OMA from taking disks, as the volume daemon says it, or ""."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.ports['daemon']}/api/v1/volumes",
            params={"oma": "true"},
            headers={"Authorization": f"Bearer {self.secrets['daemon']}"},
            trust_env=False,
            timeout=60,
        )
        problem = answer.raise_for_status().json()["oma"]["problem"]
        return str(problem["code"]) if problem else ""

    def restart_daemon(self, **env: str) -> None:
        """Start the volume daemon (again); `env` is added to its environment."""
        with self.sides.oma():
            given = {"SSL_CERT_FILE": str(NOBODY), **env}
            self.parts["daemon"] = oma.start_daemon(self.run, COMMAND, self.daemon_config, self.ports["daemon"], given)

    def restart_database(self) -> None:
        """Start MariaDB again on the data it had."""
        socket = self.sockets / "mariadb.sock"
        password = self.secrets["database"]
        with self.sides.oma():
            self.parts["db"] = mariadb.start(self.run, LAB / "cache", self.ports["db"], password, socket, fresh=False)


@contextmanager
def running(
    run: Path,
    *,
    preferred_ports: bool,
    inventory: Callable[[guest.Images], dict[str, Any]] = guest.inventory,
    cloud_options: tuple[str, ...] = (),
    sides: Sides | None = None,
) -> Iterator[Lab]:
    """Start the lab in `run`, which is emptied, and stop all of it at the end of the block, whatever happened."""
    _need()
    with _alone(run):
        sweep(run)
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True, mode=0o700)
        sockets = Path(tempfile.mkdtemp(prefix="mk-lab-"))
        (run / SOCKETS).write_text(str(sockets))
        try:
            yield _start(run, sockets, preferred_ports, inventory, cloud_options, sides or Together())
            _check_requests(run)
        finally:
            sweep(run)


def _check_requests(run: Path) -> None:
    """Raise LabError where CloudStack was asked what no client may ask; under pytest that fails the very test."""
    found = violations.read(run / "cloud" / violations.FILE)
    if found and violations.VARIABLE not in os.environ:
        raise LabError("requests that no client may send to CloudStack: " + "; ".join(sorted(set(found))))


def sweep(run: Path) -> list[str]:
    """End whatever a lab in `run` has running, also one that was killed; return the names of what was."""
    ended = process.end_all(run)
    # These outlive on purpose the daemon, and the command, that started them.
    ended += oma.end_servers(run / "daemon")
    if (run / SOCKETS).exists():
        sockets = Path((run / SOCKETS).read_text())
        ended += process.end_by_file(sockets / "vma" / "tunnel.pid")
        shutil.rmtree(sockets, ignore_errors=True)
    return ended


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the folder: a second lab in it would end the first one's parts."""
    run.parent.mkdir(parents=True, exist_ok=True)
    with (run.parent / f"{run.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("a lab or a demo runs here already: wait for it, or stop it (make lab-down)") from None
        yield


def _start(
    run: Path,
    sockets: Path,
    preferred_ports: bool,
    inventory: Callable[[guest.Images], dict[str, Any]],
    cloud_options: tuple[str, ...],
    sides: Sides,
) -> Lab:
    with sides.oma():
        ports = {name: process.choose_port(port if preferred_ports else None) for name, port in PREFERRED.items()}
    keys = {name: secrets.token_urlsafe(24) for name in ("database", "daemon", "vcenter")}
    keys["encryption"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    pki.init(run / "pki")
    images = guest.make_images(run / "images", LAB / "cache" / "boot")
    with sides.vma():
        centre = vcenter.start(run, BINARY, ports["vcenter"], keys["vcenter"], inventory(images), sides.vma)
    services = {"volumes": ports["daemon"], "db": ports["db"], "nbd": ports["nbd"]}
    with sides.oma():
        ossea = cloud.start(run, ROOT, ports["cloud"], *cloud_options, side=sides.oma)
        db = mariadb.start(run, LAB / "cache", ports["db"], keys["database"], sockets / "mariadb.sock")
        tunnel = oma.start_tunnel(run, ports["tunnel"], run / "pki", services, sides.address)
    keys["ossea-api"], keys["ossea-secret"] = ossea.api_key, ossea.secret_key
    for name, secret in keys.items():
        write_private(run / f"{name}.secret", secret + "\n")

    config, daemon_config = run / "config.toml", run / "oma.toml"
    write_private(config, _vma_config(run, sockets, ports, ossea, sides.address))
    oma_vm = next(vm for vm in ossea.state()["virtualmachines"] if vm["name"] == "oma01")
    write_private(daemon_config, _oma_config(run, ports, ossea, Path(oma_vm["byid"])))
    lab = Lab(run, sockets, ports, config, daemon_config, centre, ossea, keys, sides, {"db": db, "tunnel": tunnel})
    upgraded = lab.migratekit("db", "upgrade")
    if upgraded.returncode != 0:
        raise LabError(f"migratekit db upgrade failed: {upgraded.stderr}")
    with sides.oma():
        lab.parts["exporter"] = oma.start_exporter(run, COMMAND, daemon_config, ports["nbd"])
    lab.restart_daemon()
    return lab


def _need() -> None:
    missing = [name for name in ("mariadbd", "haproxy", "nbdkit", "mke2fs", "debugfs") if shutil.which(name) is None]
    missing += [str(path.relative_to(ROOT)) for path in (BINARY, COMMAND) if not path.exists()]
    if missing:
        raise LabError(f"the lab lacks {', '.join(missing)}: run tests/lab/setup.sh")


def _vma_config(run: Path, sockets: Path, ports: dict[str, int], ossea: cloud.Cloud, address: str) -> str:
    return f"""\
# The VMA of the lab: everything goes through the tunnel.
[vcenter]
host = "127.0.0.1"
port = {ports["vcenter"]}
user = "{vcenter.USER}"
password = {{ file = "{run}/vcenter.secret" }}
ca_file = "{run}/vcenter-pki/ca.pem"

[tunnel]
kind = "tls"
host = "{address}"
port = {ports["tunnel"]}
ca_file = "{run}/pki/ca.pem"
cert_file = "{run}/pki/vma.pem"
crl_file = "{run}/pki/crl.pem"
runtime_dir = "{sockets}/vma"

[volumes]
token = {{ file = "{run}/daemon.secret" }}

[networks]
test = "migration-test"

[networks.map]
"VM Network" = "guest-prod"

[failover]
shutdown_timeout = 20
inspect_guest = false
boot_timeout = 60

{_database(run)}
{_ossea(run, ossea)}"""


def _oma_config(run: Path, ports: dict[str, int], ossea: cloud.Cloud, devices: Path) -> str:
    return f"""\
# The OMA of the lab: the volume daemon.
[daemon]
port = {ports["daemon"]}
token_file = "{run}/daemon.secret"
device_dir = "{devices}"
device_timeout = 10
state_dir = "{run}/daemon"
nbd_port = {ports["nbd"]}

{_database(run)}host = "127.0.0.1"
port = {ports["db"]}

{_ossea(run, ossea)}"""


def _database(run: Path) -> str:
    return f"""\
[database]
kind = "mariadb"
user = "{mariadb.USER}"
password = {{ file = "{run}/database.secret" }}
encryption_key = {{ file = "{run}/encryption.secret" }}
"""


def _ossea(run: Path, ossea: cloud.Cloud) -> str:
    return f"""\
[ossea]
api_url = "{ossea.url}"
api_key = {{ file = "{run}/ossea-api.secret" }}
secret_key = {{ file = "{run}/ossea-secret.secret" }}
zone = "lab-zone-1"
service_offering = "Custom Instance"
disk_offering = "Custom"
template = "migratekit-shell"
oma_vm = "oma01"
"""


def environment() -> dict[str, str]:
    """Return the environment of commands that a test runs: this one's, without anybody's configuration.

    No part of the lab is trusted for a public authority: those are not read, which PyMySQL would for each connection.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("MIGRATEKIT_", "XDG_"))}
    return {**mine, "SSL_CERT_FILE": str(NOBODY)}
