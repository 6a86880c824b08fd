"""The lab's double answers what a real management server answered: 859 recorded calls, those of the commands we use.

Each recording is a test. It builds the situation that the call found (replay/situations.py), asks the double the same
and compares: status, envelope, error codes, text of a refusal without its numbers, and of the answer and of the job's
result the names of fields, the types of values, and the words that clients decide by (states, kinds). Which recordings
are left out, and why, is in replay/scope.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.replay import ask, cases, facts, places, recordings, scope, shapes, situations
from tests.integration.replay.recordings import Recording
from tests.integration.replay.world import World
from tests.lab.cloudstack import catalogue, violations
from tests.lab.cloudstack.server import Server

ALL = recordings.load()
IN_SCOPE = [one for one in ALL if one.command in scope.COMMANDS]
ASKED = [one for one in IN_SCOPE if one.id not in scope.LEFT_OUT]
SERVERS = ("first", "more")
FACTS = {server: facts.gather(one for one in ALL if one.server == server) for server in SERVERS}
TABLES = {server: places.tables(server, FACTS[server]) for server in SERVERS}
IDS = ("id", "resourceid", "key")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One double for all recordings; each gives it a cloud of its own."""
    catalogue.use(TABLES["more"])
    try:
        nothing = World(ASKED[0], FACTS["more"], tmp_path_factory.mktemp("nothing"))
        with ask.serving(nothing.cloud) as server:
            yield server
    finally:
        catalogue.use_lab()


@pytest.mark.parametrize("recording", [pytest.param(one, id=one.id) for one in ASKED])
def test_recording(recording: Recording, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those who recorded sent on purpose what no client of ours may send.
    monkeypatch.delenv(violations.VARIABLE, raising=False)
    assert _differences(recording, server, tmp_path) == []


def _differences(recording: Recording, server: Server, state: Path) -> list[str]:
    catalogue.use(TABLES[recording.server])
    world = World(recording, FACTS[recording.server], state)
    situations.prepare(world, TABLES[recording.server])
    server.cloud = world.cloud
    world.before(server)
    caller = ask.Caller(f"key-of-{recording.account}", world.secret)
    answered = ask.ask(server, caller, recording.command, world.parameters, recording.method, world.meanwhile)
    if answered.http != recording.http:
        return [f"HTTP {answered.http} instead of {recording.http}: {answered.answer}"]
    found = list(_compare(recording.answer, answered.answer, "answer"))
    if recording.job is not None and answered.job is None:
        return [*found, "no job"]
    if recording.job is not None and answered.job is not None:
        found += _compare(recording.job, answered.job, "job")
    return found + _ids(recording.answer, answered.answer)


def _compare(recorded: Any, answered: Any, where: str) -> Iterator[str]:
    """The differences of two answers, or of two ends of a job."""
    if not isinstance(recorded, dict) or not isinstance(answered, dict):
        if type(recorded) is not type(answered):
            yield f"{where}: {str(recorded)[:60]} was recorded, the double has {str(answered)[:60]}"
        return
    if "jobid" in recorded and where == "answer":  # recorded without its envelope
        recorded = {next(iter(answered)): recorded}
    yield from _codes(recorded, answered, where)
    yield from shapes.other_words(recorded, answered)
    for difference in shapes.differences(shapes.shape(recorded), shapes.shape(answered)):
        field = difference.removeprefix("missing ").removeprefix("too much ").split(":")[0]
        if ".".join(field.split(".")[-2:]) not in scope.MAY_BE_ABSENT:
            yield f"{where}: {difference}"


def _codes(recorded: Mapping[str, Any], answered: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in ("errorcode", "cserrorcode", "jobstatus", "jobresultcode", "errortext", "count"):
        was, now = _inside(recorded, name), _inside(answered, name)
        if name == "errortext":
            was, now = shapes.plain(was or ""), shapes.plain(now or "")
        if was != now:
            yield f"{where}: {name} {was!r} was recorded, the double has {now!r}"


def _inside(value: Mapping[str, Any], name: str) -> Any:
    """A field of an answer's envelope, of a job or of its result."""
    if not isinstance(value, dict):
        return None
    for held in (value, value.get("jobresult"), *value.values()):
        if isinstance(held, dict) and name in held:
            return held[name]
    return None


def _ids(recorded: Any, answered: Any) -> list[str]:
    """Whether a list shows the rows that were recorded, and no others. Of a part of a list only the count is known."""
    was, now = _listed(recorded), _listed(answered)
    if len(was) < (_inside(recorded, "count") or 0):
        return []
    return [] if was == now else [f"rows: {sorted(was - now)} are missing, {sorted(now - was)} too much"]


def _listed(answer: Any) -> set[str]:
    inner = next(iter(answer.values()), {}) if isinstance(answer, dict) else {}
    rows = [row for held in inner.values() if isinstance(held, list) for row in held] if isinstance(inner, dict) else []
    return {" ".join(str(row.get(name)) for name in IDS) for row in rows if isinstance(row, dict)}


def test_every_command_of_the_product_is_in_scope() -> None:
    recorded = {one.command for one in ALL}
    assert scope.COMMANDS - recorded <= scope.NEVER_RECORDED


def test_the_tables_name_recordings_that_exist() -> None:
    names = {one.id for one in IN_SCOPE}
    assert set(scope.LEFT_OUT) <= names
    assert {*cases.CASES, *cases.SETTINGS} <= names - set(scope.LEFT_OUT)


def test_summary() -> None:
    """How many recordings are asked: shown with `-s`."""
    outside = Counter(one.command for one in ALL if one.command not in scope.COMMANDS)
    reasons = Counter(scope.LEFT_OUT.values())
    lines = [f"asked {len(ASKED)} of {len(IN_SCOPE)} recordings of {len(scope.COMMANDS)} commands"]
    lines += [f"  left out, {reason}: {count}" for reason, count in reasons.most_common()]
    lines += [f"{sum(outside.values())} recordings of commands that MigrateKit does not use:"]
    lines += [f"  {command}: {count}" for command, count in sorted(outside.items())]
    print("\n" + "\n".join(lines))
    assert len(ASKED) + len(scope.LEFT_OUT) == len(IN_SCOPE)
