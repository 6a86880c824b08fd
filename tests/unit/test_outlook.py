"""The expected downtime rests on what was measured, and says so; what was not is not made up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.joblog import JoblogJob, JoblogStep
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.services.failover.downtime import Usual, usual
from migratekit_core.services.failover.outlook import look

NOW = datetime(2026, 11, 24, 12, 0)
MIB = 1 << 20
GIB = 1 << 30


def sync(number: int, hours_ago: float, *, kind: str = "incremental", changed: int, seconds: float, moved: int) -> Any:
    began = NOW - timedelta(hours=hours_ago)
    return ReplicationJob(
        id=f"job-{number}",
        source_vm_id="uuid",
        source_vm_name="vm",
        source_vm_path="/vm",
        vcenter_host="vc",
        datacenter="DC0",
        replication_type=kind,
        status="completed",
        bytes_transferred=moved,
        total_bytes=changed,
        created_at=began,
        started_at=began,
        completed_at=began + timedelta(seconds=seconds),
    )


def keep(databases: Databases, *jobs: ReplicationJob) -> None:
    with session(databases.oma) as db:
        for job in jobs:
            db.add(job)


def test_without_a_sync_there_is_no_figure(databases: Databases) -> None:
    found = look(databases.oma, "uuid", "vm", GIB, 1, NOW)
    assert (found.total, found.final_sync, found.changed_per_second) == (None, None, None)
    assert "assumed" in found.basis[0]
    assert "cannot be foretold" in found.basis[2]


def test_one_sync_tells_the_rate_of_the_copy_but_not_of_the_change(databases: Databases) -> None:
    keep(databases, sync(1, 2, kind="full", changed=GIB, seconds=10, moved=GIB))
    found = look(databases.oma, "uuid", "vm", GIB, 1, NOW)
    assert found.total is None
    assert found.copied_per_second == pytest.approx(GIB / 10)
    assert "takes two syncs" in found.basis[2]


def test_the_final_sync_copies_what_changed_since_the_last_one(databases: Databases) -> None:
    # 3600 MiB change in an hour; they take 36 s to copy, and a sync 4 s besides.
    keep(
        databases,
        sync(1, 3, kind="full", changed=8 * GIB, seconds=100, moved=8 * GIB),
        sync(2, 2, changed=3600 * MIB, seconds=36, moved=3600 * MIB),
        sync(3, 1, changed=3600 * MIB, seconds=36, moved=3600 * MIB),
    )
    found = look(databases.oma, "uuid", "vm", 100 * GIB, 1, NOW)
    assert found.changed_per_second == pytest.approx(MIB)
    assert found.since_last_sync == pytest.approx(3600)
    rate = found.copied_per_second
    assert rate is not None and found.final_sync is not None
    overhead = max(36 - 3600 * MIB / rate, 0)
    assert found.final_sync == pytest.approx(3600 * MIB / rate + overhead)
    assert found.total == pytest.approx(found.shutdown + found.final_sync + found.rest)
    assert "measured over 3 syncs" in " ".join(found.basis)


def test_no_more_changes_than_the_disks_hold_and_old_syncs_say_nothing(databases: Databases) -> None:
    keep(
        databases,
        sync(1, 24 * 40, kind="full", changed=GIB, seconds=10, moved=GIB),
        sync(2, 24 * 2, changed=GIB, seconds=10, moved=GIB),
        sync(3, 24, changed=8 * GIB, seconds=10, moved=GIB),
    )
    found = look(databases.oma, "uuid", "vm", GIB, 1, NOW)
    assert found.copied_per_second is not None and found.final_sync is not None
    # The first is older than a month: the rate is that of one day, from the second to the third.
    assert found.changed_per_second == pytest.approx(8 * GIB / 86400)
    assert found.final_sync <= GIB / found.copied_per_second + 10


def test_other_machines_do_not_count(databases: Databases, tmp_path: Path) -> None:
    keep(databases, sync(1, 1, kind="full", changed=GIB, seconds=10, moved=GIB))
    assert look(databases.oma, "another", "vm2", GIB, 1, NOW).copied_per_second is None


def test_how_long_a_shutdown_takes_is_of_the_machine_itself_and_of_late(databases: Databases) -> None:
    def failover(owner: str, seconds: float, *, number: int) -> None:
        began = NOW + timedelta(hours=number)
        job = JoblogJob(
            id=f"{owner}-{number}", correlation_id="c", kind="failover", owner=owner, status="completed", host="h",
            pid=1, process_started="1", started_at=began,
        )  # fmt: skip
        step = JoblogStep(
            job_id=job.id, correlation_id="c", sequence=1, name="shutdown-source", status="completed",
            started_at=began, completed_at=began + timedelta(seconds=seconds),
        )  # fmt: skip
        with session(databases.oma) as db:
            db.add(job)
            db.flush()
            db.add(step)

    assert usual(databases.oma, "db01") == Usual(60, 120, "assumed", assumed=True)
    for number in range(25):
        failover("old", 1, number=number)
    for number in range(25, 50):
        failover("new", 7, number=number)
    failover("db01", 300, number=51)
    assert usual(databases.oma, "db01") == Usual(300, 120, "shutdown measured of db01, the rest assumed")
    assert usual(databases.oma, "web01").shutdown == 7
