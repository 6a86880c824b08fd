"""migratekit tunnel server"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "The OMA's end.",
    "render",
    "install",
    "check",
    "watch",
    "authorize",
    "facts",
)
