"""What the integration tests share: running the command line, reading its errors, and looking behind it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import DictCursor
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.codes import ErrorCode
from tests.lab.lab import COMMAND, Lab, environment
from tests.lab.parts import mariadb, vcenter

MIB = 1 << 20
GIB = 1 << 30
GRANULE = 64 << 10
"""What the lab's change tracking counts in."""
MARK = "LAB_OF_THIS_TEST"
"""Environment variable that every process started by a test inherits: that is how orphans are found."""
REASON = "     - "
CODE = re.compile(r" \[([a-z-]+)\]$")
"""An error's code, at the end of its first line."""
PROGRESS = re.compile(r"\d\d:\d\d:\d\d ")
Done = subprocess.CompletedProcess[str]


def setting(lab: Lab, **extra: str) -> dict[str, str]:
    """Return the environment of a command: nobody's configuration, this lab's mark, and `extra`."""
    return {**environment(), MARK: str(lab.run), **extra}


def run(lab: Lab, *arguments: str, **extra: str) -> Done:
    """Run the command line without a terminal; `extra` is added to its environment."""
    return lab.migratekit(*arguments, env=setting(lab, **extra))


def report(lab: Lab, *arguments: str, **extra: str) -> dict[str, Any]:
    """Run a command that has to work, and return its JSON."""
    done = run(lab, *arguments, "--output", "json", **extra)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(lab: Lab, done: Done, exit_code: int, code: ErrorCode) -> str:
    """Check a command's exit code, its three lines and its error's code, and return the lines; several reasons have a
    line each in between."""
    assert done.returncode == exit_code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    begin = max((number for number, line in enumerate(lines) if line.startswith("error: ")), default=0)
    told = [line for line in lines[begin:] if not line.startswith(REASON)]
    assert [line[:7] for line in told] == ["error: ", "  why: ", "   do: "], done.stderr
    assert all(len(line) > 8 for line in lines[begin:]), done.stderr
    # What stands before them is progress: where stderr is no terminal, lines with a time.
    assert all(PROGRESS.match(line) for line in lines[:begin]), done.stderr
    assert leaked(lab, done.stdout + done.stderr) == []
    named = CODE.search(lines[begin])
    assert named is not None, lines[begin]
    assert named[1] == code, done.stderr
    return "\n".join(lines[begin:])


def leaked(lab: Lab, text: str) -> list[str]:
    """Return the names of the lab's secrets that a text holds."""
    return [name for name, secret in lab.secrets.items() if secret in text]


@contextmanager
def started(lab: Lab, *arguments: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command and go on; it is killed at the end of the block if it still runs."""
    with lab.sides.vma():
        process = subprocess.Popen(
            [str(COMMAND), "--config", str(lab.config), *arguments],
            env=setting(lab, **extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def finished(process: subprocess.Popen[str], seconds: float = 150) -> Done:
    """Wait for a command that was started, and return what it said."""
    out, err = process.communicate(timeout=seconds)
    return Done(process.args, process.returncode, out, err)


def eventually(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a check returns something true, and return that."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not (found := check()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not so: {what}"
        time.sleep(pause)
        # What takes seconds is looked for less and less often: others need the processor.
        pause = min(pause * 1.2, 0.2)
    return found


def sql(lab: Lab, statement: str, *values: object, database: str = "migratekit_oma") -> list[dict[str, Any]]:
    """Run a statement in the lab's MariaDB."""
    with lab.sides.oma():
        connection = pymysql.connect(
            host="127.0.0.1",
            port=lab.ports["db"],
            user=mariadb.USER,
            password=lab.secrets["database"],
            database=database,
            cursorclass=DictCursor,
            connect_timeout=10,
            read_timeout=60,
            autocommit=True,
            # By default each connection reads all public certificate authorities first.
            ssl_disabled=True,
        )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def dump(lab: Lab) -> str:
    """Return every row of both databases as text."""
    rows = []
    for database in mariadb.DATABASES:
        for table in sql(lab, "SHOW TABLES", database=database):
            (name,) = table.values()
            rows += [f"{database}.{name} {row}" for row in sql(lab, f"SELECT * FROM {name}", database=database)]
    return "\n".join(rows)


def replica(lab: Lab, vm: str) -> list[dict[str, Any]]:
    """Return the vm_disks rows of a machine's newest replication, in the order of its disks."""
    newest = "SELECT id FROM replication_jobs WHERE source_vm_name = %s ORDER BY created_at DESC LIMIT 1"
    return sql(lab, f"SELECT * FROM vm_disks WHERE job_id = ({newest}) ORDER BY id", vm)


def volume_ids(lab: Lab, vm: str) -> list[str]:
    """Return the volumes of a machine's replica, in the order of its disks."""
    return [row["ossea_volume_id"] for row in replica(lab, vm)]


def identical(lab: Lab, vm: str) -> None:
    """Check that each volume of a replica is the guest's disk byte for byte, and zeros behind its end."""
    ids = volume_ids(lab, vm)
    assert len(ids) == len(lab.vcenter.vm(vm)["disks"])
    for number, volume_id in enumerate(ids):
        same_bytes(Path(lab.cloud.volume(volume_id)["file"]), lab.vcenter.read(vm, number))


def same_bytes(volume: Path, disk: bytes) -> None:
    """Check that a volume begins with a disk's bytes and has zeros behind them."""
    with volume.open("rb") as file:
        found = file.read(len(disk))
        # Not `==` in the assert itself: pytest would explain the difference of megabytes.
        if found != disk:
            first = next(at for at, (one, other) in enumerate(zip(found, disk, strict=True)) if one != other)
            raise AssertionError(f"{volume} differs from the disk from byte {first} on")
        size = file.seek(0, os.SEEK_END)
        assert size % GIB == 0
        assert size >= len(disk)
        for start, end in data(file.fileno(), len(disk), size):
            file.seek(start)
            assert not any(file.read(end - start)), f"{volume} holds something behind the disk's end, near {start}"


def data(descriptor: int, position: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a sparse file that are no holes."""
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            return
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position


def nothing_left(lab: Lab, *vms: str) -> None:
    """Check that what a command may leave behind is what it should: volumes that a replica or a machine owns.

    What a test that failed left before is that test's fault alone.
    """
    found = [each for each in leftovers(lab, *vms) if each not in _DEBRIS.get(lab.run, set())]
    assert found == []


def settle(lab: Lab) -> None:
    """After a test that failed: end the processes that its commands started, and note what else they left."""
    for pid in children(lab):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    names = [vm["name"] for vm in json.loads((lab.run / "inventory.json").read_text())["vms"]]
    there = [name for name in names if names.count(name) == 1 and lab.vcenter.has(name)]
    _DEBRIS[lab.run] = set(leftovers(lab, *there))


_DEBRIS: dict[Path, set[str]] = {}
"""What failed tests left, by the folder of the lab."""


def leftovers(lab: Lab, *vms: str) -> list[str]:
    """Return what is there that no command that has ended may leave behind, and on some machines of the source."""
    found = []
    for vm in vms:
        source = lab.vcenter.vm(vm)
        found += [f"{vm} has a snapshot: {snapshot}" for snapshot in source["snapshots"]]
        found += [f"{vm} disk {n} has layers" for n, disk in enumerate(source["disks"]) if len(disk["layers"]) != 1]
    state = lab.cloud.state()
    found += [f"cloud snapshot {snapshot['id']}" for snapshot in state["snapshots"]]
    found += [f"file of an export: {path.name}" for path in (lab.run / "daemon" / "exports").iterdir()]
    for database, statement in LEFT_ROWS:
        found += [f"{statement}: {row}" for row in sql(lab, statement, database=database)]
    owned = {row["ossea_volume_id"] for row in sql(lab, "SELECT ossea_volume_id FROM vm_disks")}
    machines = {vm["id"] for vm in state["virtualmachines"] if vm["name"] != "oma01"}
    for volume in state["volumes"]:
        root_of_oma = volume["name"] == "ROOT-1"
        if not (root_of_oma or volume["id"] in owned or volume["virtualmachineid"] in machines):
            found.append(f"volume {volume['id']} ({volume['name']}) is nobody's")
    for vm in vms:
        ours = [volume["id"] for volume in state["volumes"] if {"migratekit-vm": vm}.items() <= tags(state, volume)]
        for volume_id in set(ours).symmetric_difference(volume_ids(lab, vm)):
            found.append(f"volume {volume_id} is in {vm}'s replica or has its tag, not both")
    return found


LEFT_ROWS = [
    ("migratekit_volumes", "SELECT export_name FROM nbd_exports"),
    ("migratekit_oma", "SELECT kind, owner, id FROM joblog_jobs WHERE status = 'running'"),
    ("migratekit_oma", "SELECT name, job_id FROM joblog_steps WHERE status = 'running'"),
    ("migratekit_oma", "SELECT id FROM replication_jobs WHERE status = 'running'"),
    ("migratekit_volumes", "SELECT id, type FROM volume_operations WHERE status IN ('pending', 'running')"),
]
"""Rows of what is under way, by database."""


def tags(state: dict[str, Any], resource: dict[str, Any]) -> Any:
    """Return the tags of a cloud resource as items."""
    return {tag["key"]: tag["value"] for tag in state["tags"] if tag["resourceid"] == resource["id"]}.items()


def children(lab: Lab, *names: str) -> list[int]:
    """Return the engines ("engine") and source readers ("nbdkit") that commands of this lab started."""
    wanted = {"engine": "migratekit_core.engine", "nbdkit": "nbdkit"}
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            mine = f"{MARK}={lab.run}".encode() in (process / "environ").read_bytes().split(b"\0")
            called = {*command, Path(command[0]).name}
            if mine and any(wanted[name] in called for name in names or wanted):
                found.append(int(process.name))
    return found


def no_children(lab: Lab) -> None:
    """Check that every engine and reader ends, now that no command runs any more."""
    eventually("no engine and no reader is left", lambda: not children(lab), 30)


@contextmanager
def vsphere(lab: Lab, name: str) -> Iterator[Any]:
    """Log in as somebody else would, and yield pyVmomi's object of a machine."""
    service = SmartConnect(
        host="127.0.0.1",
        port=lab.vcenter.port,
        user=vcenter.USER,
        pwd=lab.secrets["vcenter"],
        sslContext=ssl.create_default_context(cafile=str(lab.vcenter.ca)),
    )
    try:
        yield vim.VirtualMachine(lab.vcenter.vm(name)["id"], service._stub)
    finally:
        Disconnect(service)


def foreign_snapshot(lab: Lab, vm: str) -> None:
    """Take a snapshot as a backup tool would."""
    with vsphere(lab, vm) as machine:
        WaitForTask(machine.CreateSnapshot_Task(name="backup", description="", memory=False, quiesce=False))
