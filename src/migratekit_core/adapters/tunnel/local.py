"""The VMA's end of the tunnel: a process in the background whose unix sockets lead to the OMA's services.

What process it is the kind says (`kinds`); every command shares it, and it stays up for the next one.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.adapters.tunnel import SERVICES, kinds
from migratekit_core.common.childprocess import last_line, said_in
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, UsageError
from migratekit_core.config.folders import runtime_dir, socket_path
from migratekit_core.config.schema import Tunnel
from migratekit_core.joblog.process import running_pid, write_pid

LONGEST_SOCKET_PATH = 97
"""sun_path of unix(7) has 108 bytes with the final NUL, and HAProxy needs ten for the temporary name that it binds."""
START_SECONDS = 10.0
PID, CONFIG, LOG = "tunnel.pid", "tunnel.cfg", "tunnel.log"


@dataclass(frozen=True)
class Status:
    """Whether the tunnel's local end runs, and where its sockets are."""

    up: bool
    pid: int | None
    sockets: dict[str, str]
    remote: str
    kind: str


def up(tunnel: Tunnel) -> Status:
    """Bring the local end up, or leave it be where it runs with the same settings; return its status.

    Where this host is the OMA nothing is done.

    Raises UsageError for a runtime directory that cannot hold sockets, PreconditionError where a program is missing or
    the settings are refused, OperationFailedError where it does not start.
    """
    end = kinds.of(tunnel).local_end
    if end is None:
        return status(tunnel)
    folder = _folder(tunnel)
    with _lock(folder):
        wanted, current = end.settings(tunnel), status(tunnel)
        config = folder / CONFIG
        if current.up and config.exists() and config.read_text() == wanted:
            return current
        # Checked first: a wrong setting must not take down a tunnel that others copy through.
        end.write(config, wanted)
        _stop(folder)
        with (folder / LOG).open("wb") as log:
            pid = end.launch(tunnel, config, log.fileno())
        if pid is not None:
            write_pid(folder / PID, pid)
            current = _await(tunnel)
        if not current.up:
            words = last_line(said_in(folder / LOG))
            raise OperationFailedError(
                "the tunnel did not come up", words, "check the [tunnel] table", code=ErrorCode.TUNNEL_DOWN
            )
        return current


def way_to(tunnel: Tunnel, service: str) -> Path | None:
    """Bring the local end up, and return the socket that leads to a service; None where this host is the OMA.

    Raises what `up` raises.
    """
    up(tunnel)
    return kinds.of(tunnel).socket(tunnel, service)


def down(tunnel: Tunnel) -> bool:
    """Stop the local end; return whether it ran."""
    folder = runtime_dir(tunnel)
    if not folder.is_dir():
        return False
    with _lock(folder):
        return _stop(folder)


def status(tunnel: Tunnel) -> Status:
    """Return whether the local end runs and takes connections."""
    kind = kinds.of(tunnel)
    pid = running_pid(runtime_dir(tunnel) / PID)
    sockets = {service: str(socket_path(tunnel, service)) for service in SERVICES}
    answering = pid is not None and all(_accepts(path) for path in sockets.values())
    return Status(answering, pid, sockets, f"{tunnel.host}:{tunnel.port}", kind.name)


def _folder(tunnel: Tunnel) -> Path:
    folder = runtime_dir(tunnel)
    longest = max(len(os.fsencode(socket_path(tunnel, service))) for service in SERVICES)
    if longest > LONGEST_SOCKET_PATH:
        raise UsageError(
            "tunnel.runtime_dir is too long",
            f"a socket's path would have {longest} bytes",
            "choose a shorter one",
            code=ErrorCode.CONFIG_INVALID,
            facts={"setting": "tunnel.runtime_dir"},
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"tunnel.runtime_dir {folder} cannot be made",
            error.strerror or str(error),
            "choose another one",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(folder)},
        ) from error
    held = folder.stat()
    # Below /tmp somebody else may have made it first, and could put sockets of their own there.
    if held.st_uid != os.geteuid() or held.st_mode & 0o022:
        raise UsageError(
            f"tunnel.runtime_dir {folder} is not ours alone",
            f"it belongs to user {held.st_uid}, mode {held.st_mode & 0o777:o}",
            "remove it, or choose another one",
            code=ErrorCode.FILE_NOT_PRIVATE,
            facts={"path": str(folder)},
        )
    return folder


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "tunnel.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stop(folder: Path) -> bool:
    pid = running_pid(folder / PID)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while running_pid(folder / PID) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    for name in (PID, *(f"{service}.sock" for service in SERVICES)):
        (folder / name).unlink(missing_ok=True)
    return pid is not None


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def _await(tunnel: Tunnel) -> Status:
    deadline = time.monotonic() + START_SECONDS
    while not (current := status(tunnel)).up and time.monotonic() < deadline:
        if current.pid is None:
            break
        time.sleep(0.02)
    return current
