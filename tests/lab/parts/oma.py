"""The OMA's own services: HAProxy on the one open port, and the volume daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from migratekit_core.adapters.tunnel.haproxy import write_config
from migratekit_core.adapters.tunnel.server import render
from migratekit_core.config.schema import TunnelServer
from tests.lab.parts.process import Part, answers, end_by_file, launch, wait_until


def start_tunnel(run: Path, port: int, pki: Path, services: dict[str, int], address: str = "127.0.0.1") -> Part:
    """Start the OMA's end of the tunnel."""
    config = run / "oma-haproxy.cfg"
    settings = TunnelServer(
        listen=f"{address}:{port}",
        cert_file=pki / "oma.pem",
        ca_file=pki / "ca.pem",
        crl_file=pki / "crl.pem",
        stats_socket=_admin(run),
        **{name: f"127.0.0.1:{service}" for name, service in services.items()},
    )
    write_config(config, render(settings))
    part = launch("oma-tunnel", ["haproxy", "-db", "-f", str(config)], run)
    wait_until(lambda: answers(port, address), part)
    return part


def _admin(run: Path) -> Path:
    """Return a short path for a socket: in the folder of the lab's sockets, where there is one."""
    sockets = run / "sockets"
    return (Path(sockets.read_text()) if sockets.is_file() else run) / "admin.sock"


def start_exporter(run: Path, command: Path, config: Path, port: int) -> Part:
    """Start the daemon's NBD exporter as its unit would: a process of its own, which outlives the daemon."""
    part = launch("exporter", [str(command), "--config", str(config), "volumes", "daemon", "exporter"], run)
    wait_until(lambda: answers(port), part)
    return part


def end_servers(state_dir: Path) -> list[str]:
    """End the NBD servers that a daemon has left running on purpose; return their names."""
    return [name for program in ("nbdkit", "nbd-server") for name in end_by_file(state_dir / f"{program}.pid")]


def start_daemon(run: Path, command: Path, config: Path, port: int, env: Mapping[str, str] | None = None) -> Part:
    """Start the volume daemon as its unit would; `env` is added to its environment."""
    part = launch("daemon", [str(command), "--config", str(config), "volumes", "daemon", "run"], run, env=env)
    wait_until(lambda: answers(port), part)
    return part
