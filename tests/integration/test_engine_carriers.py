"""Carriers: threads that wait for one piece at a time, and for a server that has stopped answering."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migratekit_core.engine.job import Checkpoint, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import MIB, Server, same, unlike
from tests.integration.test_engine_stop import INTERRUPTED, engine, nbdkit

SIZE = 48 * MIB
RATE = 12 * MIB


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A random source, and a target full of something else."""
    return unlike(tmp_path, SIZE)


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Have a server answer nothing, and keep its connections."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_stop_waits_for_no_carrier(images: Path, which: str) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        with engine(Job("a disk", here.uri, there.uri, SIZE, True, rate=RATE, carriers=2)) as copying:
            progress = next(event for event in copying.events() if isinstance(event, Progress))
            assert progress.carriers == 2
            with frozen(here if which == "source" else there):
                threading.Event().wait(0.5)
                code, events = copying.stop(signal.SIGTERM)
        assert code == INTERRUPTED
        position = max((event.position for event in events if isinstance(event, Checkpoint)), default=0)
        copy(Job("a disk", here.uri, there.uri, SIZE, True, start=position), [(0, SIZE)], print, Engines())
    same(images / "target.img", images / "source.img")


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_server_that_pauses_only_delays(images: Path, which: str) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        server, thaw = (here if which == "source" else there), threading.Event()
        events: list[Event] = []

        def observe(event: Event) -> None:
            events.append(event)
            if isinstance(event, Progress) and not thaw.is_set():
                thaw.set()
                os.kill(server.pid, signal.SIGSTOP)
                threading.Timer(3, os.kill, (server.pid, signal.SIGCONT)).start()

        done = copy(
            Job("a disk", here.uri, there.uri, SIZE, True, rate=RATE, carriers=2), [(0, SIZE)], observe, Engines()
        )
    same(images / "target.img", images / "source.img")
    assert done.retries == 0
    progress = [event for event in events if isinstance(event, Progress)]
    assert any(event.rate == 0 for event in progress), "it went on telling"


def test_carriers_take_over_again_after_trouble(images: Path) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        killed: list[int] = []
        events: list[Event] = []

        def observe(event: Event) -> None:
            events.append(event)
            if isinstance(event, Progress) and not killed:
                killed.append(event.done)
                there.kill()
                there.start()

        job = Job("a disk", here.uri, there.uri, SIZE, True, rate=RATE, carriers=2)
        done = copy(job, [(0, SIZE)], observe, Engines())
    assert 0 < killed[0] < SIZE and done.retries > 0
    assert [event.carriers for event in events if isinstance(event, Progress)][-1] == 2
    same(images / "target.img", images / "source.img")


FAR = ("delay", "wdelay=20ms")


def test_carriers_serve_a_far_target_too_with_more_on_its_way(tmp_path: Path) -> None:
    images = unlike(tmp_path, 240 * MIB)
    # Runs of zeros amid the data, too.
    with (images / "source.img").open("r+b") as file:
        for place in range(0, 240 * MIB, 5 * MIB):
            file.seek(place)
            file.write(bytes(256 * 1024))
    events: list[Event] = []
    with nbdkit(images, "source") as here, nbdkit(images, "target", *FAR) as there:
        done = copy(
            Job("a disk", here.uri, there.uri, 240 * MIB, True, carriers=2), [(0, 240 * MIB)], events.append, Engines()
        )
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.connections > 3 and last.window > 8 * MIB
    assert any(event.carriers for event in events if isinstance(event, Progress))
    assert (done.read, done.retries, done.zeroed) == (240 * MIB, 0, 48 * 256 * 1024)
    same(images / "target.img", images / "source.img")


@pytest.mark.parametrize("signalled", ["server", "engine"])
def test_what_was_on_its_way_to_a_far_target_is_written_again_after_a_kill(images: Path, signalled: str) -> None:
    job = Job("a disk", "", "", SIZE, True, rate=RATE, carriers=2)
    with nbdkit(images, "source") as here, nbdkit(images, "target", *FAR) as there:
        job = job._replace(source=here.uri, target=there.uri)
        with engine(job) as copying:
            events = copying.events()
            progress = next(event for event in events if isinstance(event, Progress) and event.done > 20 * MIB)
            # Those that began before it was known how far it is have given way.
            assert progress.window > 8 * MIB
            if signalled == "server":
                there.kill()
                there.start()
                rest = list(events)
                assert copying.process.wait(60) == 0
                assert max(event.retries for event in rest if isinstance(event, Progress)) > 0
            else:
                copying.process.kill()
                rest = list(events)
                position = max((event.position for event in rest if isinstance(event, Checkpoint)), default=0)
                done = copy(job._replace(start=position, rate=None), [(0, SIZE)], print, Engines())
                assert done.read == SIZE - position
    same(images / "target.img", images / "source.img")


def test_one_connection_is_enough_for_the_loop_only(images: Path) -> None:
    """Where a flush covers its own connection only, nobody else may write."""
    events: list[Event] = []
    with nbdkit(images, "source") as here, nbdkit(images, "target", "multi-conn", "multi-conn-mode=disable") as there:
        copy(Job("a disk", here.uri, there.uri, SIZE, True, carriers=2), [(0, SIZE)], events.append, Engines())
    assert {event.carriers for event in events if isinstance(event, Progress)} == {0}
    same(images / "target.img", images / "source.img")


def test_a_rate_that_is_set_holds_for_carriers(images: Path) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        job = Job("a disk", here.uri, there.uri, SIZE, True, rate=16 * MIB, carriers=2)
        done = copy(job, [(0, SIZE)], print, Engines())
    assert done.seconds >= SIZE / (16 * MIB) * 0.9


def test_a_rate_that_decides_anyway_keeps_carriers_away(images: Path) -> None:
    events: list[Event] = []
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        copy(Job("a disk", here.uri, there.uri, SIZE, True, rate=RATE), [(0, SIZE)], events.append, Engines())
    assert {event.carriers for event in events if isinstance(event, Progress)} == {0}


def test_a_server_that_takes_no_more_connections_only_has_less_of_them(images: Path, carriers: int) -> None:
    """Who was never let in has taken nothing with it: nothing is written again."""
    # One that asks for extents, and one that writes: the loop wants two, and carriers three.
    with nbdkit(images, "source") as here, nbdkit(images, "target", "limit", "limit=2") as there:
        job = Job("a disk", here.uri, there.uri, SIZE, True, rate=RATE, carriers=carriers)
        done = copy(job, [(0, SIZE)], print, Engines())
    assert (done.retries, done.read) == (0, SIZE)
    same(images / "target.img", images / "source.img")
