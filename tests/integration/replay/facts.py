"""What the recordings say about the things they name: who owns them, what they are called, how large they are.

These are facts that no call of the replay changes. The state that a call found a thing in is in situations.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .recordings import Recording

Row = dict[str, Any]

KINDS = {
    "volume": "volume",
    "virtualmachine": "virtualmachine",
    "snapshot": "snapshot",
    "network": "network",
    "serviceoffering": "serviceoffering",
    "diskoffering": "diskoffering",
    "template": "template",
    "zone": "zone",
    "ostype": "ostype",
    "vmSnapshot": "vmsnapshot",
}
"""The names of rows in answers, and what the double calls such things."""


NEVER_SHOWN = {
    "1b5dc09d-3f61-4cf2-9f48-d4f6fb97b805": "volume",
    "e931c5e4-571f-41aa-9fd1-31710504d75c": "volume",
    "156bda18-4a72-4a90-b888-785d53be1f9e": "virtualmachine",
    "563ee49b-7844-4637-8623-b38fe69c9ce8": "virtualmachine",
    "0ecefdf4-7532-446f-8f2e-b85ad83bda47": "volume",
}
"""What was on the second server and is in no answer."""


@dataclass(frozen=True)
class Facts:
    """All rows that were seen of each thing, by kind and id, on one server."""

    seen: Mapping[str, Mapping[str, list[Row]]] = field(default_factory=dict)
    people: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Accounts by name: their id and that of their user."""

    def kind_of(self, entity_id: str) -> str | None:
        """What an id names, or nothing where no answer ever had it."""
        if entity_id in NEVER_SHOWN:
            return NEVER_SHOWN[entity_id]
        return next((kind for kind in KINDS.values() if entity_id in self.seen.get(kind, {})), None)

    def best(self, kind: str, entity_id: str) -> Row:
        """The fullest row of a thing, empty where there was none."""
        return max(self.seen.get(kind, {}).get(entity_id, [{}]), key=len)

    def all(self, kind: str) -> list[Row]:
        """One row of each thing of a kind."""
        return [self.best(kind, one) for one in self.seen.get(kind, {})]


def gather(recordings: Iterable[Recording]) -> Facts:
    """Return the facts that the recordings of one server hold."""
    seen: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    people: dict[str, tuple[str, str]] = {}
    for recording in recordings:
        for kind, row in (*_rows(recording.answer), *_rows(recording.job)):
            seen[kind][row["id"]].append(row)
        if recording.job and "accountid" in recording.job:
            people[recording.job["account"]] = (recording.job["accountid"], recording.job["userid"])
        for row in recording.body.get("account", []) if recording.command == "listAccounts" else []:
            people[row["name"]] = (row["id"], row["user"][0]["id"])
        if recording.command == "createVolume" and "id" in recording.body:
            seen["volume"][recording.body["id"]].append(_asked(recording))
    return Facts({kind: dict(rows) for kind, rows in seen.items()}, people)


def _asked(recording: Recording) -> Row:
    """What a volume must be from how it was asked for."""
    asked = recording.parameters
    row: Row = {"id": recording.body["id"], "name": asked.get("name", "volume")}
    row |= {name: asked[name] for name in ("diskofferingid", "zoneid", "projectid") if name in asked}
    return row


def _rows(value: Any, name: str = "") -> Iterator[tuple[str, Row]]:
    if isinstance(value, dict):
        if name in KINDS and "id" in value:
            yield KINDS[name], value
        for inner, held in value.items():
            yield from _rows(held, inner)
    elif isinstance(value, list):
        for one in value:
            yield from _rows(one, name)
