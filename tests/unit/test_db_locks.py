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

from migratekit_core.common.errors import BusyError
from migratekit_core.db import locks
from migratekit_core.db.engine import Databases
from migratekit_core.db.locks import LockKind, vm_lock

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
