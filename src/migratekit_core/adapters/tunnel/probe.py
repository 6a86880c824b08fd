"""Asks the OMA whether it takes us, by a connection of its own beside the local end, and says why not."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from migratekit_core.adapters.tunnel import SERVICES, refusal
from migratekit_core.adapters.tunnel.expiry import SEEN_FILE
from migratekit_core.common.errors import MigrateKitError, OmaUnreachableError
from migratekit_core.common.files import write_private
from migratekit_core.config.folders import runtime_dir
from migratekit_core.config.schema import Tunnel

PROBE_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 86_400
REQUEST = b"GET /health HTTP/1.1\r\nHost: volumes\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """What the OMA said."""

    problem: MigrateKitError | None
    protocol: str
    """Version and cipher of the tunnel's encryption; empty where there was no handshake."""
    certificate_ends: datetime | None
    """When the OMA's certificate stops being valid; None for a tunnel without certificates."""


def probe(tunnel: Tunnel, service: str = SERVICES[0]) -> Seen:
    """Do a handshake with the OMA on behalf of a service, as far as that the service answers."""
    return _ssh(tunnel) if tunnel.kind == "ssh" else _tls(tunnel, service)


def look_now_and_then(tunnel: Tunnel) -> None:
    """Look at the OMA's certificate once a day, beside whatever the command does: cron's commands warn, too."""
    if tunnel.kind != "tls":
        return
    try:
        fresh = time.time() - (runtime_dir(tunnel) / SEEN_FILE).stat().st_mtime < LOOK_AGAIN_SECONDS
    except OSError:
        fresh = False
    if not fresh:
        threading.Thread(target=probe, args=(tunnel,), daemon=True).start()


def blamed(tunnel: Tunnel, error: OmaUnreachableError) -> MigrateKitError:
    """Return the error with the tunnel's own reason in it, where the tunnel is why a service does not answer."""
    if tunnel.kind == "none":
        return error
    problem = probe(tunnel).problem
    if problem is None or "closed the connection" in problem.what:
        return error
    return type(problem)(error.what, str(problem), problem.todo)


def _tls(tunnel: Tunnel, service: str) -> Seen:
    protocol, ends = "", None
    try:
        assert tunnel.ca_file and tunnel.cert_file, "the schema asks for them"
        context = refusal.context(tunnel.ca_file, tunnel.cert_file, tunnel.crl_file)
        with (
            socket.create_connection((tunnel.host, tunnel.port), PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=service) as secured,
        ):
            cipher = secured.cipher()
            protocol = f"{secured.version()} {cipher[0] if cipher else ''}".strip()
            ends = _end(secured)
            secured.settimeout(PROBE_SECONDS)
            if service == "volumes":
                # Database and NBD server speak first. What is refused here is told by what comes back.
                with contextlib.suppress(OSError):
                    secured.send(REQUEST)
            if not secured.recv(1):
                raise refusal.ClosedError(f"nothing answers behind the server name {service}")
    except OSError as error:
        return Seen(refusal.explained(error, f"{tunnel.host}:{tunnel.port}"), protocol, ends)
    except MigrateKitError as error:
        return Seen(error, protocol, ends)
    if ends is not None:
        with contextlib.suppress(OSError):
            write_private(runtime_dir(tunnel) / SEEN_FILE, json.dumps({"ends": ends.isoformat()}))
    return Seen(None, protocol, ends)


def _end(secured: ssl.SSLSocket) -> datetime | None:
    shown = secured.getpeercert() or {}
    text = shown.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if isinstance(text, str) else None


def _ssh(tunnel: Tunnel) -> Seen:
    from migratekit_core.adapters.tunnel.ssh import login

    try:
        transport = login.connect(login.login_of(tunnel), login.passphrase_of(tunnel))
    except MigrateKitError as error:
        return Seen(error, "", None)
    protocol = f"{transport.remote_version}"
    transport.close()
    return Seen(None, protocol, None)
