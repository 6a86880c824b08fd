"""Puts the application together."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI

from migratekit_core.volumed.daemon.api import health, jobs, metrics, operations, problems, snapshots, volumes
from migratekit_core.volumed.daemon.api.auth import authorised
from migratekit_core.volumed.daemon.api.middleware import Around
from migratekit_core.volumed.daemon.api.openapi import describe
from migratekit_core.volumed.daemon.api.services import Services

GUARDED = (volumes.routes, snapshots.routes, operations.routes, jobs.routes)


def build(services: Services) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="MigrateKit volume daemon", version=services.version, docs_url=None, redoc_url=None)
    problems.install(app)
    app.add_middleware(Around, metrics=services.metrics)
    app.include_router(health.routes(services))
    app.include_router(metrics.routes(services))
    guarded = APIRouter(prefix="/api/v1", dependencies=[Depends(authorised(services.token))])
    for routes in GUARDED:
        guarded.include_router(routes(services))
    app.include_router(guarded)
    describe(app)
    return app
