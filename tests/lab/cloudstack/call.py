"""One command as its handler sees it: who calls, and parameters that have already been checked for type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import bad_parameter
from .model import Account
from .state import Cloud, Fault

_ITEM = re.compile(r"^([^\[]+)\[(\d+)\]\.(.+)$")


@dataclass(frozen=True)
class Call:
    cloud: Cloud
    account: Account
    command: str
    params: Mapping[str, str]
    fault: Fault | None = None
    method: str = "GET"

    @property
    def faulty(self) -> str | None:
        return self.fault.mode if self.fault else None


@dataclass(frozen=True)
class Work:
    """The second half of an asynchronous command. `run` gives the job's result; `undo` cleans up if it cannot.

    `check` and `begin` are called under the lock.
    """

    run: Callable[[], Mapping[str, Any]]
    resources: tuple[str, ...]  # jobs on the same virtual machine or volume run one after the other
    instancetype: str | None = None
    instanceid: str | None = None
    entityid: str | None = None  # the id a create command already answers
    undo: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None  # at once, while others may still be at work on the machine
    begin: Callable[[], Callable[[], None]] = lambda: lambda: None  # at its turn; returns what puts states back
    interrupted: Callable[[], None] | None = None  # instead of `undo`, where a restart of the server ends it
    seconds: float = 0.0  # that it takes beside what every job does


def text(call: Call, name: str) -> str | None:
    """CloudStack takes an empty parameter for one that was not sent."""
    return call.params.get(name) or None


def need(call: Call, name: str) -> str:
    return call.params[name]


def number(call: Call, name: str) -> int | None:
    value = text(call, name)
    return int(value) if value is not None else None


def flag(call: Call, name: str, default: bool = False) -> bool:
    value = text(call, name)
    return default if value is None else value.lower() == "true"


def items(call: Call, name: str) -> list[str]:
    return [item.strip() for item in (text(call, name) or "").split(",") if item.strip()]


def mappings(call: Call, name: str) -> list[dict[str, str]]:
    """`tags[0].key=a&tags[0].value=b` as [{"key": "a", "value": "b"}], in the order of the numbers."""
    rows: dict[int, dict[str, str]] = {}
    for key, value in call.params.items():
        match = _ITEM.match(key)
        if match and match[1] == name:
            rows.setdefault(int(match[2]), {})[match[3]] = value
    return [rows[index] for index in sorted(rows)]


MAX_TEXT = 255


def check_length(call: Call, parameter: str, said: str) -> None:
    """Raise ApiError for a text of more than 255 characters; `said` is how the refusal names the parameter."""
    if len(text(call, parameter) or "") > MAX_TEXT:
        raise bad_parameter(
            f"Unable to execute API command {call.command.lower()} due to invalid value. Value greater than max "
            f"allowed length {MAX_TEXT} for param: {said}"
        )
