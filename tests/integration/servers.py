"""Real NBD servers for the engine's tests: disks to copy, servers of every kind before them, and a copy in one call."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from migratekit_core.engine.job import Done, Event, Job
from migratekit_core.engine.process import Engines, copy
from tests.lab.noise import noise
from tests.lab.parts.process import answers, choose_port

KIB, MIB = 1024, 1024 * 1024
SIZE = 24 * MIB + 5 * 512
"""Of the source: no multiple of any block size."""
ROOM = 32 * MIB
"""Of the targets: beyond the disk's end a full copy leaves zeros."""


def disk(path: Path, seed: int = 1) -> bytes:
    """Write a source disk with data, zeros that are written, and holes; return its content."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for _ in range(60):
            file.seek(rng.randrange(0, SIZE - 300 * KIB) // 512 * 512)
            file.write(rng.choice([rng.randbytes(512), rng.randbytes(rng.randrange(1, 300) * 1024), bytes(200 * KIB)]))
        file.seek(SIZE - 700)
        file.write(rng.randbytes(700))
    return path.read_bytes()


def dirty(path: Path, size: int = ROOM) -> None:
    """Write a target that is full of what must not be left."""
    path.write_bytes(noise(9, size))


@contextmanager
def serving(*command: str, socket: Path) -> Iterator[str]:
    """Run an NBD server on a unix socket, and yield its URI."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} did not start"
            time.sleep(0.01)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def source(folder: Path, *filters: str) -> Iterator[str]:
    """Serve the source disk with nbdkit, through its filters and their settings."""
    socket = folder / "source.sock"
    names = [f"--filter={item}" for item in filters if "=" not in item]
    settings = [item for item in filters if "=" in item]
    command = ["nbdkit", "-f", "-r", "-U", str(socket), *names, "file", str(folder / "source.img"), *settings]
    with serving(*command, socket=socket) as uri:
        yield uri


@contextmanager
def target(folder: Path, kind: str, *filters: str) -> Iterator[str]:
    """Serve the target image with a kind of server."""
    image, socket = folder / "target.img", folder / "target.sock"
    if kind == "nbdkit":
        names = [f"--filter={item}" for item in filters if "=" not in item]
        settings = [item for item in filters if "=" in item]
        command = ["nbdkit", "-f", "-U", str(socket), *names, "file", str(image), *settings]
    elif kind == "qemu-nbd":
        command = ["qemu-nbd", "-f", "raw", "-t", "-e", "16", "-k", str(socket), str(image)]
    elif kind == "qemu-storage-daemon":
        command = [
            "qemu-storage-daemon",
            *("--blockdev", f"file,node-name=disk,filename={image}"),
            *("--nbd-server", f"addr.type=unix,addr.path={socket},max-connections=0"),
            *("--export", "nbd,id=export,node-name=disk,writable=on,name="),
        ]
    else:
        with _nbd_server(folder, image) as uri:
            yield uri
        return
    with serving(*command, socket=socket) as uri:
        yield uri


@contextmanager
def _nbd_server(folder: Path, image: Path) -> Iterator[str]:
    port = choose_port(None)
    config = folder / "nbd-server.conf"
    config.write_text(f"[generic]\nlistenaddr = 127.0.0.1\nport = {port}\n[disk]\nexportname = {image}\nflush = true\n")
    process = subprocess.Popen(["nbd-server", "-d", "-C", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield f"nbd://127.0.0.1:{port}/disk"
    finally:
        process.terminate()
        process.wait(60)


def run(
    from_uri: str, to_uri: str, areas: list[tuple[int, int]], *, full: bool, **options: object
) -> tuple[Done, list[Event]]:
    """Copy in an engine of its own; return what it did and said."""
    events: list[Event] = []
    job = Job("test disk", from_uri, to_uri, SIZE, full, **options)  # type: ignore[arg-type]
    return copy(job, areas, events.append, Engines()), events


def unlike(folder: Path, size: int) -> Path:
    """Write a random `source.img`, and a `target.img` full of something else; return their folder."""
    for name in ("source.img", "target.img"):
        (folder / name).write_bytes(noise(name, size))
    return folder


class Server:
    """An NBD server that can be killed and started again; it ends with the block."""

    def __init__(self, listens: Path | int, *command: str) -> None:
        self._listens = listens
        self._command = command
        unix = isinstance(listens, Path)
        self.uri = f"nbd+unix:///?socket={listens}" if unix else f"nbd://127.0.0.1:{listens}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        """Start it, and wait until it listens on its unix socket, or port of loopback."""
        if isinstance(self._listens, Path):
            self._listens.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._listening():
            assert self.process.poll() is None and time.monotonic() < deadline, f"{self._command[0]} did not start"
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Return its process."""
        assert self.process is not None, "it was started"
        return self.process.pid

    def _listening(self) -> bool:
        return self._listens.exists() if isinstance(self._listens, Path) else answers(self._listens)

    def bytes_read(self) -> int:
        """Return how much it has read, of its disk and of its clients; 0 where it does not run."""
        assert self.process is not None, "it was started"
        try:
            counts = Path(f"/proc/{self.process.pid}/io").read_text()
        except OSError:
            return 0
        return int(counts.split()[1]) if counts else 0

    def kill(self) -> None:
        """Kill it as a crash would; what it has not flushed may be lost."""
        assert self.process is not None, "it was started"
        self.process.kill()
        self.process.wait()


def same(one: Path, other: Path) -> None:
    """Check that two images hold the same, and say where they do not."""
    found, wanted = one.read_bytes(), other.read_bytes()
    assert len(found) == len(wanted)
    # Not `==` in the assert itself: pytest would explain the difference of megabytes.
    wrong = [at for at in range(0, len(wanted), 65536) if found[at : at + 65536] != wanted[at : at + 65536]]
    assert not wrong, f"{one} differs from {other} in {len(wrong)} blocks, first at {wrong[:5]}"
