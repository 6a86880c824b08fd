"""Forwards unix sockets to the OMA's services over one SSH login, and logs in again where it breaks.

It opens channels to the addresses in its settings and to nothing else, and takes none that the OMA would open.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paramiko

from migratekit_core.adapters.tunnel.ssh.login import Login, connect
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError

WAIT_SECONDS = 20.0
"""How long somebody who connects waits for a login that is being made anew."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between logins that fail; each failure doubles them."""
LOOK_SECONDS = 0.2
PIECE = 256 * 1024
WINDOW, PACKET = 16 * 1024 * 1024, 64 * 1024
"""What the OMA may send before it is told to go on; a far link is as fast as this allows."""
BACKLOG = 128


class Line:
    """The login, kept up by a thread of its own."""

    def __init__(self, login: Login, passphrase: str | None) -> None:
        self._login = login
        self._passphrase = passphrase
        self._transport: paramiko.Transport | None = None
        self._there = threading.Condition()
        self._pause = FIRST_PAUSE

    def keep(self) -> None:
        """Log in whenever there is no login; never returns."""
        while True:
            transport = self._transport
            if transport is not None and transport.is_active():
                time.sleep(LOOK_SECONDS)
                continue
            if transport is not None:
                _say("the login ended; logging in again")
                transport.close()
                self._transport = None
            try:
                made = connect(self._login, self._passphrase)
            except MigrateKitError as error:
                _say(f"{error.what}: {error.why}; again in {self._pause:.1f} s")
                time.sleep(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                continue
            self._pause = FIRST_PAUSE
            _say("logged in")
            with self._there:
                self._transport = made
                self._there.notify_all()

    def open(self, address: tuple[str, int]) -> paramiko.Channel:
        """Return a channel to an address on the OMA. Raises OperationFailedError with the OMA's reason."""
        with self._there:
            alive = self._there.wait_for(lambda: self._transport and self._transport.is_active(), WAIT_SECONDS)
            transport = self._transport
        if not alive or transport is None:
            raise OperationFailedError("there is no login to the OMA", "", "", code=ErrorCode.TUNNEL_DOWN)
        try:
            return transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0), WINDOW, PACKET, WAIT_SECONDS)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise OperationFailedError(
                f"the OMA opened no channel to {address[0]}:{address[1]}",
                str(error),
                "",
                code=ErrorCode.SSH_CHANNEL_REFUSED,
                facts={"host": address[0], "port": address[1]},
            ) from None


def serve(login: Login, services: Mapping[str, Any], passphrase: str | None) -> None:
    """Forward until the process is ended. `services` maps names to a socket's path and an address on the OMA."""
    line = Line(login, passphrase)
    old = os.umask(0o177)
    listening = []
    for path, address in services.values():
        Path(path).unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(BACKLOG)
        listening.append((server, (str(address[0]), int(address[1]))))
    os.umask(old)
    for server, address in listening:
        threading.Thread(target=_accept, args=(server, address, line), daemon=True).start()
    line.keep()


def _accept(server: socket.socket, address: tuple[str, int], line: Line) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=_join, args=(client, address, line), daemon=True).start()


def _join(client: socket.socket, address: tuple[str, int], line: Line) -> None:
    with client:
        if _gone(client):
            return
        try:
            channel = line.open(address)
        except MigrateKitError as error:
            _say(str(error))
            return
        back = threading.Thread(target=_bring, args=(channel, client), daemon=True)
        back.start()
        _send(client, channel)
        back.join()
        channel.close()


def _send(client: socket.socket, channel: paramiko.Channel) -> None:
    """Send what the client says until it ends, and tell the OMA of the end."""
    piece = bytearray(PIECE)
    view = memoryview(piece)
    with contextlib.suppress(OSError, EOFError):
        while count := client.recv_into(piece):
            channel.sendall(bytes(view[:count]))
        channel.shutdown_write()
        return
    channel.close()


def _bring(channel: paramiko.Channel, client: socket.socket) -> None:
    """Bring what the OMA says until it ends, and tell the client of the end."""
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(PIECE):
            client.sendall(data)
    with contextlib.suppress(OSError):
        # A login that broke ends both ways: a client must not go on sending into nothing.
        whole = channel.get_transport().is_active() and not channel.closed
        client.shutdown(socket.SHUT_WR if whole else socket.SHUT_RDWR)


def _gone(client: socket.socket) -> bool:
    """Return whether who connected has left already: somebody looked whether we listen."""
    client.settimeout(0.0)
    try:
        left = client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        left = False
    except OSError:
        left = True
    client.settimeout(None)
    return left


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
    sys.stderr.flush()
