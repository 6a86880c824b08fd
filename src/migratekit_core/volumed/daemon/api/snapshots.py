"""/api/v1/snapshots: a volume of a snapshot, and deleting one."""

from __future__ import annotations

from fastapi import APIRouter

from migratekit_core.volumed.daemon.api import bodies
from migratekit_core.volumed.daemon.api.bodies import FromWhere, IdempotencyKey, SnapshotId
from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.submit import submit
from migratekit_core.volumed.daemon.api.views import OperationView
from migratekit_core.volumed.daemon.api.volumes import CHANGE


def routes(services: Services) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/snapshots", tags=["snapshots"])

    @router.post("/{snapshot_id}/volume", summary="Create a volume with a snapshot's content", **CHANGE)
    async def clone_snapshot(
        snapshot_id: SnapshotId, body: bodies.CloneSnapshot, origin: FromWhere, key: IdempotencyKey = None
    ) -> OperationView:
        request = {**body.model_dump(), "snapshot_id": snapshot_id}
        return await submit(services, "clone", request, None, key, origin)

    @router.delete("/{snapshot_id}", summary="Delete a snapshot", **CHANGE)
    async def delete_snapshot(snapshot_id: SnapshotId, origin: FromWhere, key: IdempotencyKey = None) -> OperationView:
        request = {"snapshot_id": snapshot_id}
        return await submit(services, "delete-snapshot", request, None, key, origin)

    return router
