"""Keeps the cloud's row in `ossea_configs` up to date, secrets encrypted."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import Session, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError, UsageError
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config
from migratekit_core.db.crypto import decrypt, encrypt
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import OsseaConfig


def known(engine: Engine, config: Config) -> int:
    """Do as `remember`, also where several first runs write the same row in the same moment."""
    try:
        return remember(engine, config)
    except OperationFailedError:
        # The other one's row is there now; where it was something else, it is told.
        return remember(engine, config)


def remember(engine: Engine, config: Config) -> int:
    """Write the configured cloud to `ossea_configs`, if it is new or has changed; return the row's id."""
    require(config, "ossea")
    cloud = config.ossea
    assert cloud is not None, "require has seen to it"
    if config.database.encryption_key is None:
        raise UsageError(
            "database.encryption_key is not set",
            "the cloud's keys are stored encrypted only",
            "make one (openssl rand -base64 32 | tr '+/' '-_') and keep it in a file of mode 0600",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "database.encryption_key"},
        )
    key = config.database.encryption_key.read("database.encryption_key")
    api_key = cloud.api_key.read("ossea.api_key")
    secret_key = cloud.secret_key.read("ossea.secret_key")

    def change(db: Session) -> int:
        row = db.exec(select(OsseaConfig).where(OsseaConfig.name == cloud.api_url)).one_or_none()
        if row is None:
            row = OsseaConfig(
                name=cloud.api_url,
                api_url=cloud.api_url,
                api_key=encrypt(api_key, key),
                secret_key=encrypt(secret_key, key),
                zone=cloud.zone,
            )
            db.add(row)
        elif not (_same(row.api_key, api_key, key) and _same(row.secret_key, secret_key, key)):
            row.api_key, row.secret_key = encrypt(api_key, key), encrypt(secret_key, key)
        row.domain, row.zone, row.is_active = cloud.domain, cloud.zone, True
        db.flush()
        assert row.id is not None, "flushed rows have their key"
        return row.id

    return write(engine, change)


def _same(token: str, secret: str, key: str) -> bool:
    """Return whether a stored token holds this secret; one under another key has to be written again."""
    try:
        return decrypt(token, key) == secret
    except AuthError:
        return False
