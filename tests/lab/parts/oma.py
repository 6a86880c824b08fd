"""The OMA's own services: HAProxy on the one open port, and the volume daemon."""

from __future__ import annotations

from pathlib import Path

from migratekit_core.tunnel.haproxy import write_config
from migratekit_core.tunnel.server import render
from tests.lab.parts.process import Part, answers, launch, wait_until


def start_tunnel(run: Path, port: int, pki: Path, services: dict[str, int]) -> Part:
    """Start the OMA's end of the tunnel."""
    config = run / "oma-haproxy.cfg"
    addresses = {name: f"127.0.0.1:{service}" for name, service in services.items()}
    write_config(config, render(f"127.0.0.1:{port}", pki / "oma.pem", pki / "ca.pem", addresses))
    part = launch("oma-tunnel", ["haproxy", "-db", "-f", str(config)], run)
    wait_until(lambda: answers(port), part)
    return part


def start_daemon(run: Path, command: Path, config: Path, port: int) -> Part:
    """Start the volume daemon as its unit would."""
    part = launch("daemon", [str(command), "--config", str(config), "volumes", "daemon", "run"], run)
    wait_until(lambda: answers(port), part)
    return part
