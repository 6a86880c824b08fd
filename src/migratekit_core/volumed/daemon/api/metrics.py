"""GET /metrics: the daemon's numbers, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from migratekit_core.volumed.daemon.api.auth import authorised
from migratekit_core.volumed.daemon.api.problems import responses
from migratekit_core.volumed.daemon.api.services import Services
from migratekit_core.volumed.daemon.metrics import CONTENT_TYPE


def routes(services: Services) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["daemon"], dependencies=[Depends(authorised(services.token))])

    @router.get(
        "/metrics",
        summary="The daemon's numbers in Prometheus' text format",
        response_class=_Text,
        responses=responses(401, 500, 503),
    )
    def metrics() -> Response:
        return _Text(services.metrics.text())

    return router


class _Text(Response):
    media_type = CONTENT_TYPE
