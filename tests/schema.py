"""`python -m tests.schema [--check]`: writes sql/*.sql from the migrations, and docs/schemas/*.json from the code; or
checks them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from migratekit_core.db.migrate import render
from migratekit_core.services.waves import model, rules

ROOT = Path(__file__).resolve().parents[1]
SQL, SCHEMAS = ROOT / "sql", ROOT / "docs" / "schemas"
HEAD = "-- Rendered from sql/{name}/versions by `python -m tests.schema`; do not edit.\n"


def files() -> dict[Path, str]:
    """Return what each file has to hold."""
    found = {SQL / f"{name}.sql": HEAD.format(name=name) + render(name) for name in ("oma", "volumes")}
    for name, schema in (("wave", model.json_schema()), ("wave-rules", rules.json_schema())):
        found[SCHEMAS / f"{name}.json"] = json.dumps(schema, indent=2) + "\n"
    return found


def main(arguments: list[str]) -> int:
    """Write the files, or return 1 where one is not what is made of migrations and code."""
    stale = []
    for path, wanted in files().items():
        if path.exists() and path.read_text() == wanted:
            continue
        stale.append(path.name)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted)
    if stale and "--check" in arguments:
        print(
            f"not what is made of migrations and code: {', '.join(stale)}; run: python -m tests.schema", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
