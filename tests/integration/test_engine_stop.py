"""A stop ends an engine, whatever its servers are doing and however long that takes them; the next run goes on from
there. Servers hang for minutes here, an engine may take one to end: on the clock it is two seconds."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress, decode, write_job
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import MIB, Server, same, unlike

SIZE = 48 * MIB
UNKNOWN = 1024 * MIB
"""More than is read of a source that does not say what it has."""
PATIENCE = 60
"""Seconds that a stop may take, on a machine however loaded; servers hang for more than twice as long."""
INTERRUPTED = 130


class Engine:
    """An engine with its pipes in our hands."""

    def __init__(self, job: Job, areas: list[tuple[int, int]], whole: bool) -> None:
        command = [sys.executable, "-m", "migratekit_core.engine"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None, "it is a pipe"
        text = io.StringIO()
        write_job(text, job, areas)
        self.process.stdin.write(text.getvalue() if whole else text.getvalue().removesuffix("null\n"))
        self.process.stdin.flush()

    def ready(self) -> None:
        """Wait until it takes a SIGTERM for what it means; on a busy machine Python itself takes its time to start."""
        caught = Path(f"/proc/{self.process.pid}/status")
        wait_for(lambda: int(caught.read_text().split("SigCgt:")[1].split()[0], 16) & (1 << signal.SIGTERM - 1) != 0)

    def events(self) -> Iterator[Event]:
        """Yield what it says, until it says no more."""
        assert self.process.stdout is not None, "it is a pipe"
        for line in self.process.stdout:
            yield decode(line)

    def stop(self, number: int) -> tuple[int, list[Event]]:
        """Send a signal; return the exit code, and what else it said."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE), list(self.events())


@contextmanager
def engine(job: Job, areas: list[tuple[int, int]] | None = None, whole: bool = True) -> Iterator[Engine]:
    """Run an engine as long as the block; without `areas` for all of the disk. Not `whole`: more areas are to come."""
    made = Engine(job, areas or [(0, SIZE)], whole)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        for pipe in (made.process.stdin, made.process.stdout):
            assert pipe is not None, "both are pipes"
            pipe.close()


def nbdkit(folder: Path, name: str, *filters: str) -> Server:
    """Return an nbdkit for an image in `folder`."""
    listens = folder / f"{name}.sock"
    names = [f"--filter={item}" for item in filters if "=" not in item]
    return Server(listens, "nbdkit", "-f", "-U", str(listens), *names, "file", str(folder / f"{name}.img"),
                  *(item for item in filters if "=" in item))  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A random source, and a target full of something else."""
    return unlike(tmp_path, SIZE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_writes_a_checkpoint_that_the_next_run_goes_on_from(images: Path, number: int, carriers: int) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        with engine(Job("a disk", here.uri, there.uri, SIZE, True, rate=16 * MIB, carriers=carriers)) as copying:
            progress = next(event for event in copying.events() if isinstance(event, Progress))
            code, events = copying.stop(number)
        assert code == INTERRUPTED
        position = [event.position for event in events if isinstance(event, Checkpoint)][-1]
        assert position >= progress.done > 0, "what was done is kept"
        done = copy(
            Job("a disk", here.uri, there.uri, SIZE, True, start=position, carriers=carriers),
            [(0, SIZE)],
            print,
            Engines(),
        )
    assert done.read == SIZE - position
    same(images / "target.img", images / "source.img")


SLOW = {
    "writes": ((), ("delay", "wdelay=150")),
    "reads": (("noextents", "delay", "rdelay=150"), ()),
    "block status of the source": (("delay", "delay-extents=150"), ()),
    "block status of the target": ((), ("delay", "delay-extents=250")),
    "zeros": (("noextents",), ("delay", "delay-zero=150")),
    "connections": ((), ("delay", "delay-open=150")),
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_stop_waits_for_no_server(images: Path, slow: str, carriers: int) -> None:
    size = UNKNOWN if slow == "block status of the source" else SIZE
    if slow in ("zeros", "block status of the target", "block status of the source"):
        with (images / "source.img").open("wb") as file:
            file.truncate(size)
    with (images / "target.img").open("r+b") as file:
        file.truncate(size)
    with nbdkit(images, "source", *SLOW[slow][0]) as here, nbdkit(images, "target", *SLOW[slow][1]) as there:
        with engine(Job("a disk", here.uri, there.uri, size, True, carriers=carriers), [(0, size)]) as copying:
            copying.ready()
            time.sleep(0.5)
            code, _ = copying.stop(signal.SIGTERM)
    assert code == INTERRUPTED


def test_a_source_that_thinks_about_its_extents_is_read_meanwhile(images: Path, carriers: int) -> None:
    with nbdkit(images, "source", "delay", "delay-extents=250") as here, nbdkit(images, "target") as there:
        done = copy(Job("a disk", here.uri, there.uri, SIZE, True, carriers=carriers), [(0, SIZE)], print, Engines())
    assert done.read == SIZE
    same(images / "target.img", images / "source.img")


def test_a_stop_in_the_last_flush(images: Path) -> None:
    script = images / "plugin.sh"
    script.write_text(
        f"""#!/bin/sh
case "$1" in
  thread_model) echo parallel ;;
  can_write|can_flush|can_multi_conn) exit 0 ;;
  get_size) echo {SIZE} ;;
  pwrite) cat >/dev/null ;;
  flush) touch {images}/flushing; while test -e {images}/flushing; do sleep 0.1; done ;;
  *) exit 2 ;;
esac
"""
    )
    script.chmod(0o755)
    listens = images / "target.sock"
    with (
        nbdkit(images, "source") as here,
        Server(listens, "nbdkit", "-f", "-U", str(listens), "sh", str(script)) as there,
    ):
        with engine(Job("a disk", here.uri, there.uri, SIZE, False), [(0, MIB)]) as copying:
            wait_for((images / "flushing").exists)
            code, events = copying.stop(signal.SIGTERM)
        (images / "flushing").unlink()
    assert code == INTERRUPTED
    assert not any(isinstance(event, Done | Checkpoint) for event in events), "nothing that was not flushed is claimed"


def test_a_stop_before_a_server_has_said_anything(images: Path) -> None:
    listens = images / "target.sock"
    with socket.socket(socket.AF_UNIX) as silent, nbdkit(images, "source") as here:
        silent.bind(str(listens))
        silent.listen()
        with engine(Job("a disk", here.uri, f"nbd+unix:///?socket={listens}", SIZE, True)) as copying:
            client, _ = silent.accept()
            copying.ready()
            with client:
                code, _ = copying.stop(signal.SIGTERM)
    assert code == INTERRUPTED


def test_a_stop_while_the_areas_are_still_coming(images: Path) -> None:
    with nbdkit(images, "source") as here, nbdkit(images, "target") as there:
        with engine(Job("a disk", here.uri, there.uri, SIZE, False), whole=False) as copying:
            copying.ready()
            time.sleep(0.5)
            code, _ = copying.stop(signal.SIGTERM)
    assert code == INTERRUPTED


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
