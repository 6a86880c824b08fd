"""Keeps secrets out of everything that is written down: each secret that is read is remembered, and masked in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
SHORTEST = 4
"""Shorter secrets are not searched for: masking every `a` would make a message unreadable and hide nothing."""

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|signature|credential|private_?key", re.IGNORECASE
)
_SECRET_IN_TEXT = re.compile(
    r"(?i)((?:api_?key|secret_?key|signature|password|passwd|token)[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&\"',;)]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{8,}")

_known: set[str] = set()


def remember(secret: str) -> str:
    """Have `secret` masked from now on, and return it."""
    if len(secret) >= SHORTEST:
        _known.add(secret)
    return secret


def mask_known(text: str) -> str:
    """Return `text` with every known secret masked, and nothing else: for our own messages, which name settings."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def redact(text: str) -> str:
    """Return `text` with every known secret, and whatever looks like one, masked."""
    text = mask_known(text)
    text = _SECRET_IN_TEXT.sub(rf"\1{MASK}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def redact_fields(value: Any, secret: bool = False) -> Any:
    """Return a JSON-like value with secrets masked, by their key or by their text; never fails.

    `secret` says that a key above names a secret: then only figures stay.
    """
    if isinstance(value, Mapping):
        names = [_text(key) for key in value]
        return {
            redact(name): redact_fields(held, secret or bool(_SECRET_NAME.search(name)))
            for name, held in zip(names, value.values(), strict=True)
        }
    if isinstance(value, list | tuple):
        return [redact_fields(held, secret) for held in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return MASK if secret else redact(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
