"""What was said to vSphere, for `--record FILE`: a JSON line for each call, names and secrets masked (masks.py).

A line is `{"vsphere.<method>.<its number>": {api, command, object, arguments, properties, http, answer, at, seconds}}`;
`api` is `vsphere`, or `vsphere-rest` for tags. A call that was not answered has `http` null and the kind of the error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import httpx

from migratekit_core.adapters.vsphere.masks import Masks, key_of_user
from migratekit_core.common import recording
from migratekit_core.config.folders import state_folder

LONGEST = 8 << 20
"""Most characters of an answer: a page of machines has more than a call to CloudStack. A longer one is cut."""


@dataclass
class Call:
    """A call that is under way."""

    status: int | None = None
    body: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)

    def answered(self, status: int, body: bytes) -> None:
        """Keep the answer."""
        self.status, self.body = status, body


@contextmanager
def call(request: bytes | str | None) -> Iterator[Call]:
    """Record the SOAP call that the block makes, and what `Call.answered` is told, where anything is recorded."""
    made = Call()
    if request is None or not recording.wanted():
        yield made
        return
    at, began = datetime.now(UTC), time.monotonic()
    try:
        yield made
    except Exception as error:
        made.facts["answer"] = {"error": type(error).__name__}
        raise
    finally:
        try:
            line = _line(request, made) | {"at": recording.moment(at), "seconds": round(time.monotonic() - began, 3)}
            recording.add(f"vsphere.{line['command']}", line)
        except Exception as error:  # no migration fails because nobody will be able to read how it went
            recording.trouble(error)


def rest(answer: httpx.Response) -> None:
    """Record an answer of the Automation API (tags): a hook of httpx."""
    if not recording.wanted():
        return
    try:
        answer.read()
        session = answer.request.url.path.endswith("/session")
        told = None if session or not answer.content else _rest(answer.json())
        line = {
            "api": "vsphere-rest",
            "command": f"{answer.request.method} {answer.request.url.path}",
            "http": answer.status_code,
            "answer": recording.bounded(told, LONGEST),
            "at": recording.moment(datetime.now(UTC)),
        }
        recording.add("vsphere.rest", line)
    except Exception as error:
        recording.trouble(error)


@lru_cache(maxsize=1)
def masks() -> Masks:
    """Return the masks of this user's key."""
    return Masks(key_of_user(state_folder()))


def _line(request: bytes | str, made: Call) -> dict[str, Any]:
    asked = _inside(fromstring(request))  # noqa: S314, ours
    command = asked.tag.rpartition("}")[2]
    arguments = masks().element(asked)
    fields = arguments if isinstance(arguments, dict) else {}
    line = {"api": "vsphere", "command": command, "object": fields.pop("_this", ""), "arguments": fields}
    if paths := [found.text or "" for found in asked.iter() if found.tag.rpartition("}")[2] == "pathSet"]:
        line["properties"] = paths
    answer = made.facts.get("answer") if made.status is None else _answer(made.body)
    return line | {"http": made.status, "answer": recording.bounded(answer, LONGEST)}


def _answer(body: bytes) -> Any:
    try:
        # vCenter is the one that is trusted with the machines, and expat limits what entities may grow to.
        return masks().element(_inside(fromstring(body)))  # noqa: S314
    except ParseError:
        return {"text": masks().text("faultstring", body[:2000].decode(errors="replace"))}


def _inside(envelope: Element) -> Element:
    """Return what is within the body of an envelope."""
    for body in envelope:
        if body.tag.rpartition("}")[2] == "Body" and len(body):
            return body[0]
    raise ParseError("it is no SOAP")


def _rest(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _rest(held, str(key)) for key, held in value.items()}
    if isinstance(value, list):
        return [_rest(held, name) for held in value]
    return masks().text(name, value) if isinstance(value, str) else value
