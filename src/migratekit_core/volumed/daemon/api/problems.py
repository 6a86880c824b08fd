"""Errors as application/problem+json (RFC 9457), whoever raised them: our code, the framework, or a bug."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UsageError,
    to_fields,
)

MEDIA_TYPE = "application/problem+json"
STATUS = {1: 502, 2: 422, 4: 409, 5: 403, 6: 503, 7: 500, 8: 409}
"""HTTP status for each exit code of our errors."""


class Problem(Exception):
    """An answer of this status that tells an error."""

    def __init__(self, status: int, error: MigrateKitError) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error


class ProblemDocument(BaseModel):
    """An error: RFC 9457's members, and the three lines that an operator reads."""

    type: str = Field(description="Always `about:blank`: the status says what kind of problem it is.")
    title: str = Field(description="What failed; the same as `what`.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="Why; the same as `why`.")
    instance: str = Field(description="Path of the request.")
    request_id: str = Field(description="The request's id, as in the header X-Request-Id and in the daemon's log.")
    what: str = Field(description="What failed, in one line.")
    why: str = Field(description="The cause as far as it is known, in one line.")
    todo: str = Field(description="The next step, in one line.")
    exit_code: int = Field(description="What a command that meets this error exits with (docs/exit-codes.md).")
    code: str = Field(description="What the error is, for programs; `unknown` where it is none of the known ones.")
    facts: dict[str, str | int | float | bool | None] = Field(description="What it is about, by name.")
    hint: list[str | dict[str, Any]] = Field(
        description="`todo` in parts: texts, and commands as objects of `argv` and `where`."
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the errors that a route may answer."""
    return {status: {"description": DESCRIPTIONS[status], "content": _CONTENT} for status in statuses}


DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "CloudStack or the database refused the daemon's own login.",
    404: "There is no such thing.",
    409: "The volume is not in the state that this needs, or another operation works on it; `why` names the holder.",
    408: "The body did not come.",
    413: "The body is too large.",
    422: "The request is malformed, or its Idempotency-Key was used for another request.",
    500: "The daemon failed; its log has more under the request's id.",
    502: "CloudStack answered with an error.",
    503: "CloudStack or the database does not answer.",
}
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}


def answer(path: str, request_id: str, status: int, error: MigrateKitError) -> JSONResponse:
    """Return the answer that tells an error."""
    fields = to_fields(error)
    document = ProblemDocument(
        type="about:blank",
        title=fields["what"],
        status=status,
        detail=fields["why"],
        instance=path,
        request_id=request_id,
        **fields,
    )
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(document.model_dump(), status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have every error of the application told as a problem."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> JSONResponse:
        return _tell(request, problem.status, problem.error)

    @app.exception_handler(MigrateKitError)
    async def _error(request: Request, error: MigrateKitError) -> JSONResponse:
        return _tell(request, STATUS.get(error.exit_code, 500), error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Places and messages only: the values could be secrets.
        places = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return _tell(
            request,
            422,
            UsageError("the request is malformed", places, "see /openapi.json", code=ErrorCode.REQUEST_INVALID),
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        told = _tell(request, error.status_code, _of_framework(request, error.status_code))
        told.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            told.headers["Allow"] = ", ".join(_methods(app, request.url.path))
        return told


def unexpected() -> MigrateKitError:
    """Return what a client is told of a bug: nothing of its insides."""
    return OperationFailedError(
        "the volume daemon failed unexpectedly",
        "this is an error of the daemon, not of the request",
        "look in the daemon's log for the request id and report it",
        code=ErrorCode.UNEXPECTED,
    )


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return what a path takes, by all of its routes; the framework names those of the first one only."""
    paths = app.openapi()["paths"].items()
    return sorted(method.upper() for known, taken in paths if compile_path(known)[0].match(path) for method in taken)


def _of_framework(request: Request, status: int) -> MigrateKitError:
    if status == HTTPStatus.NOT_FOUND:
        return PreconditionError(
            "no such resource",
            f"the API has no {request.url.path}",
            "see /openapi.json",
            code=ErrorCode.REQUEST_INVALID,
            facts={"path": request.url.path},
        )
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        why = f"{request.url.path} does not take {request.method}"
        return UsageError(
            "method not allowed",
            why,
            "see the header Allow, and /openapi.json",
            code=ErrorCode.REQUEST_INVALID,
            facts={"path": request.url.path},
        )
    return UsageError(
        "the request cannot be read",
        HTTPStatus(status).phrase,
        "see /openapi.json",
        code=ErrorCode.REQUEST_INVALID,
        facts={"status": status},
    )


def _tell(request: Request, status: int, error: MigrateKitError) -> JSONResponse:
    return answer(request.url.path, getattr(request.state, "id", ""), status, error)
