"""What every reader shares: a server process on a private unix socket that ends with the block it is used in."""

from __future__ import annotations

import os
import signal
import socket as socketlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from migratekit_core.errors import OperationFailedError
from migratekit_core.redact import redact

START_SECONDS = 20
STOP_SECONDS = 5


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A folder of mode 0700 in the runtime directory, removed with everything in it at the end."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix=f"migratekit-{prefix}-", dir=base) as folder:
        yield Path(folder)


def nbd_uri(socket: Path, export: str = "") -> str:
    """Return the NBD URI of an export behind a unix socket (NBD URI specification: nbd+unix)."""
    return f"nbd+unix:///{quote(export)}?socket={quote(str(socket))}"


@contextmanager
def serve(
    command: Sequence[str],
    socket: Path,
    subject: str,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an NBD server in the foreground until the block ends; the block starts when it answers.

    Raises OperationFailedError with the server's own words where it does not start.
    """
    log = socket.with_suffix(".log")
    with log.open("wb") as stderr:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=pass_fds,
            env={**os.environ, **(env or {})},
            # Ctrl-C is for the engine, which writes a checkpoint first and still reads and writes while it does.
            start_new_session=True,
        )
    try:
        _wait_for(server, socket, log, subject)
        yield server
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server that we started, kindly, then not."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
    server.wait()


def last_words(log: Path) -> str:
    """Return the last line a server wrote, with secrets masked."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return redact(lines[-1]) if lines else "it said nothing"


def _greets(path: Path) -> bool:
    # qemu-nbd listens before it opens its image: only the greeting of the NBD protocol says that it will serve.
    with socketlib.socket(socketlib.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            return client.recv(8) == b"NBDMAGIC"
        except OSError:
            return False


def _wait_for(server: subprocess.Popen[bytes], socket: Path, log: Path, subject: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _greets(socket):
        if server.poll() is not None or time.monotonic() > deadline:
            raise OperationFailedError(
                f"{subject} cannot be read", last_words(log), "check the reader's settings: docs/readers.md"
            )
        time.sleep(0.01)
