"""The daemon's operations, waited for: what the tests of its API share."""

from __future__ import annotations

from typing import Any

import httpx


def ended(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Return the operation of an answer when it has ended."""
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    for _ in range(4):
        if operation["status"] in ("completed", "failed"):
            return operation
        operation = http.get(f"/api/v1/operations/{operation['id']}", params={"wait": 25}).json()
    raise AssertionError(f"does not end: {operation}")


def done(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Return the response of an operation that has to work."""
    operation = ended(http, answer)
    assert operation["status"] == "completed", operation["error"]
    response: dict[str, Any] = operation["response"]
    return response
