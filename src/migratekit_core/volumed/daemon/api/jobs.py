"""/api/v1/jobs: how far a replication is."""

from __future__ import annotations

from fastapi import APIRouter

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.db.engine import session
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.volumed.daemon.api.bodies import JobId
from migratekit_core.volumed.daemon.api.problems import Problem, responses
from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.views import Progress


def routes(services: Services) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])

    @router.get("/{job_id}/progress", summary="Progress of a replication", responses=responses(401, 404, 422, 500, 503))
    def progress(job_id: JobId) -> Progress:
        with session(services.oma) as db:
            job = db.get(ReplicationJob, job_id)
        if job is None:
            raise Problem(
                404,
                PreconditionError(
                    f"no replication job {job_id}",
                    "it is not recorded",
                    "check the id",
                    code=ErrorCode.JOB_NOT_FOUND,
                    facts={"job_id": job_id},
                ),
            )
        return Progress.model_validate(job.model_dump(include=set(Progress.model_fields)))

    return router
