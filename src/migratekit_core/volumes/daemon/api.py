"""The HTTP surface: small, on loopback, bearer token; every change answers 202 with its operation."""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.config.schema import Daemon
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import session
from migratekit_core.errors import AuthError, MigrateKitError, PreconditionError
from migratekit_core.models.oma import ReplicationJob
from migratekit_core.models.volumes import DeviceMapping, NbdExport, VolumeOperation
from migratekit_core.volumes.daemon.operations import ORIGIN, Operations, Origin, as_problem
from migratekit_core.volumes.daemon.storage import Storage, Volume

LONGEST_WAIT = 30.0
"""Seconds that a request may wait for an operation; the client asks again."""
STATUS = {1: 502, 2: 422, 4: 409, 5: 403, 6: 503, 7: 500, 8: 409}
"""HTTP status for each exit code of our errors."""

Id = Annotated[str, Field(min_length=1, max_length=36, pattern=r"^[A-Za-z0-9-]+$")]


class Body(BaseModel):
    """A request's body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class CreateVolume(Body):
    """A volume to be: `size` in bytes is rounded up to whole GiB, `tags` mark it as ours."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    size: Annotated[int, Field(gt=0, le=2**50)]
    tags: dict[str, str] = {}


class AttachVolume(Body):
    """Where to attach: the OMA, or another machine; `device_id` 0 is the root disk."""

    vm_id: Id | None = None
    device_id: Annotated[int, Field(ge=0, le=63)] | None = None


class ExportVolume(Body):
    """What the export's name is made of."""

    vm_name: Annotated[str, Field(min_length=1, max_length=255)]
    disk: Annotated[str, Field(min_length=1, max_length=64)]


class NameSnapshot(Body):
    """What the snapshot's name is made of."""

    name: Annotated[str, Field(min_length=1, max_length=255)]


class CloneSnapshot(Body):
    """A volume to be, with a snapshot's content."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    tags: dict[str, str] = {}


class Checksum(Body):
    """How much to hash, from the beginning, in bytes; everything if left out."""

    length: Annotated[int, Field(gt=0, le=2**50)] | None = None


class Problem(Exception):
    """An answer in application/problem+json."""

    def __init__(self, status: int, error: MigrateKitError) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error


def build(
    settings: Daemon, operations: Operations, storage: Storage, volumes: Engine, oma: Engine, version: str
) -> FastAPI:
    """Return the application."""
    token = SecretSource(file=settings.token_file)

    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        # Read each time: a token that was replaced holds from now on, without a restart.
        expected = f"Bearer {token.read('daemon.token_file')}"
        if not hmac.compare_digest(authorization.encode(), expected.encode()):
            raise Problem(
                401, AuthError("the volume daemon refused the token", "it is not the daemon's", "check volumes.token")
            )

    app = FastAPI(title="MigrateKit volume daemon", version=version, docs_url=None, redoc_url=None)
    guarded = [Depends(authorised)]

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> JSONResponse:
        return _answer(request, problem.status, problem.error)

    @app.exception_handler(MigrateKitError)
    async def _error(request: Request, error: MigrateKitError) -> JSONResponse:
        return _answer(request, STATUS.get(error.exit_code, 500), error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _answer(request, 422, PreconditionError("the request is malformed", places, "correct it"))

    @app.middleware("http")
    async def _identify(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.id = str(uuid.uuid4())
        response = await call(request)
        response.headers["X-Request-Id"] = request.state.id
        return response

    def submit(kind: str, request: Request, body: dict[str, Any], volume_id: str | None) -> dict[str, Any]:
        key = request.headers.get("Idempotency-Key")
        correlation = request.headers.get("X-Correlation-Id", request.state.id)[:36]
        parent = request.headers.get("X-Parent-Job-Id", "")[:36]
        origin = Origin(correlation, parent)
        return _operation(operations.submit(kind, body, volume_id, key[:128] if key else None, origin))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": version}

    @app.get("/api/v1/volumes", dependencies=guarded)
    def list_volumes(vm_id: Id | None = None) -> dict[str, Any]:
        if vm_id is not None:
            root = storage.root_of(vm_id)
            found = [root] if root else []
        else:
            found = storage.ours()
        return {"volumes": [_volume(volume, volumes) for volume in found]}

    @app.get("/api/v1/volumes/{volume_id}", dependencies=guarded)
    def show_volume(volume_id: Id) -> dict[str, Any]:
        volume = storage.get(volume_id)
        if volume is None:
            raise Problem(
                404, PreconditionError(f"no volume {volume_id}", "CloudStack does not know it", "check the id")
            )
        snapshots = [{"id": taken.id, "name": taken.name} for taken in storage.snapshots_of(volume_id)]
        return {**_volume(volume, volumes), "snapshots": snapshots}

    @app.post("/api/v1/volumes", status_code=202, dependencies=guarded)
    def create_volume(request: Request, body: CreateVolume) -> dict[str, Any]:
        return submit("create", request, body.model_dump(), None)

    @app.delete("/api/v1/volumes/{volume_id}", status_code=202, dependencies=guarded)
    def delete_volume(request: Request, volume_id: Id) -> dict[str, Any]:
        return submit("delete", request, {}, volume_id)

    @app.post("/api/v1/volumes/{volume_id}/attach", status_code=202, dependencies=guarded)
    def attach_volume(request: Request, volume_id: Id, body: AttachVolume) -> dict[str, Any]:
        return submit("attach", request, body.model_dump(), volume_id)

    @app.post("/api/v1/volumes/{volume_id}/detach", status_code=202, dependencies=guarded)
    def detach_volume(request: Request, volume_id: Id) -> dict[str, Any]:
        return submit("detach", request, {}, volume_id)

    @app.post("/api/v1/volumes/{volume_id}/export", status_code=202, dependencies=guarded)
    def export_volume(request: Request, volume_id: Id, body: ExportVolume) -> dict[str, Any]:
        return submit("export", request, body.model_dump(), volume_id)

    @app.post("/api/v1/volumes/{volume_id}/unexport", status_code=202, dependencies=guarded)
    def unexport_volume(request: Request, volume_id: Id) -> dict[str, Any]:
        return submit("unexport", request, {}, volume_id)

    @app.post("/api/v1/volumes/{volume_id}/snapshot", status_code=202, dependencies=guarded)
    def snapshot_volume(request: Request, volume_id: Id, body: NameSnapshot) -> dict[str, Any]:
        return submit("snapshot", request, body.model_dump(), volume_id)

    @app.post("/api/v1/volumes/{volume_id}/checksum", status_code=202, dependencies=guarded)
    def checksum_volume(request: Request, volume_id: Id, body: Checksum) -> dict[str, Any]:
        return submit("checksum", request, body.model_dump(), volume_id)

    @app.post("/api/v1/snapshots/{snapshot_id}/volume", status_code=202, dependencies=guarded)
    def clone_snapshot(request: Request, snapshot_id: Id, body: CloneSnapshot) -> dict[str, Any]:
        return submit("clone", request, {**body.model_dump(), "snapshot_id": snapshot_id}, None)

    @app.delete("/api/v1/snapshots/{snapshot_id}", status_code=202, dependencies=guarded)
    def delete_snapshot(request: Request, snapshot_id: Id) -> dict[str, Any]:
        return submit("delete-snapshot", request, {"snapshot_id": snapshot_id}, None)

    @app.get("/api/v1/operations", dependencies=guarded)
    def list_operations(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        return {"operations": [_operation(operation) for operation in operations.list(limit)]}

    @app.get("/api/v1/operations/{operation_id}", dependencies=guarded)
    def show_operation(operation_id: Id, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0) -> dict[str, Any]:
        operation = operations.wait(operation_id, wait)
        if operation is None:
            raise Problem(
                404, PreconditionError(f"no operation {operation_id}", "it was never submitted", "check the id")
            )
        return _operation(operation)

    @app.get("/api/v1/jobs/{job_id}/progress", dependencies=guarded)
    def progress(job_id: Id) -> dict[str, Any]:
        with session(oma) as db:
            job = db.get(ReplicationJob, job_id)
        if job is None:
            raise Problem(404, PreconditionError(f"no replication job {job_id}", "it is not recorded", "check the id"))
        fields = {
            "status",
            "progress_percent",
            "current_operation",
            "bytes_transferred",
            "total_bytes",
            "transfer_speed_bps",
        }
        return {"id": job.id, **job.model_dump(include=fields)}

    return app


def _answer(request: Request, status: int, error: MigrateKitError) -> JSONResponse:
    problem = as_problem(error)
    content = {
        "type": "about:blank",
        "title": problem["what"],
        "status": status,
        "detail": problem["why"],
        "instance": request.url.path,
        "request_id": getattr(request.state, "id", ""),
        **problem,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def _operation(operation: VolumeOperation) -> dict[str, Any]:
    fields = operation.model_dump(mode="json", exclude={"error"})
    fields |= fields["request"].pop(ORIGIN, {})
    fields["error"] = json.loads(operation.error) if operation.error else None
    return fields


def _volume(volume: Volume, engine: Engine) -> dict[str, Any]:
    """Return a volume as CloudStack sees it, beside what Linux and the exporter have of it."""
    with session(engine) as db:
        mapping = db.exec(select(DeviceMapping).where(DeviceMapping.volume_id == volume.id)).one_or_none()
        exported = db.exec(select(NbdExport).where(NbdExport.volume_id == volume.id)).one_or_none()
    return {
        "id": volume.id,
        "name": volume.name,
        "state": volume.state,
        "type": volume.type,
        "size": volume.size,
        "vm_id": volume.vm_id,
        "device_id": volume.device_id,
        "template_id": volume.template_id,
        "tags": volume.tags,
        "device_path": mapping.device_path if mapping else None,
        "cloudstack_state": mapping.cloudstack_state if mapping else "detached",
        "linux_state": mapping.linux_state if mapping else "absent",
        "export_name": exported.export_name if exported else None,
    }
