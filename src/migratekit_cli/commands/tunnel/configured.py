"""The configuration of a host that has a tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from migratekit_cli.session import configuration
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError

if TYPE_CHECKING:
    from migratekit_core.config.schema import Config


def configured(context: typer.Context) -> Config:
    """Return the configuration. Raises UsageError where it has no tunnel."""
    config = configuration(context)
    if not config.tunnel.leads_away:
        raise UsageError(
            "no tunnel is configured",
            'tunnel.kind is "none"',
            "write a [tunnel] table",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "tunnel"},
        )
    return config
