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
    r"(?i)\b((?:api_?key|secret_?key|signature|password|passwd|token)\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&\"',;)]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{8,}")

_known: set[str] = set()


def remember(secret: str) -> str:
    """Have `secret` masked from now on, and return it."""
    if len(secret) >= SHORTEST:
        _known.add(secret)
    return secret


def redact(text: str) -> str:
    """Return `text` with every known secret, and whatever looks like one, masked."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _SECRET_IN_TEXT.sub(rf"\1{MASK}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def redact_fields(value: Any) -> Any:
    """Return a JSON-like value with secrets masked, by their key or by their text."""
    if isinstance(value, Mapping):
        return {
            str(key): MASK if _SECRET_NAME.search(str(key)) and isinstance(held, str) else redact_fields(held)
            for key, held in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_fields(held) for held in value]
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))
