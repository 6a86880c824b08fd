"""The command loads what it needs and no more. Times are for `make bench`; what is loaded does not depend on load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migratekit_core.db.engine import Databases
from migratekit_core.joblog import Tracker

HEAVY = {"sqlalchemy", "sqlmodel", "alembic", "httpx", "fastapi", "uvicorn", "cryptography", "paramiko",
         "pyVmomi", "cs", "requests", "nbd", "blake3", "yaml", "tenacity",
         "distributed", "dask", "tornado", "jinja2"}  # fmt: skip
"""Not pydantic: a configuration is checked by it."""
LOADED = """
import json, sys
sys.argv = ["migratekit", *sys.argv[1:]]
from migratekit_cli.main import main
try:
    main()
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def loaded(*arguments: str, heavy: set[str] = HEAVY) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, None), done.stderr
    return set(modules) & heavy


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["replicate", "--help"], ["volumes", "--help"], ["wave", "run", "--help"],
     ["fleet", "worker", "--help"], ["report", "--help"], ["wave", "report", "--help"]],
)  # fmt: skip
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    # Typer itself loads pydantic for a command's options; the list of commands does without.
    assert loaded(*arguments, heavy=HEAVY | {"pydantic"} if len(arguments) == 1 else HEAVY) == set()


def test_listing_jobs_loads_no_models(databases: Databases, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(directory))
    with Tracker(databases.oma).job("replication", owner="web01"):
        pass
    # With them, and what they are made of, it takes more than three times what the least command of typer's does.
    assert loaded("jobs", "list", "-o", "json") == {"sqlalchemy"}
