"""What a well-behaved client does that the OpenAPI document cannot say."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

KEY = "Idempotency-Key"
VALID = re.compile(r"[!-~]{1,128}")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give each request a key of its own where it has a valid one: one key for two requests is refused, rightly."""
    headers = case.headers or {}
    if KEY in headers and VALID.fullmatch("null" if headers[KEY] is None else str(headers[KEY])):
        headers[KEY] = str(uuid.uuid4())
