"""Encrypts the secrets that the database has to hold (ossea_configs), with a key that it does not hold."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, UsageError


def _fernet(key: str) -> Fernet:
    try:
        return Fernet(key.encode())
    except ValueError:
        raise UsageError(
            "database.encryption_key is not a key",
            "it must be urlsafe base64 of 32 bytes",
            "make one: openssl rand -base64 32 | tr '+/' '-_'",
            code=ErrorCode.CONFIG_INVALID,
            facts={"setting": "database.encryption_key"},
        ) from None


def encrypt(secret: str, key: str) -> str:
    """Return `secret` as a Fernet token under `key`."""
    return _fernet(key).encrypt(secret.encode()).decode()


def decrypt(token: str, key: str) -> str:
    """Return the secret of a Fernet token. Raises AuthError where the key is not the one it was made with."""
    try:
        return _fernet(key).decrypt(token.encode()).decode()
    except InvalidToken:
        raise AuthError(
            "a stored secret cannot be decrypted",
            "database.encryption_key is not the key it was stored with",
            "restore that key, or store the secret again",
            code=ErrorCode.KEY_WRONG,
        ) from None
