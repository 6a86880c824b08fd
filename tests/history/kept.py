"""A history's lab that is kept while it is measured by several processes, and its MariaDB's buffer pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pymysql

from tests.lab.lab import Lab, Together

FILE = "history.json"
"""In the lab's folder: where its parts are, and how many syncs have been made up in it."""


def note(lab: Lab, written: int = 0) -> None:
    """Write down where a lab is, and how many syncs have been made up in it."""
    found = {
        "sockets": str(lab.sockets),
        "ports": lab.ports,
        "config": str(lab.config),
        "daemon_config": str(lab.daemon_config),
        "secrets": lab.secrets,
        "written": written,
    }
    (lab.run / FILE).touch(mode=0o600)
    (lab.run / FILE).write_text(json.dumps(found))


def read(run: Path) -> Lab:
    """Return a lab that another process keeps running: enough of it to run commands and statements."""
    found = json.loads((run / FILE).read_text())
    absent = cast(Any, None)
    paths = [Path(found[name]) for name in ("config", "daemon_config")]
    return Lab(run, Path(found["sockets"]), found["ports"], *paths, absent, absent, found["secrets"], Together())


def written(lab: Lab) -> int:
    """Return how many syncs have been made up in a lab."""
    return int(json.loads((lab.run / FILE).read_text())["written"])


def buffer_pool(lab: Lab, mib: int) -> None:
    """Have MariaDB's buffer pool be so large; it changes within seconds."""
    _as_root(lab, f"SET GLOBAL innodb_buffer_pool_size = {mib << 20}")


def most_connections(lab: Lab) -> int:
    """Return how many connections MariaDB had at most since this was last asked, this one among them."""
    [(_, found)] = _as_root(lab, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'")
    _as_root(lab, "FLUSH STATUS")
    return int(found)


def _as_root(lab: Lab, statement: str) -> list[tuple[str, str]]:
    with (
        pymysql.connect(unix_socket=str(lab.sockets / "mariadb.sock"), user="root") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return list(cursor.fetchall())
