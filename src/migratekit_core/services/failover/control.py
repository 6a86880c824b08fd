"""What a failover that waits, or has not passed its point of no return, can be told from elsewhere: an event of its
joblog, which it looks for. So it works from every host that reaches the database, and is recorded."""

from __future__ import annotations

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.joblog import Job, cancel
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import first_event
from migratekit_core.joblog.states import RUNNING
from migratekit_core.services.replication import replica


def release(runtime: Runtime, vm_name: str) -> JoblogJob:
    """Tell the running failover of a machine to cut over now; return its job.

    Raises PreconditionError unless exactly one runs.
    """
    job = _running(runtime, vm_name)
    runtime.tracker.note(job, EventKind.CUTOVER_ASKED, {})
    return job


def stop(runtime: Runtime, vm_name: str) -> JoblogJob:
    """Tell the running failover of a machine to stop; return its job.

    Raises PreconditionError unless exactly one runs, and where it has passed its point of no return.
    """
    job = _running(runtime, vm_name)
    cancel.ask(runtime.tracker, job, "")
    return job


def _running(runtime: Runtime, vm_name: str) -> JoblogJob:
    runtime.tracker.mark_interrupted()
    # A machine may be named by its path or uuid; jobs know it by its name.
    names = {found.job.source_vm_name for found in replica.named(runtime.databases.oma, vm_name)} or {vm_name}
    running = [job for name in names for job in runtime.tracker.jobs(owner=name, status=RUNNING, limit=1000)]
    found = [job for job in running if job.kind == "failover"]
    if len(found) != 1:
        problem = "none runs" if not found else f"{len(found)} run, of machines of that name"
        raise PreconditionError(
            f"no single failover of {vm_name} can be told anything",
            problem,
            hint("look with: ", migratekit("jobs", "list", "--status", "running")),
            code=ErrorCode.NOT_FAILED_OVER,
            facts={"vm": vm_name},
        )
    return found[0]


def released(runtime: Runtime, job: Job) -> bool:
    """Return whether a job was told to cut over now."""
    asked = write(runtime.databases.oma, lambda db: first_event(db, [job.id], EventKind.CUTOVER_ASKED))
    return asked is not None
