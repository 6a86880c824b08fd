"""Asks the scheduler of the fleet how it is."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed import rpc

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.config.fleet import Fleet
from migratekit_core.services.fleet import tls

ANSWER_SECONDS = 15.0


def ask(fleet: Fleet) -> dict[str, Any]:
    """Return workers and leases. Raises UnreachableError, AuthError and PreconditionError, saying why not."""
    security = tls.security(fleet, tls.CLIENT)
    tls.check(fleet)
    return asyncio.run(_ask(fleet, security))


async def _ask(fleet: Fleet, security: tls.FleetSecurity) -> dict[str, Any]:
    arguments = security.get_connection_args("client")
    try:
        async with rpc(f"tls://{fleet.scheduler}", connection_args=arguments) as scheduler:
            found: dict[str, Any] = await asyncio.wait_for(scheduler.migratekit_status(), ANSWER_SECONDS)
            return found
    except (OSError, TimeoutError, AttributeError) as error:
        raise UnreachableError(
            "the fleet's scheduler does not answer", f"{fleet.scheduler}: {type(error).__name__}: {error}",
            "look at its log: journalctl -u migratekit-fleet-scheduler",
            code=ErrorCode.SCHEDULER_UNREACHABLE) from None  # fmt: skip
