"""One run per machine: a second one is told who holds it, and a killed one holds nothing."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import open_engine, write
from migratekit_core.db.locks import LockKind, vm_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import VmLock
from tests.coded import raises
from tests.integration.gate import gate
from tests.integration.support import (
    MIB,
    finished,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
)
from tests.lab.lab import Lab

VM = "lock01"


def test_a_second_run_is_told_who_holds_the_machine(lab: Lab) -> None:
    lab.vcenter.new_epoch(VM)  # something to copy, whichever test was first
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as first:
        slow.wait(first)
        said = refused(lab, run(lab, "replicate", VM), 8, ErrorCode.LOCKED)
        slow.open()
        assert finished(first).returncode == 0
    assert "being worked on" in said
    assert f"replicate {VM} (pid {first.pid} on " in said
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_killed_run_frees_the_machine_at_once(lab: Lab) -> None:
    lab.vcenter.new_epoch(VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as killed:
        slow.wait(killed)
        killed.kill()
        killed.wait()
        done = report(lab, "replicate", VM)
    assert done["kind"] == "full"
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)
    (job,) = sql(lab, "SELECT status FROM joblog_jobs WHERE pid = %s AND kind = 'replication'", killed.pid)
    assert job["status"] == "interrupted"


def test_a_lock_that_lost_its_connection_is_taken_back_unless_somebody_had_it_meanwhile(shared_lab: Lab) -> None:
    engine = lab_engine(shared_lab)
    with vm_lock(engine, "some machine", "first") as lock:
        lock.ensure()
        _cut(engine)
        lock.ensure()  # nobody was there meanwhile: it is ours again
        write(engine, lock.confirm)
        with raises(BusyError, ErrorCode.LOCKED), vm_lock(engine, "some machine", "second"):
            pass
        _cut(engine)
        with vm_lock(engine, "some machine", "second"):
            pass
        with raises(BusyError, ErrorCode.LOCKED):
            lock.ensure()
        with raises(BusyError, ErrorCode.LOCKED):
            write(engine, lock.confirm)
    engine.dispose()


def lab_engine(lab: Lab) -> Engine:
    """Open the lab's OMA database, as a process of its own would."""
    database = Database(
        kind="mariadb",
        port=lab.ports["db"],
        password=SecretSource(file=lab.run / "database.secret"),
    )
    return open_engine(database, "oma")


def _cut(engine: Engine) -> None:
    """End the connection that holds the lock, as a server's restart or a tunnel's does."""
    with engine.connect() as connection:
        for row in connection.exec_driver_sql("SELECT name FROM vm_locks").all():
            holder = connection.exec_driver_sql("SELECT IS_USED_LOCK(%s)", (row[0],)).scalar()
            if holder is not None:
                connection.exec_driver_sql(f"KILL {int(holder)}")


def test_a_process_that_freezes_within_a_transaction_keeps_nobody_waiting_for_long(shared_lab: Lab) -> None:
    """Its host may have lost its power: MariaDB hears nothing of that."""
    engine = lab_engine(shared_lab)
    with engine.connect() as frozen:
        frozen.exec_driver_sql("INSERT INTO vm_locks (name, holder, acquired_at) VALUES ('frozen', 'x', NOW())")

        def change(db: Session) -> None:
            db.merge(VmLock(name="frozen", holder="another", acquired_at=utcnow()))

        # Else MariaDB would refuse it in the end: it waits for the other no longer than for a lock.
        write(engine, change)
        with pytest.raises(DBAPIError):
            frozen.exec_driver_sql("UPDATE vm_locks SET holder = 'x' WHERE name = 'frozen'")
        frozen.invalidate()
    (row,) = sql(shared_lab, "SELECT holder FROM vm_locks WHERE name = 'frozen'")
    assert row["holder"] == "another"
    sql(shared_lab, "DELETE FROM vm_locks WHERE name = 'frozen'")
    engine.dispose()


def test_who_holds_a_machine_for_a_moment_only_is_waited_for(shared_lab: Lab) -> None:
    engine = lab_engine(shared_lab)
    released = threading.Event()
    with ExitStack() as moment:
        moment.enter_context(vm_lock(engine, "some machine", "making room on the OMA", LockKind.MOMENT))

        def release() -> None:
            released.set()
            moment.close()

        timer = threading.Timer(1.5, release)
        timer.start()
        with vm_lock(engine, "some machine", "second"):
            assert released.is_set()
        timer.join()
    engine.dispose()
