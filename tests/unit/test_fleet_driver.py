"""The driver with Dask's real scheduler and worker, in this process; machines take a moment and nothing else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.hints import Command
from migratekit_core.config.fleet import Fleet
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases, open_engine
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.wavestates import REPLICATED
from migratekit_core.services.fleet import dask, runs, work
from migratekit_core.services.fleet.child import Work
from migratekit_core.services.fleet.phases import RUN
from migratekit_core.services.fleet.process import Running
from migratekit_core.services.fleet.runs import Asked
from migratekit_core.services.fleet.site import SITES
from migratekit_core.services.waves import asks, look, store
from migratekit_core.services.waves.model import Limits, Machine, Wave
from tests.fleet.timed import BYTES_PER_SECOND, Timed

FLEET = Fleet(slots=4, lease=5.0, dashboard_port=18787)
SECONDS = 0.5


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    database = Database(directory=tmp_path)
    upgrade_both(open_databases(database))
    return open_engine(database, "oma")


def wave(name: str, most: int, count: int = 2) -> Wave:
    """Return a wave of machines on one host, which takes `most` of them at a time."""
    size = int(SECONDS * BYTES_PER_SECOND)
    machines = tuple(
        Machine(name=f"{name}{n}", uuid=f"{name}-{n}", host="esx1", data_bytes=size) for n in range(1, count + 1)
    )
    return Wave(name=name, machines=machines, limits=Limits(esxi_host=most))


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@contextmanager
def driving(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, launch: Callable[[Work], Running] = Timed
) -> Iterator[None]:
    """Have a driver at work within the block."""
    dask.load(FLEET)
    from migratekit_core.services.fleet import local

    monkeypatch.setattr(local, "MachineProcess", lambda work, options: launch(work))
    stop = threading.Event()
    with local.cluster(FLEET, engine, [], lambda message: None) as driver:
        thread = threading.Thread(target=driver.drive, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)


@pytest.mark.timeout(150)
def test_waves_with_the_same_limits_run_side_by_side_and_others_one_after_the_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    waves = {"one": wave("one", 1), "also": wave("also", 1), "other": wave("other", 2)}
    for each in waves.values():
        store.create(engine, each)
    seen = dict[str, int]()

    def busy(*names: str) -> int:
        return sum(len(look.snapshot(engine, name).of("running")) for name in names)

    with driving(engine, monkeypatch):
        runs.ask(engine, "one", Asked(RUN))
        until(lambda: busy("one") == 1)
        # Beside it, although it runs; the one host is shared.
        runs.ask(engine, "also", Asked(RUN))
        runs.ask(engine, "other", Asked(RUN))
        until(lambda: _note(engine, "other").startswith("waits for "))
        assert not _note(engine, "also").startswith("waits for ")

        def over() -> bool:
            seen["narrow"] = max(seen.get("narrow", 0), busy("one", "also"))
            seen["wide"] = max(seen.get("wide", 0), busy("other"))
            return all(_over(engine, name) for name in waves)

        until(over)
    for name in waves:
        assert set(look.snapshot(engine, name).counts) == {REPLICATED}
    # With the limit that the next wave has, not the one of the wave before.
    assert seen == {"narrow": 1, "wide": 2}


@pytest.mark.timeout(150)
def test_machines_take_as_many_places_of_their_oma_as_they_have_disks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wave("disks", 4, 6)
    made = replace(made, limits=replace(made.limits, oma_disks=13))
    # 7 and 6 of 13 go together, twice 7 do not.
    machines = tuple(replace(each, disks=7 if number % 2 else 6) for number, each in enumerate(made.machines))
    store.create(engine, replace(made, machines=machines))
    most = 0

    def over() -> bool:
        nonlocal most
        running = {each.vm_id for each in look.snapshot(engine, "disks").of("running")}
        most = max(most, sum(each.disks for each in machines if each.uuid in running))
        return _over(engine, "disks")

    with driving(engine, monkeypatch):
        runs.ask(engine, "disks", Asked(RUN))
        until(over)
    assert set(look.snapshot(engine, "disks").counts) == {REPLICATED}
    assert most in (12, 13), "two at a time, and never three"


@pytest.mark.timeout(150)
def test_a_machine_of_a_cancelled_wave_is_cancelled_and_not_given_back_where_its_worker_stops(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wave run` stops its worker when it sees that the wave was cancelled, which the worker may not have seen yet."""
    made = wave("gone", 1, 1)
    store.create(engine, replace(made, machines=(replace(made.machines[0], data_bytes=60 * BYTES_PER_SECOND),)))
    # No sign of life, and with it no word of the cancel, is due before the process has ended.
    monkeypatch.setattr(sys.modules[__name__], "FLEET", FLEET.model_copy(update={"lease": 600.0}))
    with driving(engine, monkeypatch):
        runs.ask(engine, "gone", Asked(RUN))
        until(lambda: len(look.snapshot(engine, "gone").of("running")) == 1)
        asks.cancel(engine, "gone")
        for site in list(SITES.values()):
            site.stopping.set()
        until(lambda: not look.snapshot(engine, "gone").of("running"))
    assert set(look.snapshot(engine, "gone").counts) == {"cancelled"}


@pytest.mark.timeout(150)
def test_a_machine_is_given_back_when_its_process_has_ended_and_not_before(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has to leave at once: whoever is given the machine then finds nobody beside it."""
    made = wave("left", 1, 1)
    # Long enough not to be over by itself.
    store.create(engine, replace(made, machines=(replace(made.machines[0], data_bytes=60 * BYTES_PER_SECOND),)))
    found: list[set[str]] = []

    class Watched(Timed):
        def kill(self) -> None:
            found.append(set(look.snapshot(engine, "left").counts))
            super().kill()

    with driving(engine, monkeypatch, Watched):
        runs.ask(engine, "left", Asked(RUN))
        until(lambda: bool(look.snapshot(engine, "left").of("running")))
        for site in list(SITES.values()):
            site.leaving.set()
        until(lambda: bool(found))
        assert found[0] == {"running"}
        until(lambda: set(look.snapshot(engine, "left").counts) == {"waiting"})


@pytest.mark.timeout(150)
def test_a_machine_whose_process_dies_again_and_again_fails_with_the_command_to_run_by_hand(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(Timed):
        def wait(self, seconds: float) -> bool:
            return True

    monkeypatch.setattr(work, "MOST_SETBACKS", 0)
    made = wave("dying", 1, 1)
    store.create(engine, replace(made, machines=(replace(made.machines[0], vcenter="west"),)))
    with driving(engine, monkeypatch, Dying):
        runs.ask(engine, "dying", Asked(RUN))
        until(lambda: bool(look.snapshot(engine, "dying").of("failed")))
    (machine,) = look.snapshot(engine, "dying").of("failed")
    assert machine.error is not None
    assert machine.error.code == ErrorCode.PROCESS_DIED
    (command,) = (part for part in machine.error.todo.parts if isinstance(part, Command))
    assert command.argv == ("migratekit", "--vcenter", "west", "--debug", "replicate", "dying1")


def _note(engine: Engine, name: str) -> str:
    found = runs.of(engine, name)
    return found.note if found is not None else ""


def _over(engine: Engine, name: str) -> bool:
    found = runs.of(engine, name)
    return found is not None and found.over
