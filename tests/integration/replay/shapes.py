"""The shape of an answer: names of fields and types of values, and the text of a refusal without its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ENTITY = re.compile(r"\[?\{(?:[^{}]|\{[^{}]*\})*\}\]?")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def shape(value: Any) -> Any:
    """The shape of a value; that of a list is what its rows have together."""
    if isinstance(value, dict):
        return {name: shape(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_together([shape(row) for row in value])]
    return type(value).__name__


def _together(shapes: list[Any]) -> Any:
    """One shape for all rows of a list."""
    if not shapes:
        return None
    if not all(isinstance(one, dict) for one in shapes):
        kinds = [one for one in shapes if one is not None]
        return kinds[0] if kinds else None
    names = sorted({name for one in shapes for name in one})
    return {name: _merged([one[name] for one in shapes if name in one]) for name in names}


def _merged(shapes: list[Any]) -> Any:
    if all(isinstance(one, dict) for one in shapes):
        return _together(shapes)
    if all(isinstance(one, list) for one in shapes):
        inner = [one[0] for one in shapes if one[0] is not None]
        return [_together(inner)]
    return "|".join(sorted({str(one) for one in shapes}))


def differences(recorded: Any, answered: Any, where: str = "") -> Iterator[str]:
    """What is missing in the double's answer, what it has too much, and what is of another type."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        for name in sorted(recorded.keys() - answered.keys()):
            yield f"missing {where}{name}"
        for name in sorted(answered.keys() - recorded.keys()):
            yield f"too much {where}{name}"
        for name in sorted(recorded.keys() & answered.keys()):
            yield from differences(recorded[name], answered[name], f"{where}{name}.")
    elif isinstance(recorded, list) and isinstance(answered, list):
        yield from differences(recorded[0], answered[0], f"{where}")
    elif recorded != answered:
        yield f"{where.rstrip('.')}: {_short(recorded)} was recorded, the double has {_short(answered)}"


def _short(shape: Any) -> str:
    return shape if isinstance(shape, str) else {dict: "rows", list: "a list"}.get(type(shape), "nothing")


def plain(text: str) -> str:
    """A refusal's text without what differs from call to call: entities, ids and numbers."""
    text = text.replace('\\"', '"')
    for _ in range(3):
        text = _ENTITY.sub("<entity>", text)
    return _NUMBER.sub("<n>", _ID.sub("<id>", text))


WORDS = frozenset({
    "state", "vmstate", "volumestate", "type", "volumetype", "vmtype", "boottype", "bootmode", "jobinstancetype", "cmd",
    "jobprocstatus", "jobresulttype", "snapshottype", "intervaltype", "success", "destroyed", "resourcetype",
    "hostcontrolstate", "networktype", "acltype", "traffictype", "accounttype", "roletype", "rootdevicetype",
    "rootdeviceid", "deleteprotection", "iscustomized", "isdefault", "provisioningtype", "storagetype", "scope",
    "readonlydetails",
})  # fmt: skip
"""Fields whose values are words that clients decide by, and not names, sizes or times."""


def words(value: Any, where: str = "") -> dict[str, Any]:
    """The words of an answer by where they are; rows of a list are told apart by their ids."""
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, held in value.items():
            if name in WORDS and not isinstance(held, dict | list):
                found[f"{where}{name}"] = held
            else:
                found |= words(held, f"{where}{name}.")
    elif isinstance(value, list):
        for number, row in enumerate(value):
            name = row.get("id", number) if len(value) > 1 and isinstance(row, dict) else 0
            found |= words(row, f"{where}{name}.")
    return found


def other_words(recorded: Any, answered: Any) -> Iterator[str]:
    """Where the double uses another word than was recorded."""
    was, now = words(recorded), words(answered)
    for place in sorted(was.keys() & now.keys()):
        if was[place] != now[place]:
            yield f"{place}: {was[place]!r} was recorded, the double has {now[place]!r}"
