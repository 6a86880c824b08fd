"""Rows that read disks of the lab's vSphere, by a reader of ours and by nbdkit's curl plugin, both over TLS.

Each reader of NAMES is measured alike: one disk and four, from here and from 5 and 20 ms away. A disk a tenth full
tells what crosses the wire.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migratekit_core.adapters.readers import readers
from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.https import flat_url
from migratekit_core.adapters.readers.model import Snapshot
from migratekit_core.adapters.readers.reader import nbd_uri, nbdkit, secret_pipe, serve
from migratekit_core.adapters.vsphere import client, snapshots
from migratekit_core.adapters.vsphere.inventory import find_vm, managed_object, read_disks
from migratekit_core.config.schema import Config, VCenter
from migratekit_core.config.secret import SecretSource
from migratekit_core.config.source import Source
from migratekit_core.engine.job import Job
from tests.bench.delay import Distance, away
from tests.bench.images import MIB, random_image, scattered_image
from tests.bench.measure import GIB, RUNS, Row, cpu_seconds, engine, server
from tests.lab.lab import BINARY
from tests.lab.parts import vcenter as lab
from tests.lab.parts.process import choose_port

NAMES = ("https",)
"""The readers that are measured: a line here is all that another one needs."""
ASKED = {
    "https": {(0, 1): ">= 1.0"},
    "nfc": {(0, 1): ">= 1.2", (5, 1): ">= 1.5", (20, 1): ">= 3", (0, 4): ">= 1.2", (5, 4): ">= 1.5", (20, 4): ">= 3"},
}
"""By round trip and disks; the rest is for information."""
WIRE_ASKED = {"nfc": "<= 0.12 of its size on the wire"}
SETTINGS: dict[str, dict[str, Any]] = {"https": {}, "nfc": {"nfc": {"compression": "none"}}}
"""Of the table [source], for data that does not shrink."""
FAR = {0: 256 * MIB, 5: 128 * MIB, 20: 64 * MIB}
"""Bytes to read in all, by round trip in milliseconds."""
MOST_DISKS = 4
PASSWORD = "not a secret"


@dataclass(frozen=True)
class Site:
    """A vCenter, a machine with an open snapshot, and the disks of that."""

    vcenter: VCenter
    snapshot: Snapshot
    disks: Sequence[Any]

    def at(self, port: int) -> Site:
        """Return it as it is reached by another port."""
        return Site(self.vcenter.model_copy(update={"port": port}), self.snapshot, self.disks)


@dataclass
class Run:
    """What reading once took."""

    seconds: float
    cpu: float
    wire: int


def readers_of_ours(folder: Path) -> list[Row]:
    """Read random data with each reader, beside the curl plugin."""
    with _site(folder, random_image(folder, FAR[0]), MOST_DISKS) as (site, port):
        return [
            _row(folder, site, port, name, round_trip, count)
            for name in NAMES
            for round_trip in FAR
            for count in (1, MOST_DISKS)
        ]


def readers_wire(folder: Path) -> list[Row]:
    """Read a disk of which a tenth is data, as it is configured by default, and count what crosses the wire."""
    image, _ = scattered_image(folder, FAR[0], FAR[0] // 10, MIB)
    rows = []
    with _site(folder, image, 1) as (site, port), away(folder, port, 0) as distance:
        near = site.at(distance.port)
        for name in NAMES:
            ours, theirs = _in_turn(
                lambda name=name: _read(_by_reader(near, name, {}), near, 1, FAR[0], distance),  # type: ignore[misc]
                lambda: _read(_by_curl(near), near, 1, FAR[0], distance),
            )
            more = {"wire_of_its_size": round(statistics.median(run.wire for run in ours) / FAR[0], 3)}
            rows.append(
                _made(
                    f"{name}_wire",
                    "a disk a tenth full, all of it read",
                    ours,
                    theirs,
                    FAR[0],
                    WIRE_ASKED.get(name, "-"),
                    more,
                )
            )
    return rows


def _row(folder: Path, site: Site, port: int, name: str, round_trip: int, count: int) -> Row:
    size = FAR[round_trip]
    with away(folder, port, round_trip) if round_trip else nullcontext(None) as distance:
        here = site.at(distance.port) if distance else site
        ours, theirs = _in_turn(
            lambda: _read(_by_reader(here, name, SETTINGS.get(name, {})), here, count, size, distance),
            lambda: _read(_by_curl(here), here, count, size, distance),
        )
    what = f"{size // MIB} MiB random, {count} disk{'s' * (count > 1)}, {round_trip} ms round trip"
    asked = ASKED.get(name, {}).get((round_trip, count), "-")
    return _made(f"{name}_{round_trip}ms_{count}", what, ours, theirs, size, asked, {})


def _made(name: str, what: str, ours: list[Run], theirs: list[Run], size: int, asked: str, more: dict[str, Any]) -> Row:
    cpu = {
        f"{whose}_cpu_seconds_per_gib": round(statistics.median(run.cpu for run in runs) * GIB / size, 2)
        for whose, runs in (("ours", ours), ("peer", theirs))
    }
    seconds = [run.seconds for run in ours], [run.seconds for run in theirs]
    return Row(name, what, "nbdkit's curl plugin", *seconds, size, asked, {**cpu, **more})


def _in_turn(ours: Callable[[], Run], theirs: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
    """Run both once to warm up, then A B A B …."""
    ours()
    theirs()
    pairs = [(ours(), theirs()) for _ in range(RUNS)]
    return [mine for mine, _ in pairs], [peer for _, peer in pairs]


Opened = Callable[[Any, ExitStack], str]
"""Open a disk until the stack is closed, and return its URI."""


def _by_reader(site: Site, name: str, settings: dict[str, Any]) -> Opened:
    config = Config(vcenter=site.vcenter, source=Source.model_validate({"reader": name, **settings}))
    return lambda disk, opened: opened.enter_context(
        readers.open_disk(config, site.snapshot, disk, lambda line: None, lambda: False)
    )


def _by_curl(site: Site) -> Opened:
    """Return what the https reader was before it had a process of ours."""

    def open_disk(disk: Any, opened: ExitStack) -> str:
        folder = opened.enter_context(private_folder("curl"))
        password = opened.enter_context(secret_pipe(PASSWORD))
        command = [
            *nbdkit(folder / "disk.sock"),
            "curl",
            f"url={flat_url(site.vcenter, site.snapshot.vm.datacenter, disk)}",
            f"user={lab.USER}",
            f"password=-{password}",
            "protocols=https",
            f"cainfo={site.vcenter.ca_file}",
            f"capath={folder}",
        ]
        opened.enter_context(serve(command, folder / "disk.sock", "bench", pass_fds=[password]))
        return nbd_uri(folder / "disk.sock")

    return open_disk


def _read(open_disk: Opened, site: Site, count: int, size: int, distance: Distance | None) -> Run:
    """Read `size` bytes in all of so many disks at once, as the engine reads them, to a target that takes no time."""
    part = size // count
    port = choose_port(None)
    with ExitStack() as opened:
        before = _children()
        uris = [open_disk(disk, opened) for disk in site.disks[:count]]
        processes = _children() - before
        opened.enter_context(
            server(
                "nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "null", str(site.disks[0].capacity_bytes), port=port
            )
        )
        jobs = [
            Job(f"disk {number}", uri, f"nbd://127.0.0.1:{port}", site.disks[0].capacity_bytes, full=False)
            for number, uri in enumerate(uris)
        ]
        wire = distance.received if distance else 0
        cpu = sum(map(cpu_seconds, processes))
        began = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda job: engine(job, [(0, part)]), jobs))
        seconds = time.monotonic() - began
        return Run(seconds, sum(map(cpu_seconds, processes)) - cpu, distance.received - wire if distance else 0)


def _children() -> set[int]:
    """Return the processes that this one has started."""
    found: set[int] = set()
    for tasks in Path("/proc/self/task").glob("*/children"):
        found |= {int(pid) for pid in tasks.read_text().split()}
    return found


@contextmanager
def _site(folder: Path, image: Path, disks: int) -> Iterator[tuple[Site, int]]:
    """Run the lab's vCenter with a machine of such disks, and take a snapshot; yield that and the port."""
    held = [{"label": f"Hard disk {n + 1}", "size_bytes": FAR[0], "image": str(image)} for n in range(disks)]
    (folder / "vcenter").mkdir()
    inventory = {"vms": [{"name": "bench", "power": "on", "tools": "running", "cbt": True, "disks": held}]}
    started = lab.start(folder / "vcenter", BINARY, choose_port(None), PASSWORD, inventory)
    try:
        settings = VCenter(
            host="127.0.0.1",
            port=started.port,
            user=lab.USER,
            password=SecretSource(file=folder / "vcenter" / "vcenter.pass"),
            ca_file=started.ca,
        )
        with client.connect(settings) as service:
            vm = find_vm(service, "bench")
            managed = managed_object(service, vm)
            taken = snapshots.create(managed, "bench", "")
            snapshot = Snapshot(vm, taken._moId, lambda: nullcontext(managed))
            yield Site(settings, snapshot, read_disks(taken)), started.port
    finally:
        started.http.close()
        started.part.stop()
