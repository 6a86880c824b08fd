"""What a target has taken and not flushed is lost when it dies: it is written again, and is never more than 64 MiB."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.engine.job import Checkpoint, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import MIB, Server, same
from tests.lab.noise import noise

SIZE = 14 * MIB
LIMIT = 64 * MIB
"""What a crash may cost."""


def source(folder: Path, size: int) -> Server:
    """Write a random disk; return its server."""
    (folder / "source.img").write_bytes(noise(3, size))
    socket = folder / "source.sock"
    return Server(socket, "nbdkit", "-f", "-r", "-U", str(socket), "file", str(folder / "source.img"))


def forgetful(folder: Path, size: int, *filters: str) -> Server:
    """Return a server that keeps what is written in a cache of its own until it is flushed."""
    (folder / "target.img").write_bytes(noise(4, size))
    socket = folder / "target.sock"
    names = [f"--filter={item}" for item in filters if "=" not in item]
    settings = ["cache=writeback", *(item for item in filters if "=" in item)]
    command = ["nbdkit", "-f", "-U", str(socket), *names, "--filter=cache", "file", str(folder / "target.img")]
    return Server(socket, *command, *settings)


@pytest.mark.parametrize(
    "filters", [[], ["multi-conn", "multi-conn-mode=disable"]], ids=["multi-conn", "one connection"]
)
@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_an_exporter_that_dies_with_its_cache_and_comes_back(
    tmp_path: Path, filters: list[str], full: bool, carriers: int
) -> None:
    with source(tmp_path, SIZE) as here, forgetful(tmp_path, SIZE, *filters) as there:
        killed: list[int] = []

        def observe(event: Event) -> None:
            if isinstance(event, Progress) and not killed:
                killed.append(event.done)
                there.kill()
                there.start()

        job = Job("test disk", here.uri, there.uri, SIZE, full, rate=12 * MIB, carriers=carriers)
        done = copy(job, [(0, SIZE)], observe, Engines())
    assert 0 < killed[0] < SIZE, "killed in the middle"
    same(tmp_path / "target.img", tmp_path / "source.img")
    assert done.total == SIZE
    assert done.written >= SIZE + killed[0] // 2, "what was lost was sent again"


def scripted(folder: Path, size: int, flush: str) -> Server:
    """Return a server whose writes go to a file `cache`, and whose flush is a piece of shell."""
    script, socket = folder / "plugin.sh", folder / "target.sock"
    script.write_text(
        f"""#!/bin/sh
cd {folder}
case "$1" in
  thread_model) echo parallel ;;
  can_write|can_flush|can_multi_conn) exit 0 ;;
  get_size) echo {size} ;;
  pread) exit 1 ;;
  pwrite) dd of=cache bs=1M conv=notrunc oflag=seek_bytes seek=$4 status=none ;;
  flush) {flush} ;;
  *) exit 2 ;;
esac
"""
    )
    script.chmod(0o755)
    return Server(socket, "nbdkit", "-f", "-U", str(socket), "sh", str(script))


def test_an_exporter_that_dies_in_the_last_flush(tmp_path: Path, carriers: int) -> None:
    size, began = 4 * MIB, tmp_path / "began"
    flush = f"if [ -e {began} ]; then cp cache target.img; else touch {began}; sleep 5; fi"
    (tmp_path / "cache").touch()
    with source(tmp_path, size) as here, scripted(tmp_path, size, flush) as there:
        killed: list[int] = []

        def observe(event: Event) -> None:
            if isinstance(event, Progress) and began.exists() and not killed:
                killed.append(event.done)
                there.kill()
                (tmp_path / "cache").write_bytes(b"")
                there.start()

        copy(Job("test disk", here.uri, there.uri, size, False, carriers=carriers), [(0, size)], observe, Engines())
    assert killed == [size]
    same(tmp_path / "target.img", tmp_path / "source.img")


def test_no_more_than_64_mib_wait_for_a_flush_that_takes_long(tmp_path: Path, carriers: int) -> None:
    size, events = 112 * MIB, []
    (tmp_path / "cache").touch()
    with source(tmp_path, size) as here, scripted(tmp_path, size, "sleep 1.5") as there:
        copy(
            Job("test disk", here.uri, there.uri, size, False, carriers=carriers), [(0, size)], events.append, Engines()
        )
    position, waiting = 0, []
    for event in events:
        if isinstance(event, Checkpoint):
            position = event.position
        elif isinstance(event, Progress):
            waiting.append(event.done - position)
    assert 16 * MIB < max(waiting) <= LIMIT, "the copy goes on during a flush, but not for ever"
