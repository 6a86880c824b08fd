"""One port: two network namespaces joined by a link, the OMA's services in one, the commands in the other.

The whole main job runs across, the link is captured, and every port of both hosts is tried from the other.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.machines import machine, random_disk, thin
from tests.integration.support import GRANULE, MIB, eventually, finished, identical, nothing_left, report, sql, started
from tests.lab.guest import Images
from tests.lab.lab import Lab, running
from tests.lab.parts.process import answers
from tests.wire import capture
from tests.wire.namespaces import OMA_ADDRESS, OMA_DEVICE, VMA_ADDRESS, VMA_DEVICE, Relay, Wire, ip, listeners, wire
from tests.wire.scan import scan

VM = "far01"
SIZE = 12 * MIB
CUT_VM, CUT_SIZE = "far02", 24 * MIB
CUT_SECONDS = float(os.environ.get("LINK_CUT_SECONDS", "15"))
"""60 is what a sync has to live through, and has; here long enough that each connection is lost."""
PORT = 443
PLANTED = b"planted-on-the-disk-of-far01:"
RNG = random.Random(63)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def _root() -> None:
    if os.geteuid() == 0:
        return
    assert not os.environ.get("CI"), "CI runs as root: network namespaces need it"
    pytest.skip("network namespaces need root")


def disk() -> bytes:
    """Return a disk full of random data, with words in every block that are easy to find."""
    blocks = [PLANTED + b"%06d:" % number for number in range(SIZE // 4096)]
    return b"".join(words + RNG.randbytes(4096 - len(words)) for words in blocks)


def inventory(images: Images) -> dict[str, Any]:
    image = images.data.parent / f"{VM}.img"
    image.write_bytes(disk())
    planted = {"size_bytes": SIZE, "provisioning": "thick", "image": str(image)}
    return {"vms": [machine(VM, planted, thin(64 * MIB)), machine(CUT_VM, random_disk(images, CUT_VM, CUT_SIZE))]}


@dataclass
class Job:
    """What the main job left behind."""

    link: capture.Capture
    plain: capture.Capture
    """The same time on the OMA's loopback, behind the tunnel: the control."""
    steps: dict[str, dict[str, Any]]
    exports: list[str]


@pytest.fixture(scope="module")
def link() -> Iterator[Wire]:
    with wire() as made:
        yield made


@pytest.fixture(scope="module")
def lab(link: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    run = tmp_path_factory.mktemp("far") / "run"
    with running(run, preferred_ports=True, inventory=inventory, sides=link) as started:
        cloud = Relay(link.vma(), link.oma_name, started.ports["cloud"])
        yield started
        cloud.close()


@pytest.fixture(scope="module")
def job(lab: Lab, link: Wire, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Everything from discovery to the cut-over, captured."""
    folder = tmp_path_factory.mktemp("captures")
    files = folder / "link.pcap", folder / "plain.pcap"
    steps = {}
    # What is up already was connected before the capture began.
    report(lab, "tunnel", "down")
    with capture.capturing(link.oma(), OMA_DEVICE, files[0]), capture.capturing(link.oma(), "lo", files[1]):
        steps["discover"] = report(lab, "discover")
        steps["full"] = report(lab, "replicate", VM)
        lab.vcenter.write(VM, 0, 3 * MIB, PLANTED + RNG.randbytes(GRANULE - len(PLANTED)))
        steps["incremental"] = report(lab, "replicate", VM)
        steps["verify"] = report(lab, "verify", VM)
        steps["test-failover"] = report(lab, "test-failover", VM)
        steps["cleanup"] = report(lab, "cleanup", VM)
        steps["failover"] = report(lab, "failover", VM, "--yes")
    exported = sql(
        lab, "SELECT request, response FROM volume_operations WHERE type = 'export'", database="migratekit_volumes"
    )
    exports = re.findall(r"migration-[\w-]+-[0-9a-f]{8}", json.dumps(exported, default=str))
    return Job(capture.read(files[0]), capture.read(files[1]), steps, exports)


def needles(lab: Lab, job: Job) -> dict[str, bytes]:
    """Return what must not be on the link: words of NBD, SQL and HTTP, the disk's, and every secret."""
    return {
        "NBD greeting": b"NBDMAGIC",
        "NBD option": b"IHAVEOPT",
        "NBD option reply": bytes.fromhex("0003e889045565a9"),
        "NBD write request": bytes.fromhex("2560951300000001"),
        "NBD reply": bytes.fromhex("6744669800000000"),
        "SQL select": b"SELECT ",
        "SQL insert": b"INSERT INTO",
        "SQL table": b"replication_jobs",
        "MariaDB greeting": b"mysql_native_password",
        "MariaDB database": b"migratekit_oma",
        "HTTP request": b"GET /api/v1",
        "HTTP change": b"POST /api/v1",
        "HTTP answer": b"HTTP/1.1 20",
        "HTTP token": b"Authorization: Bearer",
        "JSON": b'"volume_id"',
        "disk": PLANTED,
        "export name": job.exports[0].encode(),
        "daemon's token": lab.secrets["daemon"].encode(),
    }


def test_the_whole_job_ran_across(lab: Lab, job: Job) -> None:
    assert VM in [vm["name"] for vm in job.steps["discover"]["vms"]]
    assert (job.steps["full"]["kind"], job.steps["incremental"]["kind"]) == ("full", "incremental")
    assert job.steps["full"]["bytes_moved"] >= SIZE
    assert job.steps["incremental"]["bytes_moved"] == GRANULE
    assert job.steps["cleanup"]["machines"] == [job.steps["test-failover"]["destination_vm_id"]]
    machine = lab.cloud.machine(VM)
    assert machine is not None
    assert machine["state"] == "Running"
    assert lab.vcenter.vm(VM)["power"] == "off"
    identical(lab, VM)
    nothing_left(lab, VM)


def test_nothing_plain_is_on_the_link(lab: Lab, job: Job) -> None:
    """Neither in a packet nor across two; the same search finds each of them behind the tunnel."""
    looked_for = needles(lab, job)
    # The capture did see the job: the disk's bytes went over it.
    moved = sum(len(stream.data) for stream in job.link.streams if stream.source[0] == VMA_ADDRESS)
    assert moved > SIZE
    assert job.link.found(looked_for) == []
    assert sorted(job.plain.found(looked_for)) == sorted(looked_for)


def test_every_byte_on_the_link_is_in_a_tls_record(job: Job) -> None:
    kinds: dict[str, int] = {}
    for stream in job.link.streams:
        assert stream.whole
        for kind, size in capture.records(stream).items():
            kinds[kind] = kinds.get(kind, 0) + size
    # In TLS 1.3 certificates are encrypted, too: in the clear are the two hellos, and an alert where there is one.
    assert kinds["application data"] > SIZE
    assert kinds["handshake"] < 1200 * len(job.link.streams)
    print(f"\n  link: {job.link.packets} packets, {len(job.link.streams) // 2} connections, {kinds}", file=sys.stderr)


def test_every_connection_is_the_vmas_to_the_one_port(job: Job) -> None:
    for stream in job.link.streams:
        ends = {stream.source, stream.target}
        assert (OMA_ADDRESS, PORT) in ends
        (other,) = ends - {(OMA_ADDRESS, PORT)}
        assert other[0] == VMA_ADDRESS
    # What is no TCP: who has which address (ARP), and IPv6's same questions.
    assert set(job.link.others) <= {"0x0806", "0x86dd"}, job.link.others


def test_from_the_vma_exactly_one_port_answers(lab: Lab, link: Wire) -> None:
    with link.vma():
        found = scan(OMA_ADDRESS)
        over_ipv6 = scan(link_local(link.oma_name, OMA_DEVICE), VMA_DEVICE)
    assert found.open == [PORT]
    # Refused, not dropped: nothing hides behind a packet filter.
    assert found.outcomes == {"open": 1, "ECONNREFUSED": 65534}
    assert over_ipv6.open == []
    # The control: the services do listen, on the OMA's loopback.
    with link.oma():
        assert all(answers(lab.ports[name]) for name in ("daemon", "db", "nbd"))
    print(f"\n  scan from the VMA: {found}", file=sys.stderr)


def test_from_the_oma_nothing_of_the_vma_answers(lab: Lab, link: Wire) -> None:
    report(lab, "tunnel", "up")
    with link.oma():
        found = scan(VMA_ADDRESS)
        over_ipv6 = scan(link_local(link.vma_name, VMA_DEVICE), OMA_DEVICE)
    assert (found.open, over_ipv6.open) == ([], [])
    assert found.outcomes == {"ECONNREFUSED": 65535}
    # No packet filter is needed for it: what listens there does so on loopback.
    assert all(address.startswith("127.0.0.1:") for address in listeners(link.vma_name)), listeners(link.vma_name)
    print(f"\n  scan from the OMA: {found}", file=sys.stderr)


def test_a_link_that_is_cut_in_the_middle_of_a_full_sync_only_delays_it(lab: Lab, link: Wire) -> None:
    """Data, database and daemon all go over it: each waits, connects anew, and goes on where it was."""
    with started(lab, "replicate", CUT_VM, "--bandwidth", "2M", "--output", "json") as command:
        far_enough = "SELECT position FROM replication_checkpoints WHERE position > 0"
        eventually("the copy is in its middle", lambda: sql(lab, far_enough) or sql(lab, IN_COPY), 60)
        time.sleep(3)
        assert command.poll() is None
        link.cut()
        try:
            time.sleep(CUT_SECONDS)
            assert command.poll() is None, "it gave up"
        finally:
            link.mend()
        done = finished(command, 200)
    assert done.returncode == 0, done.stderr
    (disk,) = json.loads(done.stdout)["disks"]
    assert disk["moved"] >= CUT_SIZE
    identical(lab, CUT_VM)
    nothing_left(lab, CUT_VM)


IN_COPY = "SELECT id FROM joblog_steps WHERE name = 'copy' AND status = 'running'"


def link_local(name: str, device: str) -> str:
    """Return the IPv6 address that the kernel gave a device by itself."""
    shown = ip("-n", name, "-6", "addr", "show", "dev", device, "scope", "link")
    found = re.search(r"inet6 (fe80::[0-9a-f:]+)/", shown)
    assert found is not None, shown
    return found[1]


def test_the_vma_has_no_other_way_out(link: Wire) -> None:
    for name in (link.vma_name, link.oma_name):
        assert "default" not in ip("-n", name, "route")
    assert Path(f"/run/netns/{link.vma_name}").exists()
