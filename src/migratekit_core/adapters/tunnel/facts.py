"""What can be said of the OMA from inside it: services, versions, room, clock, recent errors."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migratekit_core.common import programs
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import Config, TunnelServer

UNITS = {"tunnel": "migratekit-tunnel", "volumes": "migratekit-volumed", "db": "mariadb"}
"""systemd's units by what they are to us; the exporter is the volume daemon's."""
ERRORS = 20
SINCE = "-24h"
PROGRAMS = {
    "haproxy": ("haproxy", "-v"),
    "mariadb": ("mariadbd", "--version"),
    "nbdkit": ("nbdkit", "--version"),
    "openssl": ("openssl", "version"),
    "systemd": ("systemctl", "--version"),
}


@dataclass(frozen=True)
class ServiceState:
    """A service of the OMA."""

    name: str
    """`tunnel`, `volumes`, `db` or `nbd`."""
    unit: str
    """systemd's name; empty where it is no unit of its own."""
    state: str
    """systemd's ActiveState; `absent` where there is no such unit, `unknown` where there is no systemd."""
    address: str
    answers: bool
    """Whether something takes a connection there."""


@dataclass(frozen=True)
class DiskSpace:
    """Room of one file system, in bytes."""

    path: str
    total: int
    free: int


@dataclass(frozen=True)
class RecentError:
    """A message of priority error or worse in the journal."""

    at: str
    """UTC, ISO 8601."""
    unit: str
    text: str


@dataclass(frozen=True)
class RemoteFacts:
    """The OMA as it sees itself."""

    host: str
    services: tuple[ServiceState, ...]
    versions: dict[str, str]
    disks: tuple[DiskSpace, ...]
    errors: tuple[RecentError, ...]
    errors_known: bool
    """Whether the journal could be read; where it could not, `errors` says nothing."""
    expiring: tuple[str, ...]
    """A line for each certificate that ends soon."""
    clock: float
    """The OMA's clock, seconds since 1970."""
    clock_skew: float = 0.0
    """Seconds that the OMA's clock is ahead of this host's; negative: behind."""
    clock_error: float = 0.0
    """How far off `clock_skew` may be."""
    round_trip: float = 0.0
    """Seconds."""


def facts_here(config: Config, expiring: Iterable[str] = ()) -> RemoteFacts:
    """Return the facts of this host, as an OMA's."""
    versions = {"migratekit": _own_version(), "kernel": platform.release(), "os": _os(), "python": _python()}
    versions |= {name: text for name, call in PROGRAMS.items() if (text := _version(*call))}
    errors = _journal()
    return RemoteFacts(
        host=socket.gethostname(),
        services=tuple(_services(config)),
        versions=versions,
        disks=tuple(_disks(config)),
        errors=tuple(errors or ()),
        errors_known=errors is not None,
        expiring=tuple(expiring),
        clock=time.time(),
    )


def to_dict(facts: RemoteFacts) -> dict[str, Any]:
    """Return the facts as a JSON-like value."""
    return asdict(facts)


def from_dict(fields: dict[str, Any]) -> RemoteFacts:
    """Return the facts of `to_dict`; what a newer version added is left out. Raises ValueError for anything else."""
    try:
        known = {name: fields[name] for name in RemoteFacts.__dataclass_fields__ if name in fields}
        return replace(
            RemoteFacts(**known),
            services=tuple(_pick(ServiceState, held) for held in fields["services"]),
            disks=tuple(_pick(DiskSpace, held) for held in fields["disks"]),
            errors=tuple(_pick(RecentError, held) for held in fields["errors"]),
            expiring=tuple(fields["expiring"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no facts of an OMA: {error}") from None


def _pick(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**{name: fields[name] for name in kind.__dataclass_fields__})


def _services(config: Config) -> Iterable[ServiceState]:
    server = config.tunnel.server
    own = config.tunnel.services if server is None else server
    listen = "127.0.0.1:443" if server is None else _reachable(server)
    for name, address in {"tunnel": listen, **own.addresses}.items():
        unit = UNITS.get(name, "")
        yield ServiceState(name, unit, _unit_state(unit) if unit else "", address, _answers(address))


def _reachable(server: TunnelServer) -> str:
    host, _, port = server.listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "*", "0.0.0.0", "[::]", "::") else server.listen  # noqa: S104


def _unit_state(unit: str) -> str:
    if not Path("/run/systemd/system").is_dir():
        return "unknown"
    text = programs.printed("systemctl", "show", unit, "--property=LoadState,ActiveState") or ""
    held = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return "absent" if held.get("LoadState") == "not-found" else held.get("ActiveState", "unknown")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 3).close()
    except OSError:
        return False
    return True


def _disks(config: Config) -> Iterable[DiskSpace]:
    state = config.daemon.state_dir if config.daemon else Path("/var/lib/migratekit")
    seen = set()
    for path in (Path("/"), state, Path("/var/lib/mysql"), Path("/var/log")):
        try:
            device, usage = path.stat().st_dev, shutil.disk_usage(path)
        except OSError:
            continue
        if device not in seen:
            seen.add(device)
            yield DiskSpace(str(path), usage.total, usage.free)


def _journal() -> list[RecentError] | None:
    units = [f"--unit={unit}" for unit in UNITS.values()]
    text = programs.printed(
        "journalctl", *units, "--priority=err", f"--since={SINCE}", f"--lines={ERRORS}", "--output=json", "-q"
    )
    if text is None:
        return None
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            message = entry.get("MESSAGE", "")
            shown = message if isinstance(message, str) else "(not text)"
            unit = str(entry.get("_SYSTEMD_UNIT", "")).removesuffix(".service")
            found.append(RecentError(at.isoformat(timespec="seconds"), unit, redact(" ".join(shown.split()))[:500]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _version(name: str, option: str) -> str:
    text = programs.printed(name, option)
    return text.splitlines()[0].strip() if text else ""


def _own_version() -> str:
    from importlib.metadata import version

    return version("migratekit")


def _python() -> str:
    return platform.python_version()


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
