"""How a route hands a change over."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.views import OperationView, operation_view
from migratekit_core.volumed.daemon.operations import Origin

AT_ONCE = 8
"""Changes that are written down at the same time. They wait for each other, and shall not take the threads of those
who only read: two hundred clients did."""
_changes = CapacityLimiter(AT_ONCE)


async def submit(
    services: Services, kind: str, request: dict[str, Any], volume_id: str | None, key: str | None, origin: Origin
) -> OperationView:
    """Submit an operation and return it; see `Operations.submit`."""
    call = partial(services.operations.submit, kind, request, volume_id, key, origin)
    return operation_view(await run_sync(call, limiter=_changes))
