"""The checks, one module for each topic; imported in the order of the report, which is that of mending."""

from migratekit_core.services.doctor.checks import (  # noqa: I001
    settings,
    host,
    disk,
    dns,
    certificates,
    tunnel,
    clock,
    database,
    daemon,
    filters,
    vcenter,
    owed,
    cloudstack,
    profiles,
    remote,
)

__all__ = [
    "certificates",
    "clock",
    "cloudstack",
    "daemon",
    "database",
    "disk",
    "dns",
    "filters",
    "host",
    "owed",
    "profiles",
    "remote",
    "settings",
    "tunnel",
    "vcenter",
]
