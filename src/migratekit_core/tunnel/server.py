"""The OMA's end: the only open port, TLS 1.3 with client certificates, and a service for each server name."""

from __future__ import annotations

from pathlib import Path

from migratekit_core.tunnel.haproxy import COMMON


def render(listen: str, certificate: Path, ca: Path, services: dict[str, str]) -> str:
    """Return HAProxy's configuration for the OMA.

    `listen` is address:port, `certificate` the OMA's PEM with its key, `services` maps each server name to the loopback
    address of its service.
    """
    lines = [
        COMMON,
        "frontend tunnel",
        f"    bind {listen} ssl crt {certificate} ca-file {ca} verify required",
        # A client that names no service of ours gets nothing, not even an answer.
        "    tcp-request content reject unless "
        + " or ".join(f"{{ ssl_fc_sni -i {name} }}" for name in sorted(services)),
        *(f"    use_backend {name} if {{ ssl_fc_sni -i {name} }}" for name in sorted(services)),
        "",
    ]
    for name, address in sorted(services.items()):
        lines += [f"backend {name}", f"    server {name} {address}", ""]
    return "\n".join(lines)
