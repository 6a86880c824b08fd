"""`python -m tests.schema [--check]`: writes sql/oma.sql and sql/volumes.sql from the migrations, or checks them."""

from __future__ import annotations

import sys
from pathlib import Path

from migratekit_core.db.migrate import render

SQL = Path(__file__).resolve().parents[1] / "sql"
HEAD = "-- Rendered from sql/{name}/versions by `python -m tests.schema`; do not edit.\n"


def main(arguments: list[str]) -> int:
    """Write the files, or return 1 where one is not what the migrations render."""
    stale = []
    for name in ("oma", "volumes"):
        path = SQL / f"{name}.sql"
        wanted = HEAD.format(name=name) + render(name)
        if path.exists() and path.read_text() == wanted:
            continue
        stale.append(path.name)
        if "--check" not in arguments:
            path.write_text(wanted)
    if stale and "--check" in arguments:
        print(f"not what the migrations render: {', '.join(stale)}; run: python -m tests.schema", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
