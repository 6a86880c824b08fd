"""Where a fault happens: a source, the tunnel's two ends, and an exporter with a cache that dies with it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migratekit_core.adapters.tunnel import SERVICES, Gate, local, pki
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import Tunnel
from tests.integration.servers import KIB, MIB, Server
from tests.lab.parts import oma
from tests.lab.parts.process import Part, choose_port

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 64 * KIB
SIZE = 256 * MIB
DATA = 112 * MIB
"""How much a run has to copy: enough that a run from the start would break the bound."""
RATE = 96 * MIB
"""Bytes per second of the run that is disturbed, so that its middle can be hit."""
FAR_MILLISECONDS = 20
SETTLE_SECONDS = 0.5
SECONDS = 60.0
"""Until a run that does not end counts as hanging."""

Areas = list[tuple[int, int]]


@dataclass(frozen=True)
class Images:
    """What all stages start from."""

    old: Path
    """What the target holds at first: the last sync's replica, and for a full copy something that has to go."""
    fresh: Path
    """A disk for a full copy; `allocated` holds its data, the rest are holes."""
    written: Path
    """`old` after the guest has written `changed`."""
    allocated: Areas
    changed: Areas

    @classmethod
    def make(cls, folder: Path) -> Images:
        """Write all three."""
        rng = random.Random(11)
        old, fresh, written = (folder / f"{name}.img" for name in ("old", "fresh", "written"))
        allocated, changed = _runs(rng), _runs(rng)
        for path in (old, fresh):
            with path.open("wb") as file:
                file.truncate(SIZE)
        _fill(old, rng, _runs(rng))
        _fill(fresh, rng, allocated)
        shutil.copyfile(old, written)
        _fill(written, rng, changed)
        return cls(old, fresh, written, allocated, changed)


def _runs(rng: random.Random) -> Areas:
    """Return runs of 64 to 512 KiB, DATA bytes in all, scattered over the disk."""
    areas, left = [], DATA
    for place in sorted(rng.sample(range(SIZE // (512 * KIB)), SIZE // (512 * KIB) * 9 // 10)):
        length = min(rng.randrange(1, 9) * BLOCK, left)
        if length:
            areas.append((place * 512 * KIB, length))
        left -= length
    return areas


def _fill(path: Path, rng: random.Random, areas: Areas) -> None:
    with path.open("r+b") as file:
        for offset, length in areas:
            file.seek(offset)
            file.write(rng.randbytes(length))


class Stage:
    """A source, a tunnel and an exporter, on images of their own; everything is started by `ready`."""

    def __init__(self, folder: Path, images: Images, far: bool) -> None:
        self.folder = folder
        self.images = images
        self.source_image, self.target_image = folder / "source.img", folder / "target.img"
        self._nbd, self._port = choose_port(None), choose_port(None)
        socket = folder / "source.sock"
        self.source = Server(socket, "nbdkit", "-f", "-r", "-U", str(socket), "file", str(self.source_image))
        # What it has not flushed is in a cache of its own process, as a host's memory is.
        exporter = ["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(self._nbd), "--filter=delay", "--filter=cache"]
        settings = ["cache=writeback", f"wdelay={FAR_MILLISECONDS if far else 0}ms"]
        self.exporter = Server(self._nbd, *exporter, "file", str(self.target_image), *settings)
        pki.init(folder / "pki")
        self._tunnel = Tunnel(
            kind="tls",
            host="127.0.0.1",
            port=self._port,
            ca_file=folder / "pki" / "ca.pem",
            cert_file=folder / "pki" / "vma.pem",
            runtime_dir=folder / "vma",
        )
        self._oma: Part | None = None

    @property
    def target_uri(self) -> str:
        """Return the VMA's end of the tunnel."""
        return f"nbd+unix:///?socket={socket_path(self._tunnel, 'nbd')}"

    @property
    def gate(self) -> Gate:
        """Return how the data reach the OMA's end of the tunnel."""
        pki_folder = self.folder / "pki"
        return Gate("127.0.0.1", self._port, "nbd", str(pki_folder / "ca.pem"), str(pki_folder / "vma.pem"), "")

    def ready(self, full: bool) -> None:
        """Put everything back to before the run, and start what does not run."""
        for server in (self.source, self.exporter):
            if server.process is not None:
                server.kill()
        shutil.copyfile(self.images.fresh if full else self.images.written, self.source_image)
        shutil.copyfile(self.images.old, self.target_image)
        (self.folder / "result.checkpoint").unlink(missing_ok=True)
        self.source.start()
        self.exporter.start()
        self.mend()

    def settle(self) -> None:
        """Wait until the servers have noticed that their client is gone, and start again those that died of it.

        nbdkit 1.32 may: a client that vanishes between two answers fails an assertion (raw_send_socket, sock >= 0).
        """
        time.sleep(SETTLE_SECONDS)
        self.mend()

    def mend(self) -> None:
        """Start again whatever does not run."""
        for server in (self.source, self.exporter):
            if server.process is None or server.process.poll() is not None:
                server.start()
        if self._oma is None or self._oma.process.poll() is not None:
            services = dict.fromkeys(SERVICES, self._nbd)
            self._oma = oma.start_tunnel(self.folder, self._port, self.folder / "pki", services)
        local.up(self._tunnel)

    def new_reader(self) -> None:
        """Open another reader, as every sync does; the old one may yet die of how its last client went."""
        self.source.kill()
        self.source.start()

    def first_byte(self, run: Run) -> None:
        """Wait until the copy has begun to read, or has ended."""
        deadline, own = time.monotonic() + SECONDS, self.source.bytes_read()
        while run.process.poll() is None and self.source.bytes_read() < own + MIB:
            assert time.monotonic() < deadline, f"nothing is read: {self.state()}"
            time.sleep(0.005)

    def state(self) -> str:
        """Say which servers run, for messages."""
        processes = {"source": self.source.process, "exporter": self.exporter.process}
        return ", ".join(f"{name} {process and process.poll()}" for name, process in processes.items())

    def kill(self, victim: str) -> None:
        """Kill one part, as a crash would."""
        if victim == "source":
            self.source.kill()
        elif victim == "exporter":
            self.exporter.kill()
        elif victim == "tunnel, OMA":
            assert self._oma is not None, "it was started"
            self._oma.kill()
        else:
            pid = local.status(self._tunnel).pid
            assert pid is not None, "the tunnel is up"
            os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Stop everything."""
        local.down(self._tunnel)
        if self._oma is not None:
            self._oma.stop()
        for server in (self.source, self.exporter):
            server.__exit__()

    def guest_writes(self, rng: random.Random) -> Areas:
        """Write a few blocks of the source anywhere; return which."""
        areas = [(block * BLOCK, BLOCK) for block in rng.sample(range(SIZE // BLOCK), 6)]
        _fill(self.source_image, rng, areas)
        return areas

    def missing(self) -> int:
        """Return how many bytes of data are not on the target, as it answers itself."""
        seen = self.folder / "seen.img"
        reading = ["nbdcopy", self.exporter.uri, str(seen)]
        done = subprocess.run(reading, check=False, timeout=SECONDS, capture_output=True, text=True)
        assert done.returncode == 0, f"the target cannot be read: {done.stderr} {self.state()}"
        return sum(BLOCK for wanted, found in _blocks(self.source_image, seen) if wanted != found and any(wanted))

    def wrong(self) -> int:
        """Return how many blocks differ once the exporter is dead: what it had not flushed is gone."""
        self.exporter.kill()
        return sum(wanted != found for wanted, found in _blocks(self.source_image, self.target_image))


def _blocks(one: Path, other: Path) -> Iterator[tuple[bytes, bytes]]:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(BLOCK):
            yield block, second.read(BLOCK)


class Run:
    """A run of the copy in a process of its own (tests.faults.runner)."""

    def __init__(self, folder: Path, jobs: list[dict[str, Any]]) -> None:
        order, self._result = folder / "order.json", folder / "result.json"
        order.write_text(json.dumps(jobs))
        self._result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.faults.runner", str(order), str(self._result)]
        self.process = subprocess.Popen(command, cwd=ROOT)

    def engine(self) -> int | None:
        """Return the process id of its engine; None while there is none."""
        pid = self.process.pid
        try:
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(found[0]) if found else None

    def end(self) -> dict[str, Any]:
        """Wait for it; return what it says of itself, or that it hangs, or that it was killed."""
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return {"outcome": "hangs", "error": "", "read": 0}
        if not self._result.exists():
            return {"outcome": "killed", "error": "", "read": 0}
        found: dict[str, Any] = json.loads(self._result.read_text())
        return found


def stored_checkpoint(folder: Path) -> int:
    """Return the last checkpoint that a run stored; 0 without one."""
    path = folder / "result.checkpoint"
    return int(path.read_text()) if path.exists() else 0


def gone(pid: int) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + SECONDS
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.02)


@contextmanager
def stage(folder: Path, images: Images, far: bool) -> Iterator[Stage]:
    """Yield a stage in `folder`, and stop everything at the end. A far target takes its time for every write."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Stage(folder, images, far)
    try:
        yield made
    finally:
        made.end()
