"""The `tls` kind: HAProxy takes what comes to the unix sockets, and sends it to the OMA's port inside TLS 1.3.

What needs Python's ssl module imports it where it is used: most commands find the tunnel up.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from migratekit_core.adapters.tunnel import KEEPALIVE, SEEN_FILE, SERVICES, Gate
from migratekit_core.adapters.tunnel.kinds.kind import (
    DIAL_SECONDS,
    CertificateFile,
    Kind,
    LocalEnd,
    Program,
    Seen,
)
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.hints import at_ca, hint
from migratekit_core.common.redact import child_environment
from migratekit_core.config.folders import runtime_dir, socket_path
from migratekit_core.config.schema import Tunnel

if TYPE_CHECKING:
    import ssl

START_SECONDS = 10.0
PROBE_SECONDS = 5.0
HAPROXY_PID = "tunnel.haproxy.pid"
REQUEST = b"GET /health HTTP/1.1\r\nHost: volumes\r\nConnection: close\r\n\r\n"


def settings(tunnel: Tunnel) -> str:
    """Return HAProxy's configuration for the VMA."""
    from migratekit_core.adapters.tunnel.haproxy import COMMON, UNANSWERED, quoted, stamp

    lines = [COMMON, stamp(tunnel.ca_file, tunnel.cert_file, tunnel.crl_file), ""]
    assert tunnel.cert_file and tunnel.ca_file, "the schema asks for them"
    address = quoted(f"{tunnel.host}:{tunnel.port}")
    revoked = f" crl-file {quoted(tunnel.crl_file)}" if tunnel.crl_file else ""
    for service in SERVICES:
        lines += [
            f"listen {service}",
            f"    bind unix@{quoted(socket_path(tunnel, service))} mode 600",
            f"    server oma {address} ssl crt {quoted(tunnel.cert_file)} ca-file {quoted(tunnel.ca_file)}{revoked}"
            f" verify required sni str({service}) verifyhost {service}"
            f" tcp-ut {UNANSWERED}",
            "",
        ]
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Write the configuration down, after HAProxy's own check of it. Raises PreconditionError."""
    from migratekit_core.adapters.tunnel.haproxy import write_config

    write_config(path, text)


def launch(tunnel: Tunnel, config: Path, log: int) -> int | None:
    """Start HAProxy in the background, its words going to the descriptor `log`; return its id, None where it failed."""
    from migratekit_core.adapters.tunnel.haproxy import program

    pid_file = config.parent / HAPROXY_PID
    done = subprocess.run(
        [program(), "-D", "-f", str(config), "-p", str(pid_file)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=child_environment(),
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        return None
    pid = int(pid_file.read_text().split()[0])
    pid_file.unlink()
    return pid


def probe(tunnel: Tunnel, service: str) -> Seen:
    """Do a handshake with the OMA on behalf of a service, as far as that the service answers."""
    from migratekit_core.adapters.tunnel import refusal
    from migratekit_core.common.files import write_private

    protocol, ends = "", None
    try:
        context = _context(tunnel)
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


def gate(tunnel: Tunnel, export: str) -> Gate | None:
    """Return how the engine does the handshake itself: one hop less for the bytes of a disk."""
    assert tunnel.ca_file and tunnel.cert_file, "the schema asks for them"
    crl = str(tunnel.crl_file) if tunnel.crl_file else None
    return Gate(tunnel.host, tunnel.port, "nbd", str(tunnel.ca_file), str(tunnel.cert_file), export, crl)


def dial(tunnel: Tunnel, service: str) -> socket.socket:
    """Return a connection of our own to the OMA, as the engine makes it."""
    context = _context(tunnel)
    plain = socket.create_connection((tunnel.host, tunnel.port), DIAL_SECONDS)
    for option, value in KEEPALIVE:
        plain.setsockopt(socket.IPPROTO_TCP, option, value)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=service)


def certificates(tunnel: Tunnel) -> tuple[CertificateFile, ...]:
    """Return this host's certificate, the CA and the list of revoked ones, where there is one."""
    assert tunnel.ca_file and tunnel.cert_file, "the schema asks for them"
    found = [
        CertificateFile("ca_file", "the tunnel's CA", tunnel.ca_file, hint(at_ca("tunnel", "pki", "rotate", "ca"))),
        CertificateFile(
            "cert_file", "this host's certificate", tunnel.cert_file, hint(at_ca("tunnel", "pki", "rotate", "vma"))
        ),
    ]
    if tunnel.crl_file is not None:
        what = "the tunnel's list of revoked certificates"
        found.append(CertificateFile("crl_file", what, tunnel.crl_file, "copy a new crl.pem here", revoked=True))
    return tuple(found)


def _context(tunnel: Tunnel) -> ssl.SSLContext:
    from migratekit_core.adapters.tunnel import refusal

    assert tunnel.ca_file and tunnel.cert_file, "the schema asks for them"
    return refusal.context(tunnel.ca_file, tunnel.cert_file, tunnel.crl_file)


def _end(secured: ssl.SSLSocket) -> datetime | None:
    import ssl

    shown = secured.getpeercert() or {}
    text = shown.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if isinstance(text, str) else None


KIND = Kind(
    "tls",
    way="over TLS",
    proof="this host's certificate",
    probe=probe,
    local_end=LocalEnd(settings, write, launch),
    gate=gate,
    dial=dial,
    certificates=certificates,
    programs=(Program("haproxy", "haproxy", "-v"),),
)
