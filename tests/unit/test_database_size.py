"""How large the databases are, and whether somebody prunes them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from migratekit_core.config.schema import Config, Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.db.size import measure
from migratekit_core.joblog import Tracker
from migratekit_core.services.doctor.checks import database as checks
from migratekit_core.services.doctor.model import Status
from migratekit_core.services.doctor.site import Site


def fill(databases: Databases, young: int, old: int) -> None:
    """Write jobs of today, and of a month ago."""
    tracker = Tracker(databases.oma)
    for number in range(young + old):
        with tracker.job("replication", owner=f"vm{number}") as job:
            pass
        if number >= young:
            with session(databases.oma) as db:
                row = db.get(JoblogJob, job.id)
                assert row is not None
                row.started_at -= timedelta(days=30)


def test_growth_is_by_how_many_jobs_are_of_the_last_week(databases: Databases) -> None:
    fill(databases, 7, 21)
    found = measure(databases, local=True)
    assert found.total > 0
    assert found.per_day == pytest.approx(found.total * 7 / 28 / 7)
    assert found.free is not None and found.days_left == pytest.approx(found.free / found.per_day)
    assert measure(databases, local=False).free is None


def test_an_empty_database_does_not_grow(databases: Databases) -> None:
    found = measure(databases, local=True)
    assert (found.per_day, found.days_left, found.oldest) == (0.0, None, None)


@pytest.mark.parametrize(("days", "status"), [(80, Status.OK), (100, Status.WARNING)])
def test_doctor_says_that_nobody_prunes(tmp_path: Path, days: int, status: Status) -> None:
    config = Config(database=Database(directory=tmp_path))
    opened = open_databases(config.database)
    upgrade_both(opened)
    with session(opened.volumes) as db:
        ended = utcnow() - timedelta(days=days)
        db.add(VolumeOperation(id="o", type="attach", status="completed", created_at=ended, completed_at=ended))
    [answer] = checks.size(Site(config))
    assert answer.status is status
    assert ("jobs prune" in str(answer.todo)) == (status is Status.WARNING)
