"""Which installation of MigrateKit this is: several may work on one vCenter, each with a database of its own."""

from __future__ import annotations

import secrets

from sqlalchemy import Engine
from sqlmodel import Session

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.db.engine import write
from migratekit_core.db.models.installation import TOKEN, Installation

_THE_ROW = 1


def installation_id(engine: Engine) -> str:
    """Return the id of the installation that the OMA database belongs to: hexadecimal digits, made at the first call.

    Hosts that share the database are one installation. Raises what `write` does.
    """

    def get(db: Session) -> str:
        found = db.get(Installation, _THE_ROW)
        if found is None:
            found = Installation(id=_THE_ROW, token=secrets.token_hex(TOKEN // 2))
            db.add(found)
            db.flush()
        return found.token

    try:
        return write(engine, get)
    except OperationFailedError as error:
        if error.code is not ErrorCode.DATABASE_REFUSED:
            raise
        return write(engine, get)  # another process was faster
