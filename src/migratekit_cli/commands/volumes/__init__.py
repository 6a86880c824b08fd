"""migratekit volumes"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Look at OSSEA volumes, change them by hand, and see what was done.",
    "list",
    "show",
    "drift",
    "attach",
    "detach",
    "export",
    "unexport",
    "delete",
    "operations",
    "daemon",
)
