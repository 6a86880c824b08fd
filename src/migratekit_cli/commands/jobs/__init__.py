"""migratekit jobs"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Look at what was done and what runs, step by step; stop it.",
    "list",
    "show",
    "set",
    "watch",
    "tail",
    "cancel",
    "export",
    "prune",
)
