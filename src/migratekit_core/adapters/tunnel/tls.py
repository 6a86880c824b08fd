"""The `tls` kind: HAProxy takes what comes to the unix sockets, and sends it to the OMA's port inside TLS 1.3."""

from __future__ import annotations

import subprocess
from pathlib import Path

from migratekit_core.adapters.tunnel import SERVICES
from migratekit_core.adapters.tunnel.haproxy import COMMON, UNANSWERED, program, quoted, stamp
from migratekit_core.adapters.tunnel.local import START_SECONDS
from migratekit_core.common.redact import child_environment
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import Tunnel


def render(tunnel: Tunnel) -> str:
    """Return HAProxy's configuration for the VMA."""
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


def launch(config: Path, pid_file: Path, log: int) -> int | None:
    """Start HAProxy in the background, its words going to the descriptor `log`; return its id, None where it failed."""
    done = subprocess.run(
        [program(), "-D", "-f", str(config), "-p", str(pid_file)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=child_environment(),
        timeout=START_SECONDS,
        check=False,
    )
    return int(pid_file.read_text().split()[0]) if done.returncode == 0 else None
