"""The guest with MigrateKit's Debian package installed, made once for each package."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.lab.lab import LAB
from tests.lab.oma_guest import Guest, Images, make, running
from tests.package import deb

CACHE = LAB.absolute() / "cache" / "oma-guest"
INIT = (
    "migratekit config init --role single --vcenter-host vc.example.com --vcenter-user me --oma-vm oma01 "
    "--api-url http://127.0.0.1:8080/client/api --zone lab-zone-1 --database sqlite --generate "
    "--service-offering 'Custom Instance' --disk-offering Custom --template migratekit-shell"
)


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve a folder on loopback, which a guest reaches as 10.0.2.2; yield the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def fetch(guest: Guest, port: int, name: str, target: str) -> None:
    """Have a guest fetch a file that is `served`."""
    url = f"http://10.0.2.2:{port}/{name}"
    guest.run(f'python3 -c \'import urllib.request; urllib.request.urlretrieve("{url}", "{target}")\'')


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The guest's disks with the package installed, and nothing done to its filters."""
    bare = make(CACHE)
    folder = tmp_path_factory.mktemp("package")
    package = deb.build(folder, compression="gzip")
    inside = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    made = CACHE / f"with-{hashlib.sha256(inside + bare.root.parent.name.encode()).hexdigest()[:16]}"
    if not made.exists():
        for old in CACHE.glob("with-*"):
            subprocess.run(["rm", "-rf", str(old)], check=True)
        with running(folder / "guest", bare) as guest:
            with served(folder) as port:
                fetch(guest, port, package.name, "/root/migratekit.deb")
            guest.run("dpkg -i /root/migratekit.deb && rm /root/migratekit.deb")
            guest.run(INIT)
            guest.stop()
        (folder / "guest").rename(made)
    return Images(made / "root.qcow2", made / "data.qcow2", bare.replicas)


@pytest.fixture
def guest(images: Images, tmp_path: Path) -> Iterator[Guest]:
    """A guest that is up, with the package; what it changes is gone afterwards."""
    with running(tmp_path / "guest", images) as up:
        yield up
