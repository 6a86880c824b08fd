"""migratekit tunnel"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "The tunnel to the OMA: one port, both sides proven to each other.",
    "up",
    "down",
    "status",
    "test",
    "pki",
    "server",
)
