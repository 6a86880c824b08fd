"""Many workers on one wave on a real MariaDB: nobody gets a machine twice, also where workers are killed while they
have one, or the answer to a commit is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.services.waves import asks, claims, look, store
from migratekit_core.services.waves.model import Machine, Wave
from tests.integration.database_server import Server, running
from tests.integration.support import eventually

WORKERS = 8
FORK = multiprocessing.get_context("fork")
"""Eight processes that import everything anew would take longer than all that they do."""


def work(name: str, server: Server, wave: str, stale: float, hold: float, told: Any, go: Any) -> None:
    """Claim, hold and finish machines until there is nothing left; tell everything."""
    engine = server.open().oma
    _, whole = store.find(engine, wave)
    refused = 0
    told.send({"ready": name})
    go.wait()
    while True:
        claims.release_stale(engine, stale)
        seen = look.snapshot(engine, wave)
        ready = look.ready(seen, whole, REPLICATE)
        if not ready and not seen.of("running"):
            break
        for vm in ready:
            held = claims.claim(engine, wave, vm, REPLICATE, name)
            if held is None:
                refused += 1
                continue
            told.send({"held": vm})
            until = time.monotonic() + hold * (0.5 + random.random())
            while time.monotonic() < until:
                time.sleep(hold / 4)
                claims.heartbeat(engine, held, done=1, total=2)
            claims.finish(engine, held, done=2)
            told.send({"done": vm})
            break
        else:
            time.sleep(0.05)
    told.send({"refused": refused})
    told.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with empty, upgraded databases."""
    with running(tmp_path_factory.mktemp("waves")) as made:
        yield made


@pytest.fixture(scope="module")
def engine(server: Server) -> Iterator[Engine]:
    """Yield the OMA database."""
    opened = server.open()
    yield opened.oma
    opened.dispose()


def wave(name: str, machines: int) -> Wave:
    """Return a wave of so many machines."""
    numbered = (Machine(name=f"{name}-{at}", uuid=f"{name}-{at}", data_bytes=2) for at in range(machines))
    return Wave(name=name, machines=tuple(numbered))


class Worker:
    """A worker, in a process of its own."""

    def __init__(self, server: Server, wave: str, number: int, stale: float, hold: float, go: Any) -> None:
        self.name = f"worker-{number}"
        self.told, theirs = FORK.Pipe(duplex=False)
        arguments = (self.name, server, wave, stale, hold, theirs, go)
        self.process = FORK.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def said(self) -> list[dict[str, Any]]:
        """Return what it has said when it has ended by itself."""
        lines = []
        while True:
            try:
                lines.append(self.told.recv())
            except EOFError:
                break
        self.process.join(60)
        assert self.process.exitcode == 0
        return lines


@contextmanager
def workers(server: Server, name: str, stale: float, hold: float) -> Iterator[list[Worker]]:
    """Yield workers that begin at the same moment, however long each took to start."""
    go = FORK.Event()
    started = [Worker(server, name, number, stale, hold, go) for number in range(WORKERS)]
    try:
        assert all("ready" in each.told.recv() for each in started)
        go.set()
        yield started
    finally:
        for each in started:
            each.process.kill()
            each.process.join()


def outcomes(engine: Engine, name: str) -> Counter[tuple[str, str | None]]:
    """Return how many attempts of each machine ended how."""
    return Counter((each.vm_id, each.outcome) for each in look.attempts(engine, name))


def test_eight_workers_share_a_wave_and_nobody_gets_a_machine_twice(server: Server, engine: Engine) -> None:
    store.create(engine, wave("shared", 60))
    with workers(server, "shared", stale=60, hold=0.02) as started:
        said = [each.said() for each in started]
    done = Counter(item["done"] for lines in said for item in lines if "done" in item)
    assert done == Counter(f"shared-{at}" for at in range(60))
    assert outcomes(engine, "shared") == Counter((f"shared-{at}", "done") for at in range(60))
    assert sum(lines[-1]["refused"] for lines in said) > 0, "they did want the same ones"
    assert {each.state for each in look.snapshot(engine, "shared").machines} == {"replicated"}
    assert sum(1 for lines in said if len(lines) > 1) > WORKERS / 2, "several worked"


def test_machines_of_killed_workers_are_done_by_others_once(server: Server, engine: Engine) -> None:
    store.create(engine, wave("killed", 24))
    chance = random.Random(9)
    with workers(server, "killed", stale=1.5, hold=0.3) as started:
        victims = chance.sample(started, 4)
        for each in victims:
            assert "held" in each.told.recv(), "its first machine"
            assert each.process.pid is not None
            os.kill(each.process.pid, signal.SIGKILL)
        for each in started:
            if each not in victims:
                each.said()
    found = look.attempts(engine, "killed")
    done = Counter(each.vm_id for each in found if each.outcome == "done")
    assert done == Counter(f"killed-{at}" for at in range(24)), "each once, and by one"
    # A victim's claim ended with it, unless it was through in the moment before.
    assert {each.outcome for each in found} <= {"done", "lost"}
    assert 0 < sum(each.outcome == "lost" for each in found) <= len(victims)
    assert {each.worker for each in found if each.outcome == "lost"} <= {each.name for each in victims}
    seen = look.snapshot(engine, "killed")
    assert seen.counts == {"replicated": 24} and store.end(engine, "killed").status == "completed"


def test_a_pause_and_a_cancel_reach_workers_at_work(server: Server, engine: Engine) -> None:
    store.create(engine, wave("asked", 300))
    store.begin(engine, "asked", REPLICATE)
    with workers(server, "asked", stale=60, hold=0.05):
        eventually("workers work", lambda: look.snapshot(engine, "asked").counts["replicated"] > 5)
        asks.pause(engine, "asked")
        eventually("what runs ends", lambda: not look.snapshot(engine, "asked").of("running"))
        before = len(look.attempts(engine, "asked"))
        time.sleep(0.5)
        assert len(look.attempts(engine, "asked")) == before, "a paused wave begins nothing"
    asked = asks.cancel(engine, "asked")
    assert len(asked.machines) == look.snapshot(engine, "asked").counts["cancelled"] > 0
    assert store.end(engine, "asked").status == "cancelled"


def test_one_of_many_who_store_the_same_wave_does(server: Server, engine: Engine) -> None:
    from concurrent.futures import ThreadPoolExecutor

    same = wave("same", 30)
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(lambda _: store.create(engine, same), range(WORKERS)))
    assert len({each.id for each in found}) == 1
    assert len(look.snapshot(engine, "same").machines) == 30


@pytest.mark.parametrize("ends", ["finish", "fail"])
def test_the_lost_answer_of_a_commit_costs_nothing(server: Server, engine: Engine, ends: str) -> None:
    name = f"lossy-{ends}"
    store.create(engine, wave(name, 1))
    lose: list[bool] = []

    def broken(connection: Any) -> None:
        if lose:
            lose.clear()
            connection.connection.commit()
            raise OperationalError(
                "COMMIT", None, ConnectionError(2013, "Lost connection"), connection_invalidated=True
            )

    event.listen(engine, "commit", broken)
    try:
        lose.append(True)
        held = claims.claim(engine, name, f"{name}-0", REPLICATE, "w")
        assert held is not None and held.attempt == 1 and not lose
        lose.append(True)
        if ends == "finish":
            claims.finish(engine, held, done=7)
        else:
            from migratekit_core.common.errors import OperationFailedError

            claims.fail(engine, held, OperationFailedError("no", "never", "again", code=ErrorCode.UNKNOWN))
        assert not lose
    finally:
        event.remove(engine, "commit", broken)
    [attempt] = look.attempts(engine, name)
    assert attempt.outcome == {"finish": "done", "fail": "failed"}[ends]
