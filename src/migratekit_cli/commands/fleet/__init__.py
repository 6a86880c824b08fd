"""migratekit fleet"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "The hosts that waves run on: a scheduler, and workers on as many as are needed.",
    "scheduler",
    "worker",
    "status",
)
