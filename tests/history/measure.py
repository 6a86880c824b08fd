"""What the commands cost that look into the past: rows that MariaDB examined, seconds, memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.db.models.base import utcnow
from migratekit_core.volumed.daemon.operations import touched
from tests.history.generate import MACHINES
from tests.integration.support import setting, sql
from tests.lab.lab import COMMAND, Lab

MACHINE = "web01"
COMMANDS: dict[str, tuple[str, ...]] = {
    "jobs list --vm": ("jobs", "list", "--vm", MACHINE),
    "jobs list --vm nosuch": ("jobs", "list", "--vm", "nosuch"),
    "jobs list --since 1d": ("jobs", "list", "--since", "1d"),
    "jobs list --status failed": ("jobs", "list", "--status", "failed"),
    "jobs tail": ("jobs", "tail"),
    "jobs tail --vm": ("jobs", "tail", "--vm", MACHINE),
    "report": ("report", MACHINE),
    "failover --dry-run": ("failover", MACHINE, "--dry-run"),
    "replicate --all-due --dry-run": ("replicate", "--all-due", "--dry-run"),
    "cleanup --dry-run": ("cleanup", MACHINE, "--dry-run"),
    "assess --all --history": ("assess", "--all", "--history"),
    "volumes list": ("volumes", "list"),
}
"""Each as it is typed."""
EXITS = (0, 3, 4)
"""3: assess found blockers; 4: a plan with something in its way."""


@dataclass(frozen=True)
class Cost:
    """What a command cost."""

    rows: int
    """Read by MariaDB's storage engines, by its handler counters."""
    seconds: float
    kib: int
    """Most memory that the command had."""


def databases(lab: Lab) -> Databases:
    """Open the lab's databases."""
    secret = SecretSource(file=lab.run / "database.secret")
    return open_databases(Database(kind="mariadb", host="127.0.0.1", port=lab.ports["db"], password=secret))


def schedule(lab: Lab) -> None:
    """Give all machines of the history an RPO: of a year, so that none is due but by its replica's state."""
    names = [MACHINE, *(f"{MACHINE}-{number}" for number in range(1, MACHINES))]
    with lab.config.open("a") as file:
        file.write("\n[schedule.rpo]\n" + "".join(f'"{name}" = "365d"\n' for name in names))


def costs(lab: Lab, *, memory: bool = False) -> Iterator[tuple[str, Cost]]:
    """Yield what each command costs now; its memory only where that is asked for."""
    for name, command in COMMANDS.items():
        before, began = handlers(lab), time.monotonic()
        kib = _measured(lab, command) if memory else _run(lab, command)
        yield name, Cost(handlers(lab) - before, time.monotonic() - began, kib)
    opened = databases(lab)
    before, began = handlers(lab), time.monotonic()
    touched(opened.volumes, utcnow() - timedelta(seconds=30))
    yield "the daemon's reconciler", Cost(handlers(lab) - before, time.monotonic() - began, 0)
    opened.dispose()


def _run(lab: Lab, command: Sequence[str]) -> int:
    done = lab.migratekit(*command)
    assert done.returncode in EXITS, done.stderr
    return 0


def _measured(lab: Lab, command: Sequence[str]) -> int:
    """Run a command in a process of its own; return its largest resident set, in KiB."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [str(COMMAND), "--config", str(lab.config), *command], env=setting(lab), stdout=told, stderr=told
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        assert process.returncode in EXITS, told.read()
    return usage.ru_maxrss


def handlers(lab: Lab) -> int:
    """Return how many rows MariaDB has read since it was started."""
    found = sql(lab, "SHOW GLOBAL STATUS LIKE 'Handler_read%%'")
    return sum(int(row["Value"]) for row in found if row["Variable_name"] != "Handler_read_rnd_deleted")
