"""Many processes write one joblog on a real MariaDB, which stops, or is killed, in the middle: nothing is lost, nothing
is there twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import session
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.listing import Filter, at_once, fields
from migratekit_core.joblog.search import find, trees
from tests.integration.database_server import Server, running
from tests.integration.support import eventually

WRITERS, STEPS, EVENTS = 8, 3, 25
OUTAGE_SECONDS = float(os.environ.get("JOBLOG_OUTAGE", "2"))
"""How long the server is away; JOBLOG_OUTAGE=30 is what the documentation promises."""

WRITER = """
import json, sys, time
from pathlib import Path
from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import open_databases
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.events import EventKind

number, port, secret, steps, events = sys.argv[1:]
database = Database(kind="mariadb", port=int(port), password=SecretSource(file=Path(secret)))
tracker = Tracker(open_databases(database).oma)
longest, told = 0.0, 0
print("ready", flush=True)
sys.stdin.readline()
with tracker.job("writer", owner=f"writer-{number}") as job:
    for at in range(int(steps)):
        with job.step(f"step-{at}") as step, tracker.job("inner", owner=f"writer-{number}", parent=job) as inner:
            for _ in range(int(events)):
                began = time.monotonic()
                step.log(EventKind.DISK_COPIED, number=told)
                inner.progress("disk", told, 1000, 1.0)
                longest = max(longest, time.monotonic() - began)
                told += 1
                time.sleep(0.02)
print(json.dumps({"job": job.id, "longest": longest}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with empty, upgraded databases."""
    with running(tmp_path_factory.mktemp("joblog")) as made:
        yield made


def test_the_quick_list_says_what_the_models_say(server: Server) -> None:
    """On MariaDB, where columns are read of the server; tests/unit/test_joblog_listing.py is about SQLite."""
    databases = server.open()
    with Tracker(databases.oma).job("replication", owner="quick") as job, job.step("step"):
        pass
    database = Database(kind="mariadb", port=server.port, password=SecretSource(file=server.secret))
    found = at_once(database, None, Filter(owners=["quick"]))
    assert found is not None
    [ordinary] = find(databases.oma, Filter(owners=["quick"]))
    assert [fields(row) for row in found] == [ordinary.model_dump(mode="json")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_eight_writers_lose_nothing_while_the_server_is_away(server: Server, number: int) -> None:
    databases = server.open()
    began = time.monotonic()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(each), str(server.port), str(server.secret), str(STEPS), str(EVENTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in range(WRITERS)
    ]
    try:
        # All begin together, however long each took to start.
        assert all(writer.stdout and writer.stdout.readline() == "ready\n" for writer in writers)
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()

        def all_write() -> bool:
            running = find(databases.oma, Filter(kinds=("writer",), statuses=("running",)))
            return len(running) == WRITERS and all(len(tree.events) > 2 for tree in trees(databases.oma, running))

        eventually("all writers write", all_write)
        databases.dispose()
        server.end(number)
        time.sleep(OUTAGE_SECONDS)
        server.start()
        ended = [writer.communicate(timeout=200) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert [writer.returncode for writer in writers] == [0] * WRITERS, [err[-500:] for _, err in ended]
    told = [json.loads(out) for out, _ in ended]
    longest = max(item["longest"] for item in told)
    print(f"{WRITERS} writers, {WRITERS * STEPS * EVENTS} events, server away for {OUTAGE_SECONDS:.0f} s: "
          f"longest write {longest:.1f} s, all in {time.monotonic() - began:.1f} s")  # fmt: skip
    # The outage was met by a write, so this test is about what it says.
    assert longest >= OUTAGE_SECONDS * 0.8
    ids = {item["job"] for item in told}
    jobs = [job for job in find(databases.oma, Filter(limit=None)) if job.id in ids]
    assert len(jobs) == WRITERS
    for tree in trees(databases.oma, jobs):
        assert tree.job.status == "completed"
        assert [(step.sequence, step.status) for step in tree.steps] == [(at + 1, "completed") for at in range(STEPS)]
        numbers = [(event.fields or {})["number"] for event in tree.events]
        assert Counter(numbers) == Counter(range(STEPS * EVENTS))
        assert numbers == sorted(numbers)
        assert [inner.job.status for inner in tree.within] == ["completed"] * STEPS
    assert Tracker(databases.oma).mark_interrupted() == []
    databases.dispose()


def test_a_commit_whose_answer_is_lost_is_not_written_twice(server: Server) -> None:
    """The server takes the commit and the connection breaks before it says so: the write is tried again, and seen."""
    from sqlalchemy import event
    from sqlalchemy.exc import OperationalError

    databases = server.open()
    lost: list[bool] = []

    tracker = Tracker(databases.oma)
    with tracker.job("lossy", owner="lossy") as job:

        @event.listens_for(databases.oma, "commit")
        def lose(connection: object) -> None:
            if lost:
                return
            lost.append(True)
            raw = connection.connection  # type: ignore[attr-defined]
            raw.commit()
            raise OperationalError(
                "COMMIT", None, ConnectionError(2013, "Lost connection"), connection_invalidated=True
            )

        job.log(EventKind.DISK_COPIED)
    assert lost
    with session(databases.oma):
        assert [row.kind for row in tracker.events(job.id)] == ["disk-copied"]
    databases.dispose()
