"""Who may ask: whoever has the token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError
from migratekit_core.volumed.daemon.api.problems import Problem
from migratekit_core.volumed.daemon.token import TokenFile

_BEARER = HTTPBearer(
    scheme_name="token",
    description="The content of daemon.token_file; after a rotation the one before it, too, for as long as it said.",
    auto_error=False,
)


def authorised(token: TokenFile) -> Callable[..., Awaitable[None]]:
    """Return the check that guards a route."""

    async def check(given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None) -> None:
        if not token.accepts(given.credentials if given else ""):
            raise Problem(
                401,
                AuthError(
                    "the volume daemon refused the token",
                    "it is not the daemon's",
                    "check volumes.token",
                    code=ErrorCode.DAEMON_TOKEN_REFUSED,
                ),
            )

    return check
