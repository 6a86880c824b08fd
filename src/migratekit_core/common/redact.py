"""Keeps secrets out of everything that is written down: each secret that is read is remembered, and masked in text, as
it is and as it looks within a URL, JSON, XML, or the text of a Python value. What we start does not inherit variables
that hold one."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

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

_KEY_IN_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)

_known: set[str] = set()
_variables = {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}


def remember(secret: str) -> str:
    """Have `secret` masked from now on, and return it."""
    if len(secret) >= SHORTEST:
        _known.update(form for form in _forms(secret) if len(form) >= SHORTEST)
    return secret


def _forms(secret: str) -> set[str]:
    """Return a secret as it is written in a URL, in JSON, XML, Python, and in base64."""
    encoded = secret.encode(errors="surrogateescape")
    return {
        secret,
        quote(encoded, safe=""),
        quote(encoded),
        quote_plus(encoded),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        repr(secret)[1:-1],
        base64.b64encode(encoded).decode().rstrip("="),
        base64.urlsafe_b64encode(encoded).decode().rstrip("="),
    }


def hide_variable(name: str) -> None:
    """Have an environment variable, which holds a secret, left out of the environment of what we start."""
    _variables.add(name)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program that we start: ours without the variables that hold secrets."""
    return {name: value for name, value in os.environ.items() if name not in _variables} | dict(extra or {})


def mask_known(text: str) -> str:
    """Return `text` with every known secret masked, and nothing else: for our own messages, which name settings."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def redact(text: str) -> str:
    """Return `text` with every known secret, and whatever looks like one, masked."""
    text = _KEY_IN_TEXT.sub(MASK, mask_known(text))
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
