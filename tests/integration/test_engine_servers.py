"""The engine against every kind of server: what they cannot do changes how it copies, never what arrives."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.units import GIB
from migratekit_core.engine.extents import UNASKED
from migratekit_core.engine.job import Checkpoint, Event, Job
from migratekit_core.engine.process import Engines, copy
from tests.coded import raises
from tests.integration.servers import KIB, MIB, ROOM, SIZE, dirty, disk, run, serving, source, target
from tests.lab.noise import noise

SERVERS = ["nbdkit", "nbd-server", "qemu-nbd", "qemu-storage-daemon"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_full_copy_is_identical_and_leaves_zeros_behind_the_disk(tmp_path: Path, kind: str, carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    with source(tmp_path) as here, target(tmp_path, kind) as there:
        done, events = run(here, there, [(0, SIZE)], full=True, carriers=carriers)
    found = (tmp_path / "target.img").read_bytes()
    assert found[:SIZE] == content
    assert found[SIZE:].count(0) == ROOM - SIZE
    assert done.total == SIZE and done.retries == 0
    assert [event for event in events if isinstance(event, Checkpoint)][-1].position >= SIZE


@pytest.mark.parametrize("kind", SERVERS)
def test_an_incremental_copy_touches_the_changed_areas_only(tmp_path: Path, kind: str, carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    before = (tmp_path / "target.img").read_bytes()
    # Unsorted, overlapping, touching, and the disk's odd end.
    areas = [
        (10 * MIB, 300 * KIB),
        (64 * KIB, 64 * KIB),
        (128 * KIB, 64 * KIB),
        (10 * MIB + KIB, 512),
        (SIZE - 512, 512),
    ]
    with source(tmp_path) as here, target(tmp_path, kind) as there:
        run(here, there, areas, full=False, carriers=carriers)
    expected = bytearray(before)
    for offset, length in areas:
        expected[offset : offset + length] = content[offset : offset + length]
    assert (tmp_path / "target.img").read_bytes() == bytes(expected)


@pytest.mark.parametrize(
    "filters",
    [
        ["nozero"],
        ["noextents"],
        ["multi-conn", "multi-conn-mode=disable"],
        ["blocksize-policy", "blocksize-minimum=4096", "blocksize-error-policy=error"],
        ["blocksize-policy", "blocksize-maximum=65536", "blocksize-error-policy=error"],
        ["nozero", "multi-conn", "multi-conn-mode=disable", "blocksize-policy", "blocksize-minimum=4096"],
    ],
    ids=lambda filters: "+".join(filters),
)
def test_a_target_that_can_do_less(tmp_path: Path, filters: list[str], carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    with source(tmp_path) as here, target(tmp_path, "nbdkit", *filters) as there:
        run(here, there, [(0, SIZE)], full=True, carriers=carriers)
    found = (tmp_path / "target.img").read_bytes()
    assert found[:SIZE] == content
    assert found[SIZE:].count(0) == ROOM - SIZE


@pytest.mark.parametrize("filters", [["noextents"], ["noparallel"], ["blocksize-policy", "blocksize-minimum=512"]])
def test_a_source_that_can_do_less(tmp_path: Path, filters: list[str], carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    with source(tmp_path, *filters) as here, target(tmp_path, "nbdkit") as there:
        run(here, there, [(0, SIZE)], full=True, carriers=carriers)
    assert (tmp_path / "target.img").read_bytes()[:SIZE] == content


def test_what_reads_as_zeros_on_both_sides_costs_nothing(tmp_path: Path) -> None:
    size = 8 * GIB
    for name in ("source.img", "target.img"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with source(tmp_path) as here, target(tmp_path, "nbdkit") as there:
        done = copy(Job("a disk", here, there, size, True), [(0, size)], lambda event: None, Engines())
    assert done.written == 0
    # What is read before the source has said that there is nothing to read.
    assert done.read == done.zeroed <= UNASKED
    assert done.total == size
    assert (tmp_path / "target.img").stat().st_blocks == 0


def test_zeros_that_are_written_on_the_source_cross_as_zero_requests(tmp_path: Path, carriers: int) -> None:
    (tmp_path / "source.img").write_bytes(os.urandom(8 * MIB) + bytes(SIZE - 8 * MIB))
    dirty(tmp_path / "target.img")
    with source(tmp_path, "noextents") as here, target(tmp_path, "nbdkit") as there:
        done, _ = run(here, there, [(0, SIZE)], full=True, carriers=carriers)
    assert done.read == SIZE
    assert done.written == 8 * MIB
    assert (tmp_path / "target.img").read_bytes()[:SIZE] == (tmp_path / "source.img").read_bytes()


def test_errors_that_pass_are_tried_again(tmp_path: Path, carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    with source(tmp_path, "noextents", "error", "error-pread-rate=10%", "error-pread=EIO") as here:
        with target(tmp_path, "nbdkit", "error", "error-pwrite-rate=2%", "error-zero-rate=2%") as there:
            done, _ = run(here, there, [(0, SIZE)], full=True, request_size=256 * KIB, carriers=carriers)
    assert done.retries > 0
    assert (tmp_path / "target.img").read_bytes()[:SIZE] == content


def test_a_read_error_that_stays_names_disk_offset_and_length(tmp_path: Path, carriers: int) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    broken = tmp_path / "broken"
    broken.touch()
    with source(tmp_path, "noextents", "error", "error-pread-rate=100%", f"error-pread-file={broken}") as here:
        with target(tmp_path, "nbdkit") as there, pytest.raises(OperationFailedError) as caught:
            run(here, there, [(MIB, MIB)], full=False, carriers=carriers)
    assert "1048576 bytes at offset 1048576 of test disk could not be read" in caught.value.what
    assert "EIO" in caught.value.why


def test_a_write_error_that_stays_names_disk_offset_and_length(tmp_path: Path, carriers: int) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    with source(tmp_path, "noextents") as here:
        with target(tmp_path, "nbdkit", "error", "error-pwrite-rate=100%", "error-zero-rate=100%") as there:
            with pytest.raises(OperationFailedError) as caught:
                run(here, there, [(2 * MIB, 512 * KIB)], full=False, carriers=carriers)
    assert "524288 bytes at offset 2097152 of test disk could not be written" in caught.value.what


def test_no_space_on_the_target_is_no_reason_to_try_again(tmp_path: Path, carriers: int) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    full = ["error", "error-pwrite-rate=100%", "error-pwrite=ENOSPC", "error-zero-rate=100%", "error-zero=ENOSPC"]
    with source(tmp_path, "noextents") as here, target(tmp_path, "nbdkit", *full) as there:
        with raises(OperationFailedError, ErrorCode.NO_SPACE) as caught:
            run(here, there, [(0, SIZE)], full=False, carriers=carriers)
    assert "free space" in str(caught.value.todo)


def test_a_flush_that_fails_is_no_success(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    # nbdkit's error filter leaves flush alone, so the plugin itself refuses it.
    script = tmp_path / "plugin.sh"
    script.write_text(
        f"""#!/bin/sh
case "$1" in
  thread_model) echo serialize_all_requests ;;
  can_write|can_flush) exit 0 ;;
  get_size) echo {ROOM} ;;
  pread) head -c "$3" /dev/zero ;;
  pwrite) cat >/dev/null ;;
  flush) echo 'EIO the cache was lost' >&2; exit 1 ;;
  *) exit 2 ;;
esac
"""
    )
    script.chmod(0o755)
    socket = tmp_path / "target.sock"
    with (
        source(tmp_path) as here,
        serving("nbdkit", "-f", "-U", str(socket), "sh", str(script), socket=socket) as there,
    ):
        with raises(OperationFailedError, ErrorCode.DISK_WRITE_FAILED):
            run(here, there, [(0, MIB)], full=False)


@pytest.mark.parametrize("size", [SIZE - 512, MIB])
def test_a_target_that_is_too_small(tmp_path: Path, size: int) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img", size)
    with source(tmp_path) as here, target(tmp_path, "nbdkit") as there:
        with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH):
            run(here, there, [(0, SIZE)], full=True)


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    socket = tmp_path / "target.sock"
    command = ["nbdkit", "-f", "-r", "-U", str(socket), "file", str(tmp_path / "target.img")]
    with source(tmp_path) as here, serving(*command, socket=socket) as there:
        with raises(PreconditionError, ErrorCode.TARGET_UNFIT):
            run(here, there, [(0, SIZE)], full=True)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    with source(tmp_path) as here, pytest.raises(UnreachableError) as caught:
        run(here, f"nbd+unix:///?socket={tmp_path}/nobody.sock", [(0, SIZE)], full=True)
    assert "target of test disk" in caught.value.what


def test_a_copy_goes_on_from_a_checkpoint(tmp_path: Path, carriers: int) -> None:
    content = disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    before = (tmp_path / "target.img").read_bytes()
    with source(tmp_path) as here, target(tmp_path, "nbdkit") as there:
        run(here, there, [(0, SIZE)], full=True, start=10 * MIB, carriers=carriers)
    found = (tmp_path / "target.img").read_bytes()
    assert found[: 10 * MIB] == before[: 10 * MIB]
    assert found[10 * MIB : SIZE] == content[10 * MIB :]
    assert found[SIZE:].count(0) == ROOM - SIZE


def test_a_connection_that_is_cut_in_the_middle_loses_nothing(tmp_path: Path, carriers: int) -> None:
    content = disk(tmp_path / "source.img", 5)
    dirty(tmp_path / "target.img")
    socket = tmp_path / "target.sock"
    command = ["nbdkit", "-f", "-U", str(socket), "--filter=delay", "file", str(tmp_path / "target.img"), "wdelay=20ms"]
    with source(tmp_path, "noextents") as here:
        servers = [subprocess.Popen(command)]
        while not socket.exists():
            time.sleep(0.01)
        cuts: list[float] = []

        def cut(event: Event) -> None:
            # nbdkit is killed twice, and comes back after a moment.
            if len(cuts) < 2:
                cuts.append(time.monotonic())
                servers[-1].kill()
                servers[-1].wait()
                socket.unlink()
                time.sleep(0.3)
                servers.append(subprocess.Popen(command))

        job = Job("test disk", here, f"nbd+unix:///?socket={socket}", SIZE, True, request_size=64 * KIB, connections=2,
                  window=256 * KIB, rate=8 * MIB, carriers=carriers)  # fmt: skip
        try:
            done = copy(job, [(0, SIZE)], cut, Engines())
        finally:
            servers[-1].terminate()
            servers[-1].wait()
    assert len(cuts) == 2
    assert done.retries > 0
    assert (tmp_path / "target.img").read_bytes()[:SIZE] == content


def test_an_error_of_the_engine_arrives_as_its_class(tmp_path: Path) -> None:
    with pytest.raises(MigrateKitError) as caught:
        run("nbd://127.0.0.1:1/none", "nbd://127.0.0.1:1/none", [], full=True)
    assert caught.value.exit_code == 6
    assert caught.value.todo


def test_a_flush_that_is_refused_on_the_way_ends_the_copy(tmp_path: Path, carriers: int) -> None:
    """A later flush may succeed without what the refused one has lost, so it must not count."""
    with (tmp_path / "source.img").open("wb") as file:
        file.write(noise(3, 80 * MIB))
    state, script, socket = tmp_path / "refused", tmp_path / "plugin.sh", tmp_path / "target.sock"
    script.write_text(
        f"""#!/bin/sh
case "$1" in
  thread_model) echo serialize_all_requests ;;
  can_write|can_flush|can_multi_conn) exit 0 ;;
  get_size) echo {80 * MIB} ;;
  pread) head -c "$3" /dev/zero ;;
  pwrite) cat >/dev/null ;;
  flush) [ -e {state} ] && exit 0; touch {state}; echo 'EIO a thin pool is full' >&2; exit 1 ;;
  *) exit 2 ;;
esac
"""
    )
    script.chmod(0o755)
    with (
        source(tmp_path) as here,
        serving("nbdkit", "-f", "-U", str(socket), "sh", str(script), socket=socket) as there,
    ):
        job = Job("test disk", here, there, 80 * MIB, full=False, request_size=4 * MIB, carriers=carriers)
        with raises(OperationFailedError, ErrorCode.DISK_WRITE_FAILED):
            copy(job, [(0, 80 * MIB)], lambda event: None, Engines())


def test_a_target_that_cannot_flush_is_refused(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    dirty(tmp_path / "target.img")
    script, socket = tmp_path / "plugin.sh", tmp_path / "target.sock"
    answers = f"get_size) echo {ROOM} ;; can_write) exit 0 ;; can_flush) exit 3 ;; *) exit 2 ;;"
    script.write_text(f'#!/bin/sh\ncase "$1" in {answers} esac\n')
    script.chmod(0o755)
    with (
        source(tmp_path) as here,
        serving("nbdkit", "-f", "-U", str(socket), "sh", str(script), socket=socket) as there,
    ):
        with raises(PreconditionError, ErrorCode.TARGET_UNFIT):
            run(here, there, [(0, MIB)], full=False)
