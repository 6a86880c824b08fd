"""migratekit config"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Make, show and check the configuration.",
    "init",
    "show",
    "validate",
)
