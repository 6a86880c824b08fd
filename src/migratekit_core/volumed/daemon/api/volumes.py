"""/api/v1/volumes: what there is, and every change to one volume."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.volumed.daemon.api import bodies
from migratekit_core.volumed.daemon.api.bodies import FromWhere, IdempotencyKey, Size, VolumeId
from migratekit_core.volumed.daemon.api.problems import Problem, responses
from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.submit import submit
from migratekit_core.volumed.daemon.api.views import (
    OperationView,
    OurSnapshotView,
    SnapshotView,
    VolumeDetail,
    VolumeList,
    VolumeView,
    oma_view,
    reconcile_view,
    volume_fields,
)
from migratekit_core.volumed.daemon.storage import Volume, is_gone

READ_ERRORS = responses(401, 404, 422, 500, 502, 503)
CHANGE: dict[str, Any] = {"status_code": 202, "responses": responses(400, 401, 408, 409, 413, 422, 500, 503)}


def routes(services: Services) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/volumes", tags=["volumes"])

    @router.get("", summary="The volumes that MigrateKit made", responses=responses(401, 422, 500, 502, 503))
    def list_volumes(
        vm_id: Annotated[
            str | None,
            Query(
                min_length=1,
                max_length=bodies.LONGEST_ID,
                pattern=bodies.ID_PATTERN,
                description="Instead: the root volume of this machine.",
            ),
        ] = None,
        snapshots: Annotated[bool, Query(description="Tell all snapshots that MigrateKit took, too.")] = False,
        oma: Annotated[
            bool, Query(description="Instead: the machine that the daemon runs on, as CloudStack has it.")
        ] = False,
        sizes: Annotated[
            list[Size] | None,
            Query(max_length=bodies.MOST_SIZES, description="With `oma`: bytes of volumes that are to be made."),
        ] = None,
    ) -> VolumeList:
        report = services.reconciler.report
        if oma:
            view = oma_view(services.storage, sizes or [])
            return VolumeList(volumes=[], snapshots=[], reconcile=reconcile_view(report), oma=view)
        found = _root_of(services, vm_id) if vm_id is not None else services.storage.ours()
        views = [VolumeView(**fields) for fields in volume_fields(found, services.volumes, report)]
        taken = services.storage.our_snapshots() if snapshots else []
        ours = [OurSnapshotView(id=one.id, name=one.name, volume_id=one.volume_id, tags=one.tags) for one in taken]
        return VolumeList(volumes=views, snapshots=ours, reconcile=reconcile_view(report))

    @router.get("/{volume_id}", summary="A volume with its snapshots", responses=READ_ERRORS)
    def show_volume(volume_id: VolumeId) -> VolumeDetail:
        volume = services.storage.get(volume_id)
        if volume is None:
            raise Problem(
                404,
                PreconditionError(
                    f"no volume {volume_id}",
                    "CloudStack does not know it",
                    "check the id",
                    code=ErrorCode.GONE,
                    facts={"volume_id": volume_id},
                ),
            )
        snapshots = [SnapshotView(id=taken.id, name=taken.name) for taken in services.storage.snapshots_of(volume_id)]
        (fields,) = volume_fields([volume], services.volumes, services.reconciler.report)
        return VolumeDetail(**fields, snapshots=snapshots)

    @router.post("", summary="Create a volume", **CHANGE)
    async def create_volume(body: bodies.CreateVolume, origin: FromWhere, key: IdempotencyKey = None) -> OperationView:
        return await submit(services, "create", body.model_dump(), None, key, origin)

    @router.delete("/{volume_id}", summary="Delete a volume; refused while it is attached", **CHANGE)
    async def delete_volume(volume_id: VolumeId, origin: FromWhere, key: IdempotencyKey = None) -> OperationView:
        return await submit(services, "delete", {}, volume_id, key, origin)

    @router.post("/{volume_id}/attach", summary="Attach a volume and find its device", **CHANGE)
    async def attach_volume(
        volume_id: VolumeId, body: bodies.AttachVolume, origin: FromWhere, key: IdempotencyKey = None
    ) -> OperationView:
        return await submit(services, "attach", body.model_dump(), volume_id, key, origin)

    @router.post("/{volume_id}/detach", summary="Detach a volume; refused while it is exported", **CHANGE)
    async def detach_volume(volume_id: VolumeId, origin: FromWhere, key: IdempotencyKey = None) -> OperationView:
        return await submit(services, "detach", {}, volume_id, key, origin)

    @router.post("/{volume_id}/export", summary="Export an attached volume over NBD", **CHANGE)
    async def export_volume(
        volume_id: VolumeId, body: bodies.ExportVolume, origin: FromWhere, key: IdempotencyKey = None
    ) -> OperationView:
        return await submit(services, "export", body.model_dump(), volume_id, key, origin)

    @router.post("/{volume_id}/unexport", summary="Take an export back; refused while somebody is connected", **CHANGE)
    async def unexport_volume(volume_id: VolumeId, origin: FromWhere, key: IdempotencyKey = None) -> OperationView:
        return await submit(services, "unexport", {}, volume_id, key, origin)

    @router.post("/{volume_id}/snapshot", summary="Take a snapshot, after a flush", **CHANGE)
    async def snapshot_volume(
        volume_id: VolumeId, body: bodies.NameSnapshot, origin: FromWhere, key: IdempotencyKey = None
    ) -> OperationView:
        return await submit(services, "snapshot", body.model_dump(), volume_id, key, origin)

    @router.post("/{volume_id}/checksum", summary="Hash a volume where it is (BLAKE3)", **CHANGE)
    async def checksum_volume(
        volume_id: VolumeId, body: bodies.Checksum, origin: FromWhere, key: IdempotencyKey = None
    ) -> OperationView:
        return await submit(services, "checksum", body.model_dump(), volume_id, key, origin)

    return router


def _root_of(services: Services, vm_id: str) -> list[Volume]:
    try:
        root = services.storage.root_of(vm_id)
    except MigrateKitError as error:
        # CloudStack refuses an id that it does not know; a machine that does not exist has no volumes.
        if not is_gone(error):
            raise
        return []
    return [root] if root else []
