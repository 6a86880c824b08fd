"""One run per machine, across processes; the lock ends with its process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlmodel import Session

from migratekit_core.common.errors import BusyError
from migratekit_core.db import locks
from migratekit_core.db.engine import Databases, session, write
from migratekit_core.db.locks import Lock, LockKind, vm_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import VmLock

HOLDER = """
import sys
from pathlib import Path
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases
from migratekit_core.db.locks import vm_lock

with vm_lock(open_databases(Database(directory=Path(sys.argv[1]))).oma, sys.argv[2], "replication"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path, vm: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), vm], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_second_process_is_refused_and_told_who_holds_it(databases: Databases, directory: Path) -> None:
    with holder(directory, "vm-1") as child:
        with pytest.raises(BusyError) as caught, vm_lock(databases.oma, "vm-1", "failover"):
            raise AssertionError("got a lock that another process holds")
        assert f"replication (pid {child.pid} on {os.uname().nodename})" in caught.value.why
        assert caught.value.exit_code == 8


def test_other_machines_are_free(databases: Databases, directory: Path) -> None:
    with holder(directory, "vm-1"), vm_lock(databases.oma, "vm-2", "failover"):
        pass


def test_kill_9_of_the_holder_frees_it_at_once(databases: Databases, directory: Path) -> None:
    with holder(directory, "vm-1") as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
        with vm_lock(databases.oma, "vm-1", "failover"):
            pass


def test_it_is_free_again_after_the_block_also_after_an_error(databases: Databases) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="x"), vm_lock(databases.oma, "vm-1", "failover"):
            raise ValueError("x")


def test_it_is_no_lock_for_whoever_holds_it_already(databases: Databases) -> None:
    with vm_lock(databases.oma, "vm-1", "failover"):
        with pytest.raises(BusyError), vm_lock(databases.oma, "vm-1", "replication"):
            raise AssertionError("held twice")
        with pytest.raises(BusyError) as caught, vm_lock(databases.oma, "vm-1", "replication"):
            raise AssertionError("the refused attempt freed it")
    # The refused one never became the holder that others are told of.
    assert "failover" in caught.value.why


def test_who_holds_it_for_a_moment_is_waited_for_whatever_the_purpose_is_called(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError("waited for a run")

    monkeypatch.setattr(locks.time, "sleep", refuse)
    with vm_lock(databases.oma, "vm-1", "making room on the OMA"):
        with pytest.raises(BusyError), vm_lock(databases.oma, "vm-1", "failover"):
            raise AssertionError("held twice")
    held = ExitStack()
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: held.close())
    held.enter_context(vm_lock(databases.oma, "vm-1", "anything", LockKind.MOMENT))
    with vm_lock(databases.oma, "vm-1", "failover"):
        pass


def test_what_is_committed_is_so_only_while_nobody_else_has_taken_the_lock(databases: Databases) -> None:
    """Another connection got the lock when this one's was cut: its row stands where ours did."""

    def commit(lock: Lock, machine: str) -> None:
        def change(db: Session) -> None:
            lock.confirm(db)
            db.add(VmLock(name=machine, holder="committed", acquired_at=utcnow()))

        write(databases.oma, change)

    with vm_lock(databases.oma, "vm-1", "replicate") as lock:
        commit(lock, "first")
        with session(databases.oma) as db:
            row = db.get(VmLock, locks.lock_name("vm-1"))
            assert row is not None
            row.token = "another run's"
        with pytest.raises(BusyError):
            commit(lock, "second")
    with session(databases.oma) as db:
        assert [db.get(VmLock, name) is not None for name in ("first", "second")] == [True, False]
