"""Both exporters by the same tests: names, handshakes, removal, crashes, and copies that notice nothing of it all."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import nbd
import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.config.schema import Daemon
from migratekit_core.engine.job import Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from migratekit_core.joblog.process import started
from migratekit_core.volumed.daemon.exports.choose import exporter_of
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.names import export_name
from tests.coded import raises
from tests.integration.servers import serving
from tests.integration.support import MIB, eventually
from tests.lab.parts.process import choose_port

SIZE = 4 * MIB
COPY = 16 * MIB


@pytest.fixture(params=["nbdkit", "nbd-server"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Daemon:
    return Daemon(
        token_file=tmp_path / "token",
        device_dir=tmp_path,
        state_dir=tmp_path / "state",
        nbd_port=choose_port(None),
        exporter=request.param,
    )


@pytest.fixture
def exporter(settings: Daemon) -> Iterator[Exporter]:
    """An exporter that runs; nothing of it is left afterwards."""
    settings.state_dir.mkdir(mode=0o700)
    made = exporter_of(settings)
    made.start()
    yield made
    made.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", settings.nbd_port), timeout=5)


def device(folder: Path, name: str = "device", size: int = SIZE) -> Path:
    """Return what udev makes of a disk: a link to it."""
    path = folder / f"{name}.img"
    path.touch()
    os.truncate(path, size)
    link = folder / f"virtio-{name}"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def client(port: int, name: str) -> Any:
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_tcp("127.0.0.1", str(port))
    return handle


def gone(port: int, name: str) -> None:
    with pytest.raises(nbd.Error):
        client(port, name)


def server_pid(settings: Daemon) -> int:
    return int((settings.state_dir / f"{settings.exporter}.pid").read_text().split()[0])


def test_an_export_is_the_device_and_can_be_taken_back(exporter: Exporter, tmp_path: Path) -> None:
    link = device(tmp_path)
    for name in ("migration-a-1-00000001", "migration-a-1-00000002"):
        exporter.add(name, link)
        exporter.add(name, link)
        exporter.prove(name, SIZE)
        handle = client(exporter.port, name)
        assert handle.can_multi_conn()
        assert handle.can_flush()
        assert not handle.is_read_only()
        handle.pwrite(name.encode(), 512)
        handle.flush()
        assert exporter.clients(link.resolve()) == 1
        handle.shutdown()
        with link.open("rb") as file:
            file.seek(512)
            assert file.read(len(name)) == name.encode()
        eventually("the connection is not counted any more", lambda: exporter.clients(link.resolve()) == 0, 10)
        exporter.remove(name)
        exporter.remove(name)
        gone(exporter.port, name)
        assert exporter.names() == []


def test_an_export_of_the_wrong_size_is_not_proven(exporter: Exporter, tmp_path: Path) -> None:
    exporter.add("migration-a-1-00000001", device(tmp_path))
    with pytest.raises(OperationFailedError) as caught:
        exporter.prove("migration-a-1-00000001", SIZE + 512)
    assert caught.value.why == f"{SIZE} bytes instead of {SIZE + 512}"
    with raises(OperationFailedError, ErrorCode.EXPORT_BROKEN):
        exporter.prove("migration-a-1-00000002", SIZE)


def test_without_the_exact_name_there_is_nothing(exporter: Exporter, tmp_path: Path) -> None:
    name = export_name("web01", "2000")
    exporter.add(name, device(tmp_path))
    exporter.prove(name, SIZE)
    asked = ["", "none", ".none", ".", "..", name[:-1], name.upper(), f"./{name}", f"exports/{name}", f"{name} ", "*"]
    for wrong in asked:
        gone(exporter.port, wrong)
    listed = subprocess.run(
        ["nbdinfo", "--list", f"nbd://127.0.0.1:{exporter.port}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "migration" not in listed.stdout + listed.stderr
    exporter.prove(name, SIZE)


def test_a_removed_export_keeps_its_connections_and_takes_no_new_ones(exporter: Exporter, tmp_path: Path) -> None:
    name, link = "migration-a-1-00000001", device(tmp_path)
    exporter.add(name, link)
    handle = client(exporter.port, name)
    exporter.remove(name)
    gone(exporter.port, name)
    assert exporter.clients(link.resolve()) == 1
    handle.pwrite(b"still", 0)
    exporter.add(name, link)
    exporter.prove(name, SIZE)
    handle.pwrite(b"here", 8)
    handle.shutdown()


def test_a_removed_export_does_not_come_back_with_the_server(
    exporter: Exporter, settings: Daemon, tmp_path: Path
) -> None:
    exporter.add("migration-a-1-00000001", device(tmp_path, "one"))
    exporter.add("migration-a-2-00000002", device(tmp_path, "two"))
    exporter.remove("migration-a-1-00000001")
    killed = server_pid(settings)
    os.kill(killed, signal.SIGKILL)
    eventually("it is dead", lambda: not started(killed), 10)
    exporter.start()
    gone(exporter.port, "migration-a-1-00000001")
    exporter.prove("migration-a-2-00000002", SIZE)


def test_a_killed_server_is_brought_back_with_all_its_exports(
    exporter: Exporter, settings: Daemon, tmp_path: Path
) -> None:
    names = [f"migration-a-{number}-0000000{number}" for number in range(5)]
    for name in names:
        exporter.add(name, device(tmp_path, name))
    stopping = threading.Event()
    watcher = threading.Thread(target=exporter.watch, args=(stopping,))
    watcher.start()
    try:
        killed = server_pid(settings)
        os.kill(killed, signal.SIGKILL)
        eventually("another one serves", lambda: server_pid(settings) != killed and proven(exporter, names), 60)
    finally:
        stopping.set()
        watcher.join()


def proven(exporter: Exporter, names: list[str]) -> bool:
    with suppress(OperationFailedError):
        for name in names:
            exporter.prove(name, SIZE)
        return True
    return False


def test_the_next_daemon_adopts_the_server_with_its_exports(
    exporter: Exporter, settings: Daemon, tmp_path: Path
) -> None:
    name, link = "migration-a-1-00000001", device(tmp_path)
    exporter.add(name, link)
    handle, pid = client(exporter.port, name), server_pid(settings)
    for forgotten in ([], [settings.state_dir / f"{settings.exporter}.pid"]):
        for path in forgotten:
            path.unlink()
        following = exporter_of(settings)
        following.start()
        assert server_pid(settings) == pid
        assert following.names() == [name]
        # Its proof of a round before may still be taking leave.
        alone = partial(following.clients, link.resolve())
        eventually("only ours is left", lambda seen=alone: seen() == 1, 20)
        following.add(name, link)
        following.prove(name, SIZE)
        assert server_pid(settings) == pid
    handle.pwrite(b"undisturbed", 0)
    handle.shutdown()


def test_a_port_that_is_taken_is_a_clear_error(settings: Daemon) -> None:
    settings.state_dir.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", settings.nbd_port)):
        with pytest.raises(OperationFailedError) as caught:
            exporter_of(settings).start()
    assert caught.value.what == f"the NBD exporter does not start on 127.0.0.1:{settings.nbd_port}"
    assert str(caught.value.todo) == "free the port or set daemon.nbd_port"
    exporter_of(settings).stop()


def test_it_listens_on_loopback_only_and_its_files_are_private(exporter: Exporter, settings: Daemon) -> None:
    shown = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, timeout=20, check=True).stdout
    listening = [line.split()[3] for line in shown.splitlines() if line.split()[3].endswith(f":{exporter.port}")]
    assert listening == [f"127.0.0.1:{exporter.port}"]
    for folder in ("exports", *(["nbd-server.d"] if settings.exporter == "nbd-server" else [])):
        assert (settings.state_dir / folder).stat().st_mode & 0o077 == 0


def test_a_client_that_never_chooses_an_export_does_not_hold_others_up(exporter: Exporter, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", exporter.port)) as silent:
        assert silent.recv(8) == b"NBDMAGIC"
        exporter.add("migration-a-1-00000001", device(tmp_path))
        exporter.prove("migration-a-1-00000001", SIZE)


def test_an_open_connection_notices_nothing_of_another_export(exporter: Exporter, tmp_path: Path) -> None:
    exporter.add("migration-a-1-00000001", device(tmp_path, "one"))
    handle = client(exporter.port, "migration-a-1-00000001")
    for number in range(3):
        name = f"migration-a-2-0000000{number}"
        exporter.add(name, device(tmp_path, name))
        exporter.prove(name, SIZE)
        handle.pwrite(bytes([number + 1]) * 512, number * 512)
        assert bytes(handle.pread(512, number * 512)) == bytes([number + 1]) * 512
        exporter.remove(name)
    handle.flush()
    handle.shutdown()


@pytest.mark.parametrize("settings", ["nbdkit", "nbd-server"], indirect=True)
def test_50_exports_come_and_go_while_4_copies_run(exporter: Exporter, settings: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(random.Random(4).randbytes(COPY))
    targets = [device(tmp_path, f"target{number}", COPY) for number in range(4)]
    names = [export_name("vm", str(number)) for number in range(4)]
    for name, target in zip(names, targets, strict=True):
        exporter.add(name, target)
    others = [(export_name("other", str(n)), device(tmp_path, f"other{n}")) for n in range(50)]
    reader = tmp_path / "source.sock"
    with (
        serving("nbdkit", "-f", "-r", "-U", str(reader), "file", str(source), socket=reader) as uri,
        ThreadPoolExecutor(len(others) + len(names)) as pool,
    ):
        events: list[list[Event]] = [[] for _ in names]
        copies = []
        for name, seen in zip(names, events, strict=True):
            to = f"nbd://127.0.0.1:{exporter.port}/{name}"
            job = Job(name, uri, to, COPY, full=True, connections=2, rate=3 * MIB)
            copies.append(pool.submit(copy, job, [(0, COPY)], seen.append, Engines()))
        connected = [2] * len(targets)
        eventually("all run", lambda: [exporter.clients(target.resolve()) for target in targets] == connected, 30)
        added = [pool.submit(exporter.add, *other) for other in others]
        wait(added, return_when=FIRST_COMPLETED)
        assert not any(copied.done() for copied in copies), "the copies ended too early to show anything"
        for adding in added:
            adding.result(timeout=60)
        for name, _ in others:
            exporter.prove(name, SIZE)
            exporter.remove(name)
        assert exporter.names() == sorted(names)
        for name, _ in others[::10]:
            gone(exporter.port, name)
        for copied in copies:
            copied.result(timeout=60)
    for seen in events:
        assert max(event.retries for event in seen if isinstance(event, Progress)) == 0
    for target in targets:
        assert target.read_bytes() == source.read_bytes()
