"""migratekit tunnel pki"""

from __future__ import annotations

from migratekit_cli.group import group

app = group(
    __name__,
    "Certificates of the tunnel.",
    "init",
    "issue",
    "rotate",
    "revoke",
    "show",
)
