"""Keeps a mapping in the OMA's database, where failover finds it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine
from sqlmodel import col, select

from migratekit_core.db.engine import session
from migratekit_core.db.models.networks import NetworkMapping
from migratekit_core.services.networks.model import Entry


def stored(engine: Engine) -> tuple[Entry, ...]:
    """Return what is stored, by machine and source."""
    with session(engine) as db:
        query = select(NetworkMapping).order_by(col(NetworkMapping.machine), col(NetworkMapping.source))
        return tuple(Entry(row.source, row.target, row.machine, row.origin) for row in db.exec(query))


def store(engine: Engine, entries: Iterable[Entry], *, replace_all: bool = False) -> None:
    """Store entries, each in the place of an earlier one for the same source; with `replace_all` nothing else stays."""
    with session(engine) as db:
        rows = {(row.machine, row.source): row for row in db.exec(select(NetworkMapping))}
        wanted = {(entry.machine, entry.source): entry for entry in entries}
        for key, entry in wanted.items():
            row = rows.pop(key, None)
            if row is None:
                row = NetworkMapping(machine=entry.machine, source=entry.source, origin=entry.origin)
                db.add(row)
            row.target, row.origin = entry.target, entry.origin
        if replace_all:
            for row in rows.values():
                db.delete(row)


def forget(engine: Engine, sources: Iterable[str]) -> tuple[str, ...]:
    """Remove the entries of these networks; return those that there were."""
    wanted = set(sources)
    with session(engine) as db:
        query = select(NetworkMapping).where(NetworkMapping.machine == "", col(NetworkMapping.source).in_(wanted))
        found = list(db.exec(query))
        for row in found:
            db.delete(row)
        return tuple(row.source for row in found)
