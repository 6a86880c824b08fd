"""A MariaDB server of the lab's own: its own data, its own port, no touch of the system's."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

from migratekit_core.common.files import write_private
from tests.lab.parts.cache import made_once
from tests.lab.parts.process import LabError, Part, launch, wait_until

DATABASES = ("migratekit_oma", "migratekit_volumes")
USER = "migratekit"
SMALL = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--max-connections=300",
    # What was committed outlives the process, which tests kill, but not the machine, which they do not.
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
)


def template(cache: Path) -> Path:
    """Return a freshly installed data directory to copy; made once, for it takes seconds."""
    return made_once(cache / "mariadb-template", _install)


def _install(folder: Path) -> None:
    made = subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder}",
            f"--user={getpass.getuser()}",
            "--skip-test-db",
            *SMALL[:2],
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if made.returncode != 0:
        raise LabError(f"mariadb-install-db failed: {made.stdout[-500:]} {made.stderr[-500:]}")


def start(run: Path, cache: Path, port: int, password: str, socket: Path, fresh: bool = True) -> Part:
    """Start a server on loopback; with `fresh` its databases are empty, without it they are the last ones."""
    data = run / "mariadb"
    if fresh:
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(template(cache), data)
    temporary = run / "mariadb-tmp"  # not among those of other labs, and gone with this one
    temporary.mkdir(exist_ok=True)
    init = run / "mariadb-init.sql"
    statements = [f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4;" for name in DATABASES]
    statements.append(f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{password}';")
    statements += [f"GRANT ALL ON {name}.* TO '{USER}'@'%';" for name in DATABASES]
    write_private(init, "\n".join(statements) + "\n")
    command = [
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--tmpdir={temporary}",
        f"--user={getpass.getuser()}",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        f"--socket={socket}",
        f"--pid-file={run / 'mariadb.pid'}",
        f"--init-file={init}",
        *SMALL,
    ]
    part = launch("mariadb", command, run)
    # The socket's file is there before the init file has run; the server takes connections after it.
    wait_until(lambda: "ready for connections" in part.log.read_text(errors="replace").rpartition("Version")[0], part)
    return part
