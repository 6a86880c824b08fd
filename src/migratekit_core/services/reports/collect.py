"""Gathers a report: the joblog, replications, failovers, and where volumes are attached now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.db.models.oma import FailoverJob, ReplicationJob, VmDisk
from migratekit_core.db.sources import called
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import Found, trees
from migratekit_core.services.failover import downtime
from migratekit_core.services.reports import made
from migratekit_core.services.reports.model import CheckedDisk, Cutover, Machine, Report, Sync, SyncedDisk, Verified

MOST_JOBS = 200
LEAST_ID = 4
"""Characters of a job's id that are taken for one."""
IDENTICAL, DIFFERENT = "identical", "different"


def collect(databases: Databases, name: str, networks: dict[str, str]) -> Report:
    """Return the report of a machine (name, path or instanceUuid), or of the job whose id begins so.

    `networks` is the configured mapping. Raises PreconditionError where neither is known, or both could be meant.
    """
    with session(databases.oma) as db:
        machine = _machine(db, name)
        jobs, left_out = _jobs_of(db, machine.name if machine else name)
        if not jobs and machine is None:
            jobs = _job(db, name)
            machine = _machine(db, jobs[0].owner)
            title = f"{jobs[0].kind} of {jobs[0].owner}"
            only = [jobs[0].id]
        else:
            title, only = machine.name if machine else name, []
    found = trees(databases.oma, jobs)
    inner = {one.job.id for tree in found for one in tree.tree()}
    with session(databases.oma) as db:
        rows = _replications(db, machine, inner if only else None)
        syncs = tuple(_sync(row, _disks(db, row.id), _within(found, row.id)) for row in rows)
        cutovers = tuple(_cutovers(db, machine, found, bool(only)))
    checks = tuple(_verified(one) for tree in found for one in tree.tree() if one.job.kind == "verify")
    things = made.collect(databases, found, rows if not only else ())
    return Report(title, machine, tuple(found), syncs, checks, cutovers, things, networks, left_out)


def _machine(db: Session, name: str) -> Machine | None:
    found = db.exec(called([name])).all()
    if len(found) > 1:
        raise PreconditionError(
            f"the name {name!r} is ambiguous",
            f"{len(found)} machines have it: {', '.join(sorted(vm.path for vm in found))}",
            "name one by its path or instanceUuid",
            code=ErrorCode.VM_AMBIGUOUS,
            facts={"vm": name},
        )
    row = db.get(ReplicationJob, found[0].newest_job_id) if found else None
    if row is None:
        return None
    return Machine(row.source_vm_name, row.source_vm_id, row.source_vm_path, row.vcenter_host, row.datacenter)


def _jobs_of(db: Session, owner: str) -> tuple[list[JoblogJob], int]:
    mine = select(JoblogJob).where(JoblogJob.owner == owner, col(JoblogJob.parent_job_id).is_(None))
    rows = list(db.exec(mine.order_by(col(JoblogJob.started_at).desc()).limit(MOST_JOBS)).all())
    total = db.exec(select(func.count()).select_from(mine.subquery())).one()
    return rows, total - len(rows)


def _job(db: Session, beginning: str) -> list[JoblogJob]:
    query = select(JoblogJob).where(col(JoblogJob.id).startswith(beginning, autoescape=True)).limit(2)
    rows = list(db.exec(query).all()) if len(beginning) >= LEAST_ID else []
    if len(rows) != 1:
        raise PreconditionError(
            f"nothing is known of {beginning!r}",
            "no machine of that name was worked on, and no single job begins so",
            hint("look with: ", migratekit("jobs", "list")),
            code=ErrorCode.JOB_NOT_FOUND,
            facts={"wanted": beginning},
        )
    return rows


def _replications(db: Session, machine: Machine | None, ids: Iterable[str] | None) -> list[ReplicationJob]:
    if machine is None:
        return []
    query = select(ReplicationJob).where(ReplicationJob.source_vm_id == machine.uuid)
    if ids is not None:
        query = query.where(col(ReplicationJob.id).in_(list(ids)))
    newest = db.exec(query.order_by(col(ReplicationJob.created_at).desc()).limit(MOST_JOBS)).all()
    return list(newest)[::-1]


def _disks(db: Session, job_id: str) -> Sequence[VmDisk]:
    return db.exec(select(VmDisk).where(VmDisk.job_id == job_id).order_by(col(VmDisk.id))).all()


def _within(found: Sequence[Found], job_id: str) -> Found | None:
    return next((one for tree in found for one in tree.tree() if one.job.id == job_id), None)


def _sync(row: ReplicationJob, disks: Sequence[VmDisk], found: Found | None) -> Sync:
    events = found.events if found is not None else ()
    synced = tuple(
        _disk(disk, _of(events, EventKind.DISK_PLANNED, disk.label), _of(events, EventKind.DISK_COPIED, disk.label))
        for disk in disks
    )
    return Sync(
        job_id=row.id,
        kind=row.replication_type,
        status=row.status,
        started=row.started_at,
        seconds=_seconds(row.started_at, row.completed_at),
        changed=row.total_bytes,
        moved=row.bytes_transferred,
        disks=synced,
        error=row.error_message or "",
    )


def _of(events: Iterable[JoblogEvent], kind: EventKind, disk: str) -> dict[str, object]:
    """Return the fields of the last event of a kind about a disk; the joblog may have been pruned."""
    fields: dict[str, object] = {}
    for event in events:
        if event.kind == kind and (event.fields or {}).get("disk") == disk:
            fields = event.fields or {}
    return fields


def _disk(row: VmDisk, plan: dict[str, object], copied: dict[str, object]) -> SyncedDisk:
    return SyncedDisk(
        label=row.label,
        volume_id=row.ossea_volume_id,
        capacity=row.capacity_bytes,
        full=bool(copied.get("full", plan.get("full", False))),
        reason=str(plan.get("reason", "")),
        changed=_whole(plan.get("bytes")),
        read=_whole(copied.get("read")),
        moved=_whole(copied.get("moved", row.bytes_synced)),
        seconds=float(str(copied.get("seconds", 0.0))),
    )


def _verified(found: Found) -> Verified:
    disks = []
    for event in found.events:
        if event.kind not in (EventKind.DISK_IDENTICAL, EventKind.DISK_DIFFERENT):
            continue
        fields = event.fields or {}
        differing = _whole(fields.get("differing"))
        disks.append(
            CheckedDisk(
                label=str(fields["disk"]),
                result=DIFFERENT if event.kind == EventKind.DISK_DIFFERENT else IDENTICAL,
                compared=_whole(fields["compared"]),
                pending=_whole(fields.get("pending")),
                differing=differing,
                source_digest=str(fields.get("source_digest", "")),
                volume_digest=str(fields.get("volume_digest", "")),
                note=str(fields.get("note", "")),
            )
        )
    return Verified(found.job.id, found.job.status, found.job.started_at, tuple(disks))


def _cutovers(db: Session, machine: Machine | None, found: Sequence[Found], only: bool) -> Iterable[Cutover]:
    if machine is None:
        return
    query = select(FailoverJob).where(FailoverJob.vm_id == machine.uuid).order_by(col(FailoverJob.created_at))
    jobs = [tree for tree in found if tree.job.kind in {"failover", "test-failover"}]
    for row in db.exec(query).all():
        mine = [tree for tree in jobs if _overlap(tree.job, row)]
        if only and not mine:
            continue
        yield Cutover(
            id=row.id,
            kind=row.job_type,
            status=row.status,
            machine_id=row.destination_vm_id,
            networks=row.network_mappings or {},
            started=row.started_at,
            completed=row.completed_at,
            downtime=_downtime(mine) if row.job_type == "live" else None,
            error=row.error_message or "",
        )


def _overlap(job: JoblogJob, row: FailoverJob) -> bool:
    """Return whether a job worked for a failover: it began the failover, or took it up again."""
    kind = {"live": "failover", "test": "test-failover"}.get(row.job_type)
    began = row.started_at or row.created_at
    ended = row.completed_at or datetime.max
    return job.kind == kind and job.started_at <= ended and (job.completed_at or datetime.max) >= began


def _downtime(jobs: Sequence[Found]) -> float | None:
    """Return how long the machine was away, over all jobs of a failover that was taken up again."""
    steps: list[JoblogStep] = sorted((step for job in jobs for step in job.steps), key=lambda step: step.started_at)
    found = downtime.measure(steps)
    return found.seconds if found is not None and found.over else None


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return round((end - begin).total_seconds(), 3) if begin is not None and end is not None else None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
