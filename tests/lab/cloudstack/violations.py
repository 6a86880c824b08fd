"""What no client may send: the double answers as the real server would, and writes the mistake down.

A test fails by what is written here (tests/conftest.py), whatever the answer was: the real server ignores a parameter
that it does not know, so nothing else would tell. Each mistake is a line of JSON in `violations.jsonl` of the double's
folder, and in the file that the environment variable LAB_VIOLATIONS names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .model import Account
from .reference import Command, table, version
from .state import Cloud

VARIABLE = "LAB_VIOLATIONS"
FILE = "violations.jsonl"
TEST = ".test"
"""The file beside it that says which test runs."""
COMMON = (4, 20)
"""What is newer than this may be sent only by a client that has asked listApis for it."""
ALL = "*"
_PLUMBING = frozenset({"apikey", "signature", "response", "expires", "signatureversion", "command"})


def look(cloud: Cloud, sent: Mapping[str, str], implemented: Iterable[str], account: Account) -> None:
    """Look at a request of a client whose signature is right, and write down what is wrong with it."""
    name = sent.get("command", "")
    command = table().get(name)
    if command is None:
        _tell(cloud, name, "the API table has no such command")
        return
    if name not in implemented:
        _tell(cloud, name, "the double cannot do this command")
    named = {key.partition("[")[0].lower() for key in sent} - _PLUMBING
    known = {parameter.name for parameter in command.parameters}
    for parameter in sorted(named - known):
        _tell(cloud, name, f"the command has no parameter {parameter}")
    if command.is_list:
        _look_at_tags(cloud, name, sent)
    _look_at_versions(cloud, command, named, sent, account)


def _look_at_tags(cloud: Cloud, name: str, sent: Mapping[str, str]) -> None:
    for key in sent:
        base, _, member = key.partition("].")
        if base.lower().startswith("tags[") and member == "key" and not sent.get(f"{base}].value"):
            _tell(cloud, name, f"the tag filter {key} has no value")


def _look_at_versions(
    cloud: Cloud, command: Command, named: set[str], sent: Mapping[str, str], account: Account
) -> None:
    if command.name == "listApis":
        cloud.asked.add((_client(account), sent.get("name") or ALL))
        return
    found = (command.parameter(parameter) for parameter in sorted(named))
    newer = [one for one in found if one is not None and version(one.since) > COMMON]
    if not newer and version(command.since) <= COMMON:
        return
    client = _client(account)
    if not {(client, command.name), (client, ALL)} & cloud.asked:
        what = ", ".join(f"{one.name} (since {one.since})" for one in newer) or f"itself (since {command.since})"
        _tell(cloud, command.name, f"listApis was not asked before the use of {what}")


def _client(account: Account) -> str:
    """Return whom a question to listApis counts for: an account, and within the test suite only during one test."""
    test = Path(os.environ[VARIABLE]).with_suffix(TEST) if os.environ.get(VARIABLE) else None
    return f"{account.name} {test.read_text() if test and test.exists() else ''}"


def _tell(cloud: Cloud, command: str, problem: str) -> None:
    row: dict[str, Any] = {"n": len(cloud.events) + 1, "command": command, "problem": problem}
    files = [cloud.config.state / FILE]
    files += [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    for path in files:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read(path: Path, begin: int = 0) -> list[str]:
    """Return the mistakes that a file tells, from an offset on."""
    if not path.exists():
        return []
    with path.open() as file:
        file.seek(begin)
        rows = [json.loads(line) for line in file]
    return [f"{row['command']}: {row['problem']}" for row in rows]
