"""Which migrations there are, without loading Alembic: for those who only ask whether a database is up to date."""

from __future__ import annotations

import re
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError

_REVISION = re.compile(r"^(revision|down_revision) *(?::[^=]*)?= *(.+)$", re.MULTILINE)
_NAME = re.compile(r"[\"']([^\"']+)[\"']")


def scripts() -> Path:
    """Return the folder of the migrations: inside the installed package, or the checkout's sql/."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "sql", package.parents[1] / "sql"):
        if (folder / "oma").is_dir():
            return folder
    raise OperationFailedError(
        "the migrations are missing",
        f"no sql folder beside {package}",
        "reinstall migratekit",
        code=ErrorCode.NOT_INSTALLED,
    )


def heads(name: str) -> frozenset[str]:
    """Return the revisions of database `name` that no other one follows: what alembic_version holds when it is new."""
    made: set[str] = set()
    followed: set[str] = set()
    for path in (scripts() / name / "versions").glob("*.py"):
        for kind, value in _REVISION.findall(path.read_text(encoding="utf-8")):
            (made if kind == "revision" else followed).update(_NAME.findall(value))
    return frozenset(made - followed)
