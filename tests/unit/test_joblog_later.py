"""What takes something back does not wait for the joblog, which follows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from migratekit_core.adapters.vsphere.patience import call_mode
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OmaUnreachableError
from migratekit_core.common.progress import Silent
from migratekit_core.config.schema import Config, Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.context import Runtime
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.joblog import Job, Tracker
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.later import later
from tests.coded import raises
from tests.lab.parts.process import choose_port

REFUSES = "CREATE TRIGGER refuses BEFORE INSERT ON joblog_steps BEGIN SELECT RAISE(ABORT, 'no room'); END"


def test_an_undo_waits_for_no_database_that_is_away_and_says_so_on_the_screen(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret")
    secret.chmod(0o600)
    settings = Database(kind="mariadb", port=choose_port(None), password=SecretSource(file=secret), patience=0.5)
    waited: list[str] = []
    shown: list[str] = []

    class Screen(Silent):
        def note(self, message: str) -> None:
            shown.append(message)

    databases = open_databases(settings, note=waited.append)
    runtime = Runtime(Config(), databases, Tracker(databases.oma), Screen())
    job = Job(runtime.tracker, "a job", "a command", "replication")
    with raises(OmaUnreachableError, ErrorCode.DATABASE_UNREACHABLE):
        with runtime.undoing(job) as undo, undo.step("remove-snapshot") as step:
            call_mode().note("vCenter is away, too")
            step.log(EventKind.CONSOLIDATED)
            assert shown == ["vCenter is away, too"]
            assert waited == [], "nothing of the joblog was waited for"
    assert len(waited) == 1, "it was afterwards"
    databases.dispose()


def test_what_could_not_be_written_follows_in_its_order(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with sqlite3.connect(directory / "oma.sqlite") as other:
        with tracker.job("replication", owner="web01") as job:
            with job.step("copy"):
                pass
            other.execute(REFUSES)
            other.commit()
            with later(job) as undo:
                with undo.step("remove-snapshot") as step:
                    step.log(EventKind.CONSOLIDATED)
                assert [row.name for row in tracker.steps(job.id)] == ["copy"]
                other.execute("DROP TRIGGER refuses")
                other.commit()
            with job.step("finish"):
                pass
    other.close()
    rows = tracker.steps(job.id)
    assert [(row.name, row.status, row.sequence) for row in rows] == [
        ("copy", "completed", 1), ("remove-snapshot", "completed", 2), ("finish", "completed", 3),
    ]  # fmt: skip
    [event] = tracker.events(job.id)
    assert (event.kind, event.step_id) == (EventKind.CONSOLIDATED, rows[1].id)
