"""Keeps the cloud's row in `ossea_configs` up to date, secrets encrypted."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.config.load import require
from migratekit_core.config.schema import Config
from migratekit_core.db.crypto import decrypt, encrypt
from migratekit_core.db.engine import session
from migratekit_core.errors import AuthError, UsageError
from migratekit_core.models.oma import OsseaConfig


def remember(engine: Engine, config: Config) -> int:
    """Write the configured cloud to `ossea_configs`, if it is new or has changed; return the row's id."""
    require(config, "ossea")
    assert config.ossea is not None, "require has seen to it"
    if config.database.encryption_key is None:
        raise UsageError(
            "database.encryption_key is not set",
            "the cloud's keys are stored encrypted only",
            "make one (openssl rand -base64 32 | tr '+/' '-_') and keep it in a file of mode 0600",
        )
    key = config.database.encryption_key.read("database.encryption_key")
    api_key = config.ossea.api_key.read("ossea.api_key")
    secret_key = config.ossea.secret_key.read("ossea.secret_key")
    with session(engine) as db:
        row = db.exec(select(OsseaConfig).where(OsseaConfig.name == config.ossea.api_url)).one_or_none()
        if row is None:
            row = OsseaConfig(
                name=config.ossea.api_url,
                api_url=config.ossea.api_url,
                api_key=encrypt(api_key, key),
                secret_key=encrypt(secret_key, key),
                zone=config.ossea.zone,
            )
            db.add(row)
        elif not (_same(row.api_key, api_key, key) and _same(row.secret_key, secret_key, key)):
            row.api_key, row.secret_key = encrypt(api_key, key), encrypt(secret_key, key)
        row.domain, row.zone, row.is_active = config.ossea.domain, config.ossea.zone, True
        db.flush()
        assert row.id is not None, "flushed rows have their key"
        return row.id


def _same(token: str, secret: str, key: str) -> bool:
    """Return whether a stored token holds this secret; one under another key has to be written again."""
    try:
        return decrypt(token, key) == secret
    except AuthError:
        return False
