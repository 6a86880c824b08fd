"""/api/v1/operations: what was and is done, and waiting for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.volumed.daemon.api.bodies import OperationId
from migratekit_core.volumed.daemon.api.problems import Problem, responses
from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.views import OperationList, OperationView, operation_view
from migratekit_core.volumed.daemon.operations import OPEN, Operations

LONGEST_WAIT = 30.0
"""Seconds that a request may wait for an operation; the client asks again."""


def routes(services: Services) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/operations", tags=["operations"])

    @router.get("", summary="Operations, the newest first", responses=responses(401, 422, 500, 503))
    def list_operations(
        limit: Annotated[int, Query(ge=1, le=500, description="How many.")] = 50,
    ) -> OperationList:
        return OperationList(operations=[operation_view(operation) for operation in services.operations.list(limit)])

    @router.get("/{operation_id}", summary="An operation", responses=responses(401, 404, 422, 500, 503))
    async def show_operation(
        operation_id: OperationId,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for its end; then as it is.")
        ] = 0,
    ) -> OperationView:
        operation = await _ended(services.operations, operation_id, wait)
        if operation is None:
            raise Problem(
                404,
                PreconditionError(
                    f"no operation {operation_id}",
                    "it was never submitted",
                    "check the id",
                    code=ErrorCode.GONE,
                    facts={"operation_id": operation_id},
                ),
            )
        return operation_view(operation)

    return router


async def _ended(operations: Operations, operation_id: str, seconds: float) -> VolumeOperation | None:
    """Return an operation when it has ended, or after `seconds`. Who waits holds no thread: there are not so many."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def call() -> None:
        with suppress(RuntimeError):  # the loop is closed already: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    with operations.watched(operation_id, call):
        operation = await run_sync(operations.get, operation_id)
        if operation is None or operation.status not in OPEN or not seconds:
            return operation
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended.wait()
        return await run_sync(operations.get, operation_id)
