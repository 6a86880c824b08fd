"""GET /health: the only route without a token."""

from __future__ import annotations

from fastapi import APIRouter

from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.api.views import Health


def routes(services: Services) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["daemon"])

    @router.get("/health", summary="Whether the daemon is up")
    async def health() -> Health:
        return Health(status="ok", version=services.version)

    return router
