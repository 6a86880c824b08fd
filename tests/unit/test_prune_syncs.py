"""Old syncs and operations go; what describes a replica, a failover or an open operation stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import (
    CloudstackJob,
    FailoverJob,
    ReplicationCheckpoint,
    ReplicationJob,
    VmDisk,
)
from migratekit_core.db.models.sources import SourceVm, SourceVolume
from migratekit_core.db.models.volumes import IdempotencyKey, VolumeOperation
from migratekit_core.db.sources import note_sync, note_volume
from migratekit_core.joblog import prune as module
from migratekit_core.joblog.prune import Pruned, prune
from migratekit_core.services.replication.surplus import origins

BEFORE = utcnow() - timedelta(days=90)


def sync(databases: Databases, vm: str, days: float, status: str = "completed", volume: str = "") -> str:
    """Add a sync of `vm`, with one disk."""
    began, job_id = utcnow() - timedelta(days=days), f"{vm}-{days}"
    with session(databases.oma) as db:
        job = ReplicationJob(
            id=job_id, source_vm_id=vm, source_vm_name=vm, source_vm_path=f"/{vm}", vcenter_host="v", datacenter="d",
            replication_type="incremental", status=status, created_at=began, started_at=began, completed_at=began,
        )  # fmt: skip
        db.add(job)
        db.flush()
        note_sync(db, job)
        volume = volume or f"volume-{vm}"
        note_volume(db, vm, "2000", volume)
        db.add(
            VmDisk(
                job_id=job_id, disk_id="2000", vmdk_path="x", size_gb=1, datastore="d", unit_number=0, label="disk",
                capacity_bytes=1 << 30, provisioning_type="thin", ossea_volume_id=volume,
                sync_status="completed", created_at=began,
            )
        )  # fmt: skip
    return job_id


def operation(databases: Databases, number: int, days: float, status: str = "completed") -> str:
    """Add an operation of the volume daemon, with its key."""
    ended = utcnow() - timedelta(days=days)
    with session(databases.volumes) as db:
        db.add(
            VolumeOperation(
                id=f"op-{number}", type="attach", status=status, volume_id="v", created_at=ended,
                completed_at=ended if status in ("completed", "failed") else None,
            )
        )  # fmt: skip
        db.flush()
        db.add(IdempotencyKey(key=f"key-{number}", operation_id=f"op-{number}", request_digest="d", created_at=ended))
    return f"op-{number}"


def left(databases: Databases) -> set[str]:
    with session(databases.oma) as db:
        disks = set(db.exec(select(VmDisk.job_id)))
        syncs = set(db.exec(select(ReplicationJob.id)))
    assert disks == syncs, "a sync and its disks go together"
    return syncs


def test_syncs_go_but_for_the_newest_and_those_that_something_refers_to(databases: Databases) -> None:
    old = [sync(databases, "web", days) for days in (400, 300, 200)]
    failed = sync(databases, "web", 150, "failed")
    idle = [sync(databases, "idle", 500), sync(databases, "idle", 450)]
    referred, checkpointed, young = sync(databases, "db", 350), sync(databases, "db", 340), sync(databases, "db", 1)
    with session(databases.oma) as db:
        db.add(FailoverJob(id="f", replication_job_id=referred, vm_id="db", job_type="test", status="cleaned"))
        db.add(ReplicationCheckpoint(volume_id="x", job_id=checkpointed, snapshot_change_id="1/2"))
    planned = prune(databases, BEFORE, dry_run=True)
    done = prune(databases, BEFORE)
    assert planned == done == Pruned(syncs=3, disks=3)
    assert left(databases) == {old[2], failed, idle[1], referred, checkpointed, young}
    assert prune(databases, BEFORE) == Pruned()
    with session(databases.oma) as db:
        # Which volumes are ours is known for ever: nothing of them is somebody else's to be deleted.
        assert set(db.exec(select(SourceVolume.volume_id))) == {"volume-web", "volume-idle", "volume-db"}
        assert {vm.vm_id: (vm.newest_job_id, vm.completed_job_id) for vm in db.exec(select(SourceVm))} == {
            "web": (failed, old[2]),
            "idle": (idle[1], idle[1]),
            "db": (young, young),
        }


def test_a_volume_that_no_later_sync_has_is_still_known_as_surplus(databases: Databases) -> None:
    sync(databases, "web", 400, volume="replaced")
    last = sync(databases, "web", 300, volume="replaced")
    sync(databases, "web", 200)
    newest = sync(databases, "web", 1)
    assert prune(databases, BEFORE).syncs == 2
    assert left(databases) == {last, newest}
    found = origins(databases.oma, ["replaced"])["replaced"]
    assert (found.vm_uuid, found.gone != "") == ("web", True)


def test_a_sync_that_runs_is_kept(databases: Databases) -> None:
    running = sync(databases, "web", 200, "running")
    sync(databases, "web", 1)
    assert prune(databases, BEFORE).syncs == 0
    assert running in left(databases)


def test_operations_go_with_their_keys_but_no_open_one(databases: Databases) -> None:
    operation(databases, 1, 200)
    operation(databases, 2, 200, "failed")
    open_ones = {operation(databases, 3, 200, "running"), operation(databases, 4, 200, "pending")}
    young = operation(databases, 5, 10)
    assert prune(databases, BEFORE, dry_run=True).operations == 2
    assert prune(databases, BEFORE).operations == 2
    with session(databases.volumes) as db:
        assert set(db.exec(select(VolumeOperation.id))) == open_ones | {young}
        assert set(db.exec(select(IdempotencyKey.operation_id))) == open_ones | {young}


def test_jobs_of_cloudstack_go_but_those_that_run(databases: Databases) -> None:
    long_ago = utcnow() - timedelta(days=200)
    with session(databases.oma) as db:
        for number, (status, at) in enumerate(
            [("completed", long_ago), ("failed", long_ago), ("running", long_ago), ("completed", utcnow())]
        ):
            db.add(
                CloudstackJob(
                    cloudstack_job_id=str(number), cloudstack_command="attachVolume", cloudstack_status="x",
                    operation_type="attach", correlation_id="c", status=status, created_at=at, updated_at=at,
                )
            )  # fmt: skip
    assert prune(databases, BEFORE).cloudstack_jobs == 2
    with session(databases.oma) as db:
        assert set(db.exec(select(CloudstackJob.cloudstack_job_id))) == {"2", "3"}


def test_lots_cover_every_row_once(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their size: rows of one time, at a lot's end, too."""
    monkeypatch.setattr(module, "FIRST", 3)
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(10):
        operation(databases, number, 200)
    with session(databases.volumes) as db:
        at = utcnow() - timedelta(days=200)
        for row in db.exec(select(VolumeOperation)):
            row.completed_at = at
    told: list[int] = []
    assert prune(databases, BEFORE, dry_run=True).operations == 10
    assert prune(databases, BEFORE, told=lambda done: told.append(done.operations)).operations == 10
    assert [number for number in told if number] == [3, 6, 9, 10]
