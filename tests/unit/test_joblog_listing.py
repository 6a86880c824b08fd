"""The quick list of jobs says the same as the ordinary one, and steps aside where there is more to do than to look."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from migratekit_core.config.schema import Config, Database
from migratekit_core.db.engine import Databases
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.listing import Filter, at_once, fields, listed
from migratekit_core.joblog.process import started, this_process
from migratekit_core.joblog.search import find


@pytest.fixture
def config(databases: Databases, directory: Path) -> Config:
    tracker = Tracker(databases.oma)
    with tracker.job("replication", owner="web01") as job, tracker.job("volume-create", owner="web01", parent=job):
        pass
    with pytest.raises(RuntimeError), tracker.job("failover", owner="db'01"):
        raise RuntimeError("no luck")
    return Config(database=Database(directory=directory))


@pytest.mark.parametrize(
    "wanted",
    [{}, {"nested": True}, {"limit": 1}, {"owners": ["db'01"]}, {"owners": ["nobody"]}, {"statuses": ["failed"]},
     {"owners": ["web01"], "statuses": ["completed"], "nested": True}],
)  # fmt: skip
def test_it_says_what_the_ordinary_list_says(config: Config, databases: Databases, wanted: dict[str, Any]) -> None:
    found = at_once(config.database, None, Filter(**wanted))
    assert found is not None
    ordinary = find(databases.oma, Filter(**wanted))
    assert [fields(row) for row in found] == [row.model_dump(mode="json") for row in ordinary]
    assert len(found) == len(listed(databases.oma, Filter(**wanted)))


def test_kind_and_time_filter(config: Config) -> None:
    def kinds(**wanted: Any) -> list[str]:
        return [row.kind for row in at_once(config.database, None, Filter(**wanted)) or ()]

    assert kinds(kinds=["failover"]) == ["failover"]
    assert kinds(since=utcnow() + timedelta(hours=1)) == []
    assert kinds(since=utcnow() - timedelta(hours=1)) == ["failover", "replication"]


def test_it_steps_aside_for_a_job_whose_process_is_gone(config: Config, databases: Databases) -> None:
    host, pid, began = this_process()
    row = JoblogJob(id="x" * 36, correlation_id="x", kind="replication", owner="web01", status="running", host=host,
                    pid=pid, process_started=began)  # fmt: skip
    with Session(databases.oma) as db:
        db.add(row)
        db.commit()
        assert at_once(config.database, None, Filter()) is not None
        row.pid = next(pid for pid in range(os.getpid() + 1, 1 << 22) if not started(pid))
        db.add(row)
        db.commit()
    assert at_once(config.database, None, Filter()) is None


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '0000'", "DROP TABLE alembic_version",
                                       "ALTER TABLE joblog_jobs RENAME COLUMN owner TO about"])  # fmt: skip
def test_it_steps_aside_for_another_schema(config: Config, databases: Databases, statement: str) -> None:
    with databases.oma.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
    assert at_once(config.database, None, Filter()) is None


def test_it_steps_aside_where_there_is_no_database(tmp_path: Path) -> None:
    assert at_once(Database(directory=tmp_path / "nothing"), None, Filter()) is None
    assert not (tmp_path / "nothing").exists()
