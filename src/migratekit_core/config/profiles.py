"""Several vCenters and OMAs by name: the configuration that one of each makes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.config.folders import runtime_dir
from migratekit_core.config.schema import Config, Tunnel

OMA_TABLES = ("tunnel", "database", "volumes", "ossea", "networks")
"""What an OMA has of its own."""


def chosen(config: Config, vcenter: str = "", oma: str = "") -> Config:
    """Return the configuration with this vCenter as [vcenter], and this OMA's tables in their places.

    "" is the configuration's own. Raises UsageError for a name that the configuration has not.
    """
    changed: dict[str, Any] = {}
    if vcenter:
        changed["vcenter"] = _named(config.vcenters, vcenter, "vcenters")
    if oma:
        found = _named(config.omas, oma, "omas")
        changed |= {table: getattr(found, table) for table in OMA_TABLES}
        changed["tunnel"] = apart(config.tunnel, found.tunnel, oma)
    return config.model_copy(update=changed) if changed else config


def apart(own: Tunnel, other: Tunnel, name: str) -> Tunnel:
    """Return an OMA's tunnel with sockets of its own: in the same folder two tunnels would take each other's place."""
    if not other.leads_away or runtime_dir(other) != runtime_dir(own) or _end(other) == _end(own):
        return other
    return other.model_copy(update={"runtime_dir": runtime_dir(own) / name})


def _end(tunnel: Tunnel) -> tuple[Any, ...]:
    return tuple(getattr(tunnel, name) for name in ("kind", "host", "port", "ssh", "cert_file"))


def _named(held: dict[str, Any], name: str, table: str) -> Any:
    if name in held:
        return held[name]
    raise UsageError(
        f"no {table}.{name} in the configuration",
        _known(held, name),
        f"write [{table}.{name}]; see docs/configuration.md",
        code=ErrorCode.CONFIG_MISSING,
        facts={"setting": f"{table}.{name}"},
    )


def _known(names: Iterable[str], wanted: str) -> str:
    known = sorted(names)
    near = get_close_matches(wanted, known, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(known)}" if known else "it names none"
