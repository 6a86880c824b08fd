"""Where the daemon listens: a port on loopback, or a unix socket that only its user may use. Nowhere else."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.config.base import is_loopback
from migratekit_core.config.schema import Daemon

PRIVATE_MASK = 0o177
"""umask under which a socket is made with mode 0600."""


def bind(settings: Daemon) -> socket.socket:
    """Return the socket, bound: it listens when it is served, for whoever is answered takes the daemon for ready.

    Raises UsageError for an address that is not this machine's own, PreconditionError where it is taken.
    """
    return _unix(settings.socket) if settings.socket is not None else _loopback(settings.listen, settings.port)


def _loopback(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            f"daemon.listen = {host!r} is no address",
            error.strerror or str(error),
            "set it to 127.0.0.1 or ::1",
            code=ErrorCode.CONFIG_INVALID,
            facts={"setting": "daemon.listen"},
        ) from None
    # `localhost` is what the machine's hosts file says, so the name alone proves nothing.
    elsewhere = [str(address[0]) for *_, address in found if not is_loopback(str(address[0]))]
    if elsewhere:
        raise UsageError(
            f"daemon.listen = {host!r} is not only this machine",
            f"it is {', '.join(elsewhere)}; only the tunnel may face the network",
            "set it to 127.0.0.1 or ::1",
            code=ErrorCode.CONFIG_INVALID,
            facts={"setting": "daemon.listen"},
        )
    family, kind, _, _, address = found[0]
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. asyncio sets it only on sockets that name their protocol, and without it the end of an
        # answer waits 40 ms for the acknowledgement of its beginning.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        todo = "stop what listens there, or set daemon.port" if error.errno == errno.EADDRINUSE else "set daemon.port"
        raise PreconditionError(
            f"the volume daemon cannot listen on {host}:{port}",
            error.strerror or str(error),
            todo,
            code=ErrorCode.LISTEN_FAILED,
            facts={"host": host, "port": port},
        ) from None
    return made


def _unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Ours is the only daemon of this state_dir (see serve), so a socket that is there is a killed one's.
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()
        before = os.umask(PRIVATE_MASK)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        made.close()
        raise PreconditionError(
            f"the volume daemon cannot listen on {path}",
            error.strerror or str(error),
            "its folder has to exist, and nothing else may be at this path",
            code=ErrorCode.LISTEN_FAILED,
            facts={"path": str(path)},
        ) from None
    return made


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0
