"""Around every request: an id, limits of size and time, a problem where there was a bug, a line in the log."""

from __future__ import annotations

import asyncio
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, UsageError
from migratekit_core.volumed.daemon import bridge
from migratekit_core.volumed.daemon.api.problems import answer, unexpected
from migratekit_core.volumed.daemon.metrics import Metrics

LARGEST_BODY = 64 * 1024
BODY_SECONDS = 30.0
"""How long the body may take to arrive; a client that stops in the middle is not waited for."""
METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET = frozenset({"/health", "/metrics"})
"""What somebody asks every few seconds is not logged."""


class _Refused(Exception):
    """The body was too large or too slow."""

    def __init__(self, status: int, error: MigrateKitError) -> None:
        super().__init__(status)
        self.status = status
        self.error = error


class Around:
    """The middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["id"] = request_id
        began, status = time.monotonic(), 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        async def refuse(code: int, error: MigrateKitError) -> None:
            if not status:
                await answer(scope["path"], request_id, code, error)(scope, receive, identified)

        try:
            await self._app(scope, _replayed(await _body(receive), receive), identified)
        except _Refused as refused:
            await refuse(refused.status, refused.error)
        except Exception as error:
            bridge.failure(error, request_id)
            await refuse(500, unexpected())
        finally:
            seconds = time.monotonic() - began
            if status:
                self._metrics.request(*_labels(scope), status, seconds)
            if scope["path"] not in QUIET or status >= 400:
                ids = {"request_id": request_id, "correlation_id": headers.get("x-correlation-id", "")[:36]}
                bridge.request(scope["method"], scope["path"], status, seconds, ids)


def _labels(scope: Scope) -> tuple[str, str]:
    """Return method and route as metrics name them: what a client makes up must not make a new time series."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    if "route" not in scope:
        return method, "other"
    # The route's own path lacks what the routers around it add, so the request's is taken, without its ids.
    parts = scope["path"].split("/")
    for name, value in scope.get("path_params", {}).items():
        places = [number for number, part in enumerate(parts) if part == value]
        if places:
            parts[places[-1]] = f"{{{name}}}"
    return method, "/".join(parts)


async def _body(receive: Receive) -> Message:
    """Return the whole body as one message, or that the client went away. Raises _Refused."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    why = f"it has more than {LARGEST_BODY} bytes"
                    raise _Refused(
                        413,
                        UsageError(
                            "the request's body is too large", why, "see /openapi.json", code=ErrorCode.REQUEST_INVALID
                        ),
                    )
                if not message.get("more_body", False):
                    return {"type": "http.request", "body": bytes(body), "more_body": False}
    except TimeoutError:
        why = f"it was not there after {BODY_SECONDS:.0f} s"
        raise _Refused(
            408, UsageError("the request's body does not come", why, "send it again", code=ErrorCode.REQUEST_INVALID)
        ) from None


def _replayed(first: Message, receive: Receive) -> Receive:
    """Return a `receive` that gives what was read already, and then waits for the client to go away."""
    left = [first]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed
