"""Migrations from nothing, and the check that stops a command before it writes into a schema that is not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import SchemaMismatchError
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.models.volumes import DeviceMapping
from migratekit_core.db.schema import Difference, check_both, compare, require_schema


def changed(directory: Path, name: str, statement: str) -> None:
    connection = sqlite3.connect(directory / f"{name}.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_an_upgrade_from_empty_gives_the_schema_of_the_models_and_can_be_repeated(tmp_path: Path) -> None:
    databases = open_databases(Database(directory=tmp_path / "new"))
    assert check_both(databases)
    first = upgrade_both(databases)
    assert [(item.database, item.before) for item in first] == [("oma", None), ("volumes", None)]
    assert check_both(databases) == []
    with session(databases.volumes) as db:
        db.add(DeviceMapping(volume_id="v", vm_id="m", cloudstack_state="Ready", linux_state="attached", size=1))
    again = upgrade_both(databases)
    assert [(item.before, item.after) for item in again] == [(item.after, item.after) for item in first]
    with session(databases.volumes) as db:
        kept = db.get(DeviceMapping, 1)
    assert kept is not None
    assert kept.volume_id == "v"
    databases.dispose()


def test_an_empty_database_is_told_as_one(tmp_path: Path) -> None:
    databases = open_databases(Database(directory=tmp_path / "new"))
    with pytest.raises(SchemaMismatchError) as caught:
        require_schema(databases)
    assert (caught.value.code, caught.value.facts) == (ErrorCode.SCHEMA_MISSING, {"database": "oma"})
    assert str(caught.value.todo) == "make them with: migratekit db upgrade"
    databases.dispose()


def test_the_files_are_private(directory: Path, tmp_path: Path) -> None:
    open_databases(Database(directory=tmp_path / "fresh")).dispose()
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700
    for name in ("oma", "volumes"):
        assert (tmp_path / "fresh" / f"{name}.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_missing_table_is_named(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "DROP TABLE vm_locks")
    assert compare(databases.oma, "oma") == [Difference("oma", "vm_locks", "", "table", "nothing")]
    assert compare(databases.volumes, "volumes") == []


def test_a_missing_column_is_named(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "ALTER TABLE vm_disks DROP COLUMN disk_change_id")
    assert compare(databases.oma, "oma") == [
        Difference("oma", "vm_disks", "disk_change_id", "column", "no such column")
    ]


def test_the_name_of_the_field_is_shown_beside_the_one_that_is_missed(databases: Databases, directory: Path) -> None:
    changed(directory, "volumes", "ALTER TABLE device_mappings RENAME COLUMN volume_id TO volume_uuid")
    found = compare(databases.volumes, "volumes")
    assert found[0] == Difference(
        "volumes", "device_mappings", "volume_id", "column", "no such column (has: volume_uuid)"
    )
    references = [item for item in found if item.table == "nbd_exports"]
    assert [item.column for item in references] == ["volume_id"]
    assert references[0].expected.startswith("a foreign key to device_mappings.volume_id ")
    assert references[0].found.startswith("a foreign key to device_mappings.volume_uuid ")
    with pytest.raises(SchemaMismatchError) as caught:
        require_schema(databases, ("oma", "volumes"))
    assert caught.value.exit_code == 7
    for part in ("volumes", "device_mappings.volume_id", "expected column", "volume_uuid"):
        assert part in caught.value.why
    assert "migratekit db upgrade" in str(caught.value.todo)


def test_a_column_of_the_sites_own_is_no_difference(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "ALTER TABLE vm_disks ADD COLUMN ticket TEXT")
    assert compare(databases.oma, "oma") == []


def test_the_number_of_further_differences_is_told(databases: Databases, directory: Path) -> None:
    for column in ("label", "datastore", "unit_number"):
        changed(directory, "oma", f"ALTER TABLE vm_disks DROP COLUMN {column}")
    with pytest.raises(SchemaMismatchError) as caught:
        require_schema(databases)
    assert caught.value.facts["differences"] == 3


def test_only_the_named_databases_are_required(databases: Databases, directory: Path) -> None:
    changed(directory, "volumes", "DROP TABLE nbd_exports")
    require_schema(databases, ("oma",))
    with pytest.raises(SchemaMismatchError):
        require_schema(databases)


@pytest.mark.parametrize(
    ("statement", "column", "expected", "found"),
    [
        ("DROP INDEX ix_vm_disks_job_id", "job_id", "an index ix_vm_disks_job_id", "none"),
        ("CREATE UNIQUE INDEX once ON vm_disks (label)", "label", "none", "a unique key once"),
    ],
)
def test_a_missing_index_and_a_constraint_that_could_refuse_a_row_are_told(
    databases: Databases, directory: Path, statement: str, column: str, expected: str, found: str
) -> None:
    changed(directory, "oma", statement)
    assert compare(databases.oma, "oma") == [Difference("oma", "vm_disks", column, expected, found)]


def test_an_index_of_the_sites_own_is_no_difference(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "CREATE INDEX reports ON vm_disks (label)")
    assert compare(databases.oma, "oma") == []


def test_an_upgrade_gives_a_renamed_column_its_name_back_and_keeps_the_rows(
    databases: Databases, directory: Path
) -> None:
    with session(databases.volumes) as db:
        db.add(DeviceMapping(volume_id="v", vm_id="m", cloudstack_state="Ready", linux_state="attached", size=1))
    changed(directory, "volumes", "ALTER TABLE device_mappings RENAME COLUMN volume_id TO volume_uuid")
    upgrade_both(databases)
    assert check_both(databases) == []
    with session(databases.volumes) as db:
        kept = db.get(DeviceMapping, 1)
    assert kept is not None
    assert kept.volume_id == "v"


def test_an_upgrade_that_was_killed_between_two_tables_is_finished_by_the_next(
    databases: Databases, directory: Path
) -> None:
    for statement in ("DROP TABLE nbd_exports", "DROP TABLE idempotency_keys", "DELETE FROM alembic_version"):
        changed(directory, "volumes", statement)
    oma, volumes = upgrade_both(databases)
    assert (oma.before, volumes.before) == (oma.after, None)
    assert check_both(databases) == []


def test_what_an_upgrade_cannot_make_right_stops_it(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "ALTER TABLE vm_disks DROP COLUMN disk_change_id")
    with pytest.raises(SchemaMismatchError) as caught:
        upgrade_both(databases)
    assert "vm_disks.disk_change_id" in caught.value.why


def test_a_database_of_a_newer_version_is_left_alone(databases: Databases, directory: Path) -> None:
    changed(directory, "oma", "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatchError) as caught:
        upgrade_both(databases)
    assert "9999" in caught.value.why
