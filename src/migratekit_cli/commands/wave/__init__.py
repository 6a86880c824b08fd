"""migratekit wave"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Plan waves: machines that are moved together; run and steer them.",
    "plan",
    "run",
    "cutover",
    "list",
    "show",
    "status",
    "pause",
    "resume",
    "cancel",
    "retry",
    "report",
)
