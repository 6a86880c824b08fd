"""migratekit volumes daemon token"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "The daemon's bearer token.",
    "rotate",
)
