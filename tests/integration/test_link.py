"""The link itself: a line that goes dead without a word, and one that is narrow."""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.adapters.tunnel import local
from migratekit_core.config.folders import runtime_dir, socket_path
from migratekit_core.engine.job import Done, Event, Progress
from tests.integration.servers import MIB, same
from tests.integration.support import eventually
from tests.wire.far import SSH_PORT, TLS_PORT, Far, established, far
from tests.wire.namespaces import Wire, wire

SIZE = 24 * MIB
RATE = 6 * MIB
CUT_SECONDS = float(os.environ.get("LINK_CUT_SECONDS", "17"))
"""60 is what a copy has to live through; here just long enough that everybody has noticed."""
PATIENCE = 60.0
"""Seconds in which both hosts have to notice; without limits of ours the kernel takes a quarter of an hour."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def link() -> Iterator[Wire]:
    if os.geteuid() != 0:
        assert not os.environ.get("CI"), "CI runs as root: network namespaces need it"
        pytest.skip("network namespaces need root")
    with wire() as made:
        yield made


@pytest.fixture
def there(link: Wire) -> Iterator[Far]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        folder = Path(name)
        (folder / "target.img").write_bytes(b"\xff" * SIZE)
        with far(link, folder, "file", str(folder / "target.img")) as started:
            yield started
            link.mend()


def test_a_dead_line_is_noticed_in_time_and_a_copy_only_waits_for_it(link: Wire, there: Far) -> None:
    """All that is open: the engine's connections, an idle one of each kind of tunnel, and the OMA's ends of them."""
    image = there.folder / "source.img"
    image.write_bytes(random.Random(5).randbytes(SIZE))
    moving, results = threading.Event(), []

    def observe(event: Event) -> None:
        if isinstance(event, Progress) and event.done > 4 * MIB:
            moving.set()

    copying = threading.Thread(target=lambda: results.append(there.copy(image, "tls", observe=observe, rate=RATE)))
    with link.vma():
        idle = [connected(there, "tls"), connected(there, "ssh")]
    copying.start()
    assert moving.wait(60)
    ports = (TLS_PORT, SSH_PORT)
    ends = {name: established(name, ports) for name in (link.vma_name, link.oma_name)}
    assert all(len(held) >= 4 for held in ends.values()), ends
    began = time.monotonic()
    link.cut()
    noticed: dict[str, float] = {}
    while sum(map(len, ends.values())) > len(noticed) and time.monotonic() - began < PATIENCE:
        for name, held in ends.items():
            for gone in held - established(name, ports) - noticed.keys():
                noticed[gone] = time.monotonic() - began
        time.sleep(0.1)
    shown = ", ".join(f"{ends} {seconds:.1f} s" for ends, seconds in sorted(noticed.items()))
    print(f"\n  half-open connections ended after: {shown}", file=sys.stderr)
    assert sum(map(len, ends.values())) == len(noticed)
    # Whoever used them is told: the local ends close what leads nowhere.
    for plain in idle:
        plain.settimeout(20)
        assert plain.recv(1) == b""
        plain.close()
    time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - began)))
    assert copying.is_alive(), "the copy gave up"
    link.mend()
    copying.join(120)
    (done,) = results
    assert isinstance(done, Done)
    assert done.retries > 0
    same(there.folder / "target.img", image)
    eventually("SSH logs in again", lambda: ssh_log(there).count("logged in") == 2, 30)
    with link.vma():
        connected(there, "ssh").close()


def connected(there: Far, kind: str) -> socket.socket:
    """Return a connection through a kind of tunnel to the NBD server, which has greeted and waits."""
    tunnel = there.ssh if kind == "ssh" else there.tls
    local.up(tunnel)
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(30)
    plain.connect(str(socket_path(tunnel, "nbd")))
    greeting = b""
    while len(greeting) < 18:
        more = plain.recv(18 - len(greeting))
        assert more, "the greeting broke off"
        greeting += more
    assert greeting.startswith(b"NBDMAGIC")
    return plain


def ssh_log(there: Far) -> str:
    return (runtime_dir(there.ssh) / local.LOG).read_text()


@pytest.mark.parametrize("kind", ["tls", "ssh"])
def test_a_narrow_line_carries_the_data_once_and_zeros_for_nothing(link: Wire, there: Far, kind: str) -> None:
    """100 Mbit/s; how full it gets is measured by `nox -s wan`, on a machine that does nothing else."""
    link.limit("100mbit", "64kb")
    image, empty = there.folder / "source.img", there.folder / "empty.img"
    image.write_bytes(random.Random(6).randbytes(SIZE))
    empty.write_bytes(bytes(SIZE))
    before = link.bytes_sent()
    done = there.copy(image, kind)
    sent = link.bytes_sent() - before
    # Headers of Ethernet, IP, TCP and TLS, and acknowledgements, are a twentieth; sent twice it would be double.
    assert SIZE < sent < 1.1 * SIZE
    assert done.seconds > SIZE * 8 / 100e6 * 0.95, "the line was not narrow"
    before = link.bytes_sent()
    there.copy(empty, kind)
    there.copy(image, kind, [(0, 64 * 1024)])
    assert link.bytes_sent() - before < 256 * 1024, "zeros, and what is not allocated, cost nothing"
    with (there.folder / "target.img").open("rb") as file:
        assert file.read(64 * 1024) == image.read_bytes()[: 64 * 1024]
        assert not any(file.read())
