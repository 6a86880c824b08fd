"""A joblog with something of everything, in SQLite, for what only shows: pages and screenshots. Made with the tracker
and the models, so that it cannot differ from what the product writes."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from pathlib import Path

from sqlmodel import select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.db.models.oma import FailoverJob, ReplicationJob, VmDisk
from migratekit_core.db.sources import note_sync
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.events import EventKind

VM, UUID = "web01.prod.example", "5029c9b5-0f3c-4f7c-8c8e-6c1f0b9a7d10"
DISKS = {"Hard disk 1": 40 << 30, "Hard disk 2": 120 << 30}
HOSTILE = "<script>document.title='owned'</script><img src=http://198.51.100.1/x>"


def make(folder: Path, syncs: int = 12) -> Databases:
    """Write the sample into a folder; return its databases, open."""
    databases = open_databases(Database(directory=folder))
    upgrade_both(databases)
    tracker = Tracker(databases.oma)
    dice = random.Random(7)
    for number in range(syncs):
        _sync(databases, tracker, dice, number, syncs)
    with tracker.job("verify", owner=VM) as job, job.step("compare") as step:
        for name, size in DISKS.items():
            digest = f"{dice.getrandbits(256):064x}"
            step.log(EventKind.DISK_IDENTICAL, disk=name, compared=size, pending=1 << 26, differing=0, note="",
                     source_digest=digest, volume_digest=digest)  # fmt: skip
    with contextlib.suppress(UnreachableError), tracker.job("test-failover", owner=VM) as job, job.step("deploy"):
        raise UnreachableError("CloudStack does not answer", HOSTILE, "look at it", code=ErrorCode.UNKNOWN)
    _failover(databases, tracker)
    return databases


def _sync(databases: Databases, tracker: Tracker, dice: random.Random, number: int, syncs: int) -> None:
    with tracker.job("replication", owner=VM) as job:
        for name in ("preflight", "enable-cbt", "prepare-volumes", "create-snapshot"):
            with job.step(name):
                pass
        moved = {name: (size // 2 if number == 0 else dice.randrange(1 << 27, 1 << 31)) for name, size in DISKS.items()}
        with job.step("copy") as step:
            for name, size in moved.items():
                full, changed = number == 0, int(size * 1.2)
                reason = "first sync" if full else "changes since the last sync"
                step.log(EventKind.DISK_PLANNED, disk=name, full=full, reason=reason, bytes=changed, areas=10)
                step.log(EventKind.DISK_COPIED, disk=name, full=full, read=changed, moved=size, seconds=size / 8e7)
        with job.step("remove-snapshot"):
            pass
    took = sum(moved.values()) / dice.uniform(6e7, 1.1e8)
    began = utcnow() - timedelta(minutes=15 * (syncs - number), seconds=took)
    with session(databases.oma) as db:
        row = ReplicationJob(
            id=job.id,
            source_vm_id=UUID,
            source_vm_name=VM,
            source_vm_path=f"/DC0/vm/prod/{VM}",
            vcenter_host="vcenter.example",
            datacenter="DC0",
            status="completed",
            replication_type="incremental" if number else "full",
            bytes_transferred=sum(moved.values()),
            total_bytes=int(sum(moved.values()) * 1.2),
            started_at=began,
            created_at=began,
            completed_at=began + timedelta(seconds=took),
        )
        db.add(row)
        db.flush()
        note_sync(db, row)
        for at, (name, size) in enumerate(DISKS.items()):
            db.add(
                VmDisk(
                    job_id=job.id,
                    disk_id=str(2000 + at),
                    vmdk_path="[ds] x.vmdk",
                    size_gb=size >> 30,
                    datastore="ds",
                    unit_number=at,
                    label=name,
                    capacity_bytes=size,
                    provisioning_type="thin",
                    ossea_volume_id=f"0b1e{at}7c4-5c1d-4f57-9a1c-2f6f0c7f9d1{at}",
                    sync_status="completed",
                )
            )
        _stretch(db, job.id, began, took)


def _failover(databases: Databases, tracker: Tracker) -> None:
    with tracker.job("failover", owner=VM) as job:
        for name in ("preflight", "shutdown-source", "final-sync", "detach-volumes", "deploy"):
            with job.step(name) as step:
                if name == "deploy":
                    machine = {"vm_id": "de0486df-3b0f-4d4b-9d09-464e938021fd", "name": "web01-prod-example"}
                    step.log(EventKind.MACHINE_EXISTS, **machine)
        for name in ("root-disk", "data-disks", "start", "boot-check"):
            with job.step(name):
                pass
    with session(databases.oma) as db:
        newest = db.exec(select(ReplicationJob)).first()
        assert newest is not None
        began = utcnow() - timedelta(seconds=95)
        db.add(
            FailoverJob(
                id="7f7f3f0e-7f0d-4f4b-8d56-0d9d0e6a5a11",
                replication_job_id=newest.id,
                vm_id=UUID,
                job_type="live",
                status="completed",
                destination_vm_id="de0486df-3b0f-4d4b-9d09-464e938021fd",
                started_at=began,
                network_mappings={"VM Network": "guest-prod", "DC0_DVPG0 (deleted portgroup)": "guest-dmz"},
                created_at=began,
                completed_at=began + timedelta(seconds=94),
            )
        )
        _stretch(db, job.id, began, 94)


def _stretch(db: object, job_id: str, began: object, seconds: float) -> None:
    """Give a job, which took milliseconds here, the times of a real one: each step as long as the one before and half
    as much again."""
    row = db.get(JoblogJob, job_id)  # type: ignore[attr-defined]
    steps = db.exec(select(JoblogStep).where(JoblogStep.job_id == job_id).order_by(JoblogStep.id)).all()  # type: ignore[attr-defined]
    weights = [6.0 if step.name in {"copy", "final-sync"} else 1.0 for step in steps]
    at = began
    row.started_at = began
    for step, weight in zip(steps, weights, strict=True):
        step.started_at = at
        at = at + timedelta(seconds=seconds * weight / sum(weights))  # type: ignore[operator]
        step.completed_at = at
        for event in db.exec(select(JoblogEvent).where(JoblogEvent.step_id == step.id)).all():  # type: ignore[attr-defined]
            event.created_at = step.started_at
    row.completed_at = at
