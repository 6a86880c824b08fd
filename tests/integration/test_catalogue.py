"""The quick look at MariaDB's catalogue: yes is said of nothing that the whole comparison would complain about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from migratekit_core.db.catalogue import as_made
from migratekit_core.db.schema import METADATA, changes, compare
from tests.integration import database_server

STEPS = "ALTER TABLE joblog_steps "
REFERENCE = "ADD CONSTRAINT fk_joblog_steps_job_id FOREIGN KEY (job_id) REFERENCES joblog_jobs (id)"
OURS = {
    "an older form of a column": (
        "ALTER TABLE vm_disks MODIFY capacity_bytes INT NULL",
        "ALTER TABLE vm_disks MODIFY capacity_bytes BIGINT NOT NULL",
    ),
    "NULL": (
        "ALTER TABLE joblog_jobs MODIFY status VARCHAR(16) NULL",
        "ALTER TABLE joblog_jobs MODIFY status VARCHAR(16) NOT NULL",
    ),
    "a name": (
        "ALTER TABLE vm_disks CHANGE label labels VARCHAR(255) NOT NULL",
        "ALTER TABLE vm_disks CHANGE labels label VARCHAR(255) NOT NULL",
    ),
    "no table": ("RENAME TABLE fleet_runs TO other_runs", "RENAME TABLE other_runs TO fleet_runs"),
    "no reference": (f"{STEPS} DROP FOREIGN KEY fk_joblog_steps_job_id", f"{STEPS} {REFERENCE}"),
    "another reference": (
        f"{STEPS} DROP FOREIGN KEY fk_joblog_steps_job_id, ADD CONSTRAINT theirs FOREIGN KEY (job_id)"
        " REFERENCES joblog_jobs (id) ON DELETE CASCADE",
        f"{STEPS} DROP FOREIGN KEY theirs, {REFERENCE}",
    ),
    "one more reference": (
        "ALTER TABLE vm_disks ADD CONSTRAINT theirs FOREIGN KEY (id) REFERENCES joblog_steps (id)",
        "ALTER TABLE vm_disks DROP FOREIGN KEY theirs",
    ),
    "one more unique key": (
        "CREATE UNIQUE INDEX theirs ON vm_disks (disk_id)",
        "DROP INDEX theirs ON vm_disks",
    ),
    "no index": (
        "DROP INDEX ix_failover_jobs_status ON failover_jobs",
        "CREATE INDEX ix_failover_jobs_status ON failover_jobs (status)",
    ),
    "an index of something else": (
        "ALTER TABLE failover_jobs DROP INDEX ix_failover_jobs_status, ADD INDEX ix_failover_jobs_status (job_type)",
        "ALTER TABLE failover_jobs DROP INDEX ix_failover_jobs_status, ADD INDEX ix_failover_jobs_status (status)",
    ),
}
THEIRS = {
    "a column": ("ALTER TABLE vm_disks ADD theirs INT NULL", "ALTER TABLE vm_disks DROP theirs"),
    "a table": ("CREATE TABLE theirs (id INT PRIMARY KEY)", "DROP TABLE theirs"),
    "an index": ("CREATE INDEX theirs ON vm_disks (label)", "DROP INDEX theirs ON vm_disks"),
}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    with database_server.running(tmp_path_factory.mktemp("catalogue")) as server:
        opened = server.open()
        yield {"oma": opened.oma, "volumes": opened.volumes}
        opened.dispose()


def said(engine: Engine, name: str = "oma") -> tuple[bool, bool]:
    """Return what the catalogue says, and whether the whole comparison finds nothing."""
    with engine.connect() as connection:
        return as_made(connection, METADATA[name]), changes(connection, name) == []


@pytest.mark.parametrize("name", METADATA)
def test_what_was_just_made_needs_no_comparison(databases: dict[str, Engine], name: str) -> None:
    assert said(databases[name], name) == (True, True)


@pytest.mark.parametrize("change", OURS)
def test_what_is_not_as_made_is_compared(databases: dict[str, Engine], change: str) -> None:
    oma = databases["oma"]
    do, undo = OURS[change]
    with oma.begin() as connection:
        connection.exec_driver_sql(do)
    try:
        assert said(oma) == (False, False)
        assert compare(oma, "oma")
    finally:
        with oma.begin() as connection:
            connection.exec_driver_sql(undo)
    assert said(oma) == (True, True)


@pytest.mark.parametrize("change", THEIRS)
def test_what_a_site_adds_is_not_looked_at(databases: dict[str, Engine], change: str) -> None:
    oma = databases["oma"]
    do, undo = THEIRS[change]
    with oma.begin() as connection:
        connection.exec_driver_sql(do)
    try:
        assert said(oma) == (True, True)
    finally:
        with oma.begin() as connection:
            connection.exec_driver_sql(undo)


def test_a_key_of_first_characters_only_is_another_one(databases: dict[str, Engine]) -> None:
    oma = databases["oma"]
    swap = "ALTER TABLE failover_jobs DROP INDEX ix_failover_jobs_status, ADD INDEX ix_failover_jobs_status (status{})"
    with oma.begin() as connection:
        connection.exec_driver_sql(swap.format("(4)"))
    assert not said(oma)[0]
    with oma.begin() as connection:
        connection.exec_driver_sql(swap.format(""))
    assert said(oma)[0]
