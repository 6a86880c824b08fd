"""What a copy withstands of its servers: one that is told to end, one whose answers lack a part, one whose blocks are
larger than it says, one that comes late."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError
from migratekit_core.common.units import MIB
from migratekit_core.engine import exchange
from migratekit_core.engine.job import Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.hostile.nbd_double import Double
from tests.integration.servers import Server, same, unlike
from tests.lab.noise import noise

SIZE = 8 * MIB


def nbdkit(folder: Path, name: str, *more: str) -> Server:
    socket = folder / f"{name}.sock"
    return Server(socket, "nbdkit", "-f", "-U", str(socket), *more, "file", str(folder / f"{name}.img"))


@pytest.fixture(params=[0, 2], ids=["loop", "carriers"])
def carriers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


def test_an_exporter_that_is_told_to_end_and_comes_back(tmp_path: Path, carriers: int) -> None:
    """SIGTERM, as a stop of its unit sends it: nbdkit answers what is on its way with ESHUTDOWN."""
    unlike(tmp_path, SIZE)
    with nbdkit(tmp_path, "source", "-r") as here, nbdkit(tmp_path, "target") as there:
        ended: list[int] = []

        def observe(event: Event) -> None:
            if isinstance(event, Progress) and len(ended) < 2:
                ended.append(event.done)
                assert there.process is not None
                there.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    # It waits for whoever is connected and asks nothing; its unit would kill it then.
                    there.process.wait(1)
                there.kill()
                there.start()

        job = Job("test disk", here.uri, there.uri, SIZE, True, rate=4 * MIB, carriers=carriers)
        done = copy(job, [(0, SIZE)], observe, Engines())
    assert ended and ended[0] < SIZE
    assert done.total == SIZE
    same(tmp_path / "target.img", tmp_path / "source.img")


def test_a_flush_that_is_answered_with_shutdown_is_a_lost_connection(tmp_path: Path) -> None:
    unlike(tmp_path, SIZE)
    target = Double(bytearray(SIZE), shutdowns=2)
    with nbdkit(tmp_path, "source", "-r") as here, target.serving(tmp_path / "target.sock") as there:
        copy(Job("test disk", here.uri, there, SIZE, True), [(0, SIZE)], lambda event: None, Engines())
    assert target.shutdowns == 0
    assert target.disk == (tmp_path / "source.img").read_bytes()


def test_an_answer_that_lacks_a_part_is_an_error(tmp_path: Path, carriers: int) -> None:
    (tmp_path / "target.img").write_bytes(bytes(MIB))
    source = Double(bytearray(noise(1, MIB)), missing=512)
    with source.serving(tmp_path / "source.sock") as here, nbdkit(tmp_path, "target") as there:
        job = Job("test disk", here, there.uri, MIB, False, carriers=carriers)
        with pytest.raises(OperationFailedError) as caught:
            copy(job, [(0, MIB)], lambda event: None, Engines())
    assert caught.value.code is ErrorCode.DISK_READ_FAILED
    assert caught.value.facts["offset"] == 0
    assert not any((tmp_path / "target.img").read_bytes()), "nothing of it was written"


def test_a_probe_s_answer_that_lacks_a_part_is_an_error(tmp_path: Path) -> None:
    with Double(bytearray(noise(1, MIB)), missing=1).serving(tmp_path / "s.sock") as uri:
        with pytest.raises(MigrateKitError) as caught:
            exchange.read(uri, [(0, 4096)], "probe", 20)
    assert caught.value.code is ErrorCode.DISK_READ_FAILED


@pytest.mark.parametrize("full", [True, False], ids=["full", "changes"])
def test_blocks_of_4_kib_that_the_exporter_does_not_tell(tmp_path: Path, carriers: int, full: bool) -> None:
    """A 4Kn device under a disk of 512-byte sectors: its last block, and zeros within one."""
    size = MIB + 5 * 512
    content = bytearray(noise(2, size))
    content[300 * 512 : 700 * 512] = bytes(400 * 512)
    (tmp_path / "source.img").write_bytes(content)
    target = Double(bytearray(noise(3, 2 * MIB)), block=4096)
    areas = [(512, 3 * 512), (299 * 512, 500 * 512), (size - 512, 512)]
    with nbdkit(tmp_path, "source", "-r") as here, target.serving(tmp_path / "target.sock") as there:
        copy(Job("test disk", here.uri, there, size, full, carriers=carriers), areas, lambda event: None, Engines())
    assert target.refused == []
    for offset, length in areas:
        assert target.disk[offset : offset + length] == content[offset : offset + length]


def test_extents_of_no_bytes_end_nowhere(tmp_path: Path) -> None:
    (tmp_path / "target.img").write_bytes(bytes(MIB))
    source = Double(bytearray(noise(1, MIB)), empty_extents=True)
    with source.serving(tmp_path / "source.sock") as here, nbdkit(tmp_path, "target") as there:
        copy(Job("test disk", here, there.uri, MIB, True), [(0, MIB)], lambda event: None, Engines())
    assert (tmp_path / "target.img").read_bytes() == source.disk


def test_a_target_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    unlike(tmp_path, MIB)
    with nbdkit(tmp_path, "source", "-r") as here, nbdkit(tmp_path, "target") as there:
        assert there.process is not None
        there.process.kill()
        there.process.wait()
        # It is there, and nobody listens, as when an exporter is being started anew.
        copied = threading.Event()

        def late() -> None:
            time.sleep(1.5)
            there.start()
            # In the foreground nbdkit ends with the thread that started it.
            copied.wait(90)

        starter = threading.Thread(target=late)
        starter.start()
        job = Job("test disk", here.uri, there.uri, MIB, True, patience=60)
        try:
            copy(job, [(0, MIB)], lambda event: None, Engines())
        finally:
            copied.set()
            starter.join()
    same(tmp_path / "target.img", tmp_path / "source.img")


def test_a_target_that_never_comes_is_not_waited_for_longer_than_that(tmp_path: Path) -> None:
    unlike(tmp_path, MIB)
    with nbdkit(tmp_path, "source", "-r") as here, nbdkit(tmp_path, "target") as there:
        assert there.process is not None
        there.process.kill()
        there.process.wait()
        began = time.monotonic()
        with pytest.raises(MigrateKitError) as caught:
            copy(
                Job("test disk", here.uri, there.uri, MIB, True, patience=0.5),
                [(0, MIB)],
                lambda event: None,
                Engines(),
            )
    assert caught.value.code is ErrorCode.NBD_UNREACHABLE
    assert time.monotonic() > began
