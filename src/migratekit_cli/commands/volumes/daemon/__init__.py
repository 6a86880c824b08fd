"""migratekit volumes daemon"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "The volume daemon itself, on the OMA.",
    "run",
    "exporter",
    "unit",
    "filters",
    "token",
)
