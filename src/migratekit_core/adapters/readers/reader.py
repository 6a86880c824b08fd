"""What every reader shares: a server process on a private unix socket that ends with the block it is used in."""

from __future__ import annotations

import os
import socket as socketlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from migratekit_core.common import childprocess, programs, proxies
from migratekit_core.common.childprocess import Child
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.redact import child_environment

START_SECONDS = 20
STOP_SECONDS = 5


def nbd_uri(socket: Path, export: str = "") -> str:
    """Return the NBD URI of an export behind a unix socket (NBD URI specification: nbd+unix)."""
    return f"nbd+unix:///{quote(export)}?socket={quote(str(socket))}"


def nbdkit(socket: Path) -> list[str]:
    """Return the beginning of the command of a read-only nbdkit; filters and a plugin follow.

    Raises PreconditionError where nbdkit is not installed.
    """
    program = programs.find("nbdkit", "nbdkit")
    return [program, "--foreground", "--exit-with-parent", "--readonly", "--unix", str(socket)]


@contextmanager
def secret_pipe(secret: str) -> Iterator[int]:
    """Yield a descriptor that the secret can be read from once: it is in no argument, no environment and no file."""
    reader, writer = os.pipe()
    try:
        try:
            os.write(writer, secret.encode() + b"\n")
        finally:
            os.close(writer)
        yield reader
    finally:
        os.close(reader)


@contextmanager
def serve(
    command: Sequence[str],
    socket: Path,
    subject: str,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    seconds: float = START_SECONDS,
    ready: Callable[[Child], None] = lambda child: None,
) -> Iterator[Child]:
    """Run an NBD server in the foreground until the block ends; the block starts when it answers, within `seconds`.

    `ready` waits for what the server may take longer for, before that. Raises OperationFailedError with the server's
    own words where it does not start.
    """
    # Ctrl-C is for the engine, which writes a checkpoint first and still reads and writes while it does.
    server = childprocess.start(
        command, log=_log(socket), pass_fds=pass_fds, env=proxies.without(child_environment(env))
    )
    try:
        ready(server)
        _wait_for(server, socket, subject, seconds)
        yield server
    finally:
        server.stop(STOP_SECONDS)


def log_of(socket: Path) -> str:
    """Return the end of what the server on this socket said, with secrets masked."""
    return childprocess.said_in(_log(socket))


def first_connection(uri: str) -> tuple[int, str]:
    """Connect once and leave. Return the size in bytes, or -1 and what NBD says where the disk cannot be opened.

    nbdkit answers before it opens the disk: only a connection shows whether it can.
    """
    import nbd

    handle = nbd.NBD()
    try:
        handle.connect_uri(uri)
        size = handle.get_size()
        handle.shutdown()
        return size, ""
    except nbd.Error as error:
        return -1, str(error.string)


def _log(socket: Path) -> Path:
    return socket.with_suffix(".log")


def _greets(path: Path) -> bool:
    # qemu-nbd listens before it opens its image: only the greeting of the NBD protocol says that it will serve.
    with socketlib.socket(socketlib.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            return client.recv(8) == b"NBDMAGIC"
        except OSError:
            return False


def _wait_for(server: Child, socket: Path, subject: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _greets(socket):
        if not server.running() or time.monotonic() > deadline:
            why = childprocess.last_line(server.said())
            raise OperationFailedError(
                f"{subject} cannot be read", why, "check the reader's settings: docs/readers.md", code=ErrorCode.UNKNOWN
            )
        time.sleep(0.01)
