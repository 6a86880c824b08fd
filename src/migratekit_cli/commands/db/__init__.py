"""migratekit db"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Check and upgrade the databases.",
    "check",
    "upgrade",
)
