"""What FastAPI does not write into the OpenAPI document by itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from migratekit_core.volumed.daemon.api.problems import MEDIA_TYPE, ProblemDocument

SUMMARY = "The single source of truth for OSSEA volumes. Listens on loopback or a unix socket only."
DESCRIPTION = """\
Every change answers 202 with its operation, which is written down before anything is done. Ask for its outcome with
`GET /api/v1/operations/{id}?wait=25`. Every error is an RFC 9457 problem document. Every answer has the header
`X-Request-Id`: the request's own, if that was 1 to 64 letters, digits, dots, dashes or underscores, else a new one."""


def describe(app: FastAPI) -> None:
    """Have the document say what every answer has in common."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            document["info"] |= {"summary": SUMMARY, "description": DESCRIPTION}
            schemas = document["components"]["schemas"]
            schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
            # FastAPI's own form of a validation error, which we never answer.
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for operations in document["paths"].values():
                for operation in operations.values():
                    _complete(operation)
        assert app.openapi_schema is not None, "FastAPI keeps it"
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if int(status) >= 400 and MEDIA_TYPE in response.get("content", {}):
            response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
        response["headers"] = {
            "X-Request-Id": {
                "description": "The request's id; the daemon's log has it, too.",
                "schema": {"type": "string", "maxLength": 64},
            }
        }
