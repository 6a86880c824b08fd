"""How volumes that nothing needs any more are told: in JSON, and to people with the commands that remove them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migratekit_cli.session import as_given
from migratekit_core.common.units import human_bytes

if TYPE_CHECKING:
    from migratekit_core.services.replication.surplus import Surplus, SurplusVolume


def plain(volumes: Iterable[SurplusVolume]) -> list[dict[str, Any]]:
    """Return them for JSON."""
    return [
        {
            **asdict(one),
            "last_sync": one.last_sync.isoformat() if one.last_sync is not None else None,
            "commands": list(map(str, one.commands)),
        }
        for one in volumes
    ]


def document(found: Surplus) -> dict[str, Any]:
    """Return the fields that a result has of them."""
    return {"surplus_volumes": plain(found.volumes), "not_checked": list(found.not_checked)}


def lines(volumes: Iterable[SurplusVolume]) -> list[str]:
    """Return them for people: two lines each, and a command for each step that removes one."""
    told = []
    for one in volumes:
        synced = f"last synced {one.last_sync:%Y-%m-%d %H:%M} UTC" if one.last_sync else "never wholly synced"
        told += [f"surplus volume {one.name} ({human_bytes(one.size_bytes)}, {synced}): {one.why}"]
        told += [
            f"  {'remove' if number == 0 else 'then  '}: {as_given(command)}"
            for number, command in enumerate(one.commands)
        ]
    return told


def unchecked(found: Surplus) -> list[str]:
    """Return what could not be looked at, for people."""
    return [f"not checked: {reason}" for reason in found.not_checked]
