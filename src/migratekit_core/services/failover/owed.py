"""What nobody has taken back: a source that a failover shut down and that did not end, and snapshots that are left.

It is in the database from before the call that makes it, so neither a kill nor a reboot loses it. What takes it back is
one command for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationJob
from migratekit_core.joblog.search import running
from migratekit_core.services.failover.record import ENDED, LIVE, made_ahead
from migratekit_core.services.replication import leftover


@dataclass(frozen=True)
class Owed:
    """Something that is to be taken back."""

    vm_uuid: str
    vm_name: str
    what: str
    """One line for people."""
    todo: Hint
    """The command that takes it back, or the two of which one does."""
    job_ids: frozenset[str]
    """The jobs that have left it."""
    source_off: bool
    """Whether the machine may be off on both sides."""


def owed(engine: Engine) -> list[Owed]:
    """Return everything that is to be taken back, sources that may be off first: their snapshots go with that."""
    sources = _sources(engine)
    over = {one.vm_uuid for one in sources if one.source_off}
    return [*sources, *(_snapshot(left) for left in leftover.owed(engine) if left.vm_uuid not in over)]


def of_jobs(engine: Engine, job_ids: set[str]) -> list[Owed]:
    """Return what some jobs have left."""
    return [one for one in owed(engine) if one.job_ids & job_ids]


def _sources(engine: Engine) -> list[Owed]:
    def look(db: Session) -> list[Owed]:
        query = (
            select(FailoverJob, FailoverState, ReplicationJob.source_vm_name)
            .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
            .join(ReplicationJob, col(ReplicationJob.id) == FailoverJob.replication_job_id)
            .where(FailoverJob.job_type == LIVE, col(FailoverJob.status).not_in(ENDED[LIVE]))
            .order_by(col(FailoverJob.created_at))
        )
        found = [(row, state.state, name) for row, state, name in db.exec(query).all()]
        return [
            _source(row, state, name) if state.get("shutdown_intent") else _machine(row, state, name)
            for row, state, name in found
            if (state.get("source_was_on") if state.get("shutdown_intent") else made_ahead(row, state))
            and not running(db, state.get("jobs", []))
        ]

    return write(engine, look)


def _source(row: FailoverJob, state: dict[str, Any], name: str) -> Owed:
    back = migratekit("rollback", name)
    if state.get("start_intent"):
        what = f"its failover passed the point of no return and did not end; the source is off (failover {row.id})"
        todo = hint(
            "go on with: ", migratekit("failover", name), "; or back, without what its new machine wrote: ", back
        )
    else:
        what = f"the source may be off since a failover that did not end (failover {row.id})"
        todo = hint("start it again with: ", back)
    return Owed(row.vm_id, name, what, todo, frozenset(state.get("jobs", ())), source_off=True)


def _machine(row: FailoverJob, state: dict[str, Any], name: str) -> Owed:
    what = f"its new machine is there, stopped, of a failover that did not end before the shutdown (failover {row.id})"
    todo = hint("go on with: ", migratekit("failover", name), "; or take it away: ", migratekit("rollback", name))
    return Owed(row.vm_id, name, what, todo, frozenset(state.get("jobs", ())), source_off=False)


def _snapshot(left: leftover.Left) -> Owed:
    why = f": {left.reason}" if left.reason else ""
    what = f"a snapshot that MigrateKit made may still be there ({left.snapshot_id}){why}"
    return Owed(left.vm_uuid, left.vm_name, what, left.way_out(), frozenset({left.job_id}), source_off=False)


def told(found: list[Owed]) -> list[Hint]:
    """Return a line for each, with its command."""
    return [hint(f"{one.vm_name}: {one.what}; ", one.todo) for one in found]
