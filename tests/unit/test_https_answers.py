"""What the https reader makes of each answer of a server: the file's bytes, or an error that names the remedy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbd
import pytest

from migratekit_core.adapters.readers import https
from migratekit_core.adapters.readers.model import Ask, Snapshot, UnfitError
from migratekit_core.adapters.readers.process import Said
from migratekit_core.adapters.readers.remote import https as remote
from migratekit_core.adapters.readers.remote import web
from migratekit_core.adapters.readers.remote.channel import FailedError, RefusedError
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    BusyError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.config.schema import VCenter
from migratekit_core.config.secret import SecretSource
from migratekit_core.config.source import Source
from tests.coded import raises
from tests.unit.folder_server import CONTENT, SECRET, SIZE, FolderServer, certificates, serving
from tests.unit.inventory import disk, machine

PASSWORD = "a-password-of-vcenter"
BAD = ErrorCode.BAD_ANSWER
AWAY = ErrorCode.VCENTER_UNREACHABLE
ERRORS: list[tuple[str, type[MigrateKitError], ErrorCode]] = [
    ("whole file", PreconditionError, ErrorCode.READER_UNFIT),
    ("login page", OperationFailedError, BAD),
    ("login page as part", OperationFailedError, BAD),
    ("redirect", OperationFailedError, BAD),
    ("403", AuthError, ErrorCode.VCENTER_PRIVILEGE_MISSING),
    ("401", AuthError, ErrorCode.SOURCE_LOGIN_REFUSED),
    ("404", OperationFailedError, ErrorCode.SOURCE_FILE_MISSING),
    ("410", OperationFailedError, BAD),
    ("416", OperationFailedError, ErrorCode.SIZE_MISMATCH),
    ("500", BusyError, ErrorCode.SOURCE_LOCKED),
    ("503", UnreachableError, AWAY),
    ("429", UnreachableError, AWAY),
    ("short and silent about it", OperationFailedError, BAD),
    ("other range", OperationFailedError, BAD),
    ("longer range", OperationFailedError, BAD),
    ("no range", OperationFailedError, BAD),
    ("other size", OperationFailedError, ErrorCode.SIZE_MISMATCH),
    ("endless", OperationFailedError, BAD),
    ("endless headers", OperationFailedError, BAD),
    ("no http", OperationFailedError, BAD),
    ("gzip", OperationFailedError, BAD),
    ("torn", UnreachableError, AWAY),
    ("cut", UnreachableError, AWAY),
    ("drip", UnreachableError, AWAY),
]
"""Of a server that always answers so."""
EXACT = ["good", "chunked", "short", "longer", "closing", "cut later", "interim", "late"]
"""What a server may do, and the bytes are right all the same."""
PASSING = ["500", "503", "torn", "cut", "no http", "endless headers"]
"""What is waited for."""


@dataclass
class Command:
    """The other end of the channel."""

    cookies: Iterator[str] = field(default_factory=lambda: iter([SECRET] * 100))
    asked: list[int] = field(default_factory=list)
    notes: list[Said] = field(default_factory=list)

    def want(self, kind: str, **about: int) -> dict[str, Any]:
        assert kind == "cookie"
        self.asked.append(about["ended"])
        found = next(self.cookies, None)
        if found is None:
            raise RefusedError("no session", again=False)
        return {"cookie": f'vmware_soap_session="{found}"'}

    def note(self, code: str, **facts: Any) -> None:
        self.notes.append(Said(code, facts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("https")
    certificates(made)
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.01))
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("P", PASSWORD)


@contextmanager
def opened(server: FolderServer, command: Any, patience: float = 0.3, **other: Any) -> Iterator[remote.Folder]:
    settings = {
        "host": "127.0.0.1",
        "port": server.port,
        "target": "/folder/web01/web01-flat.vmdk?dcPath=DC0&dsName=ds",
        "ca_file": str(server.folder / "ca.pem"),
        "size": SIZE,
        "patience": patience,
        **other,
    }
    found = remote.connect(command, settings)
    try:
        yield found
    finally:
        found.close()


def read(found: remote.Folder, offset: int = 0, length: int = SIZE) -> bytes:
    buffer = bytearray(length)
    found.read(memoryview(buffer), offset)
    return bytes(buffer)


def ask(server: FolderServer, notes: list[str] | None = None, patience: float = 0.3, **vcenter: Any) -> Ask:
    """Return what a command asks of the reader, with a session whose cookie the server takes."""
    known = {"ca_file": server.folder / "ca.pem", **vcenter}
    where = VCenter(host="127.0.0.1", port=server.port, user="u", password=SecretSource(env="P"), **known)
    cookie = f'vmware_soap_session="{SECRET}"; Path=/; HttpOnly; Secure'
    managed = SimpleNamespace(_stub=SimpleNamespace(cookie=cookie), runtime=SimpleNamespace(powerState="poweredOn"))
    snapshot = Snapshot(machine(datacenter="DC0"), "snapshot-1", lambda: nullcontext(managed))
    held = replace(disk(), capacity_bytes=SIZE)
    told = notes.append if notes is not None else (lambda line: None)
    return Ask(where, Source(patience=patience), snapshot, held, told, lambda: False)


def error_of(server: FolderServer, failed: FailedError) -> MigrateKitError:
    return https.explained(ask(server), "https://vc/folder/f", Said(failed.code, failed.facts))


@pytest.mark.parametrize(("kind", "error", "code"), ERRORS)
@pytest.mark.parametrize("good", [0, 1], ids=["at once", "later"])
def test_what_is_not_the_file_is_an_error(
    folder: Path, kind: str, error: type[MigrateKitError], code: ErrorCode, good: int
) -> None:
    with serving(folder, kind, good) as server:
        command = Command()
        with pytest.raises(FailedError) as caught, opened(server, command) as found:
            assert good, "it is open"
            read(found, 0, 2**20)
        with raises(error, code, url="https://vc/folder/f") as told:
            raise error_of(server, caught.value)
    if kind.isdigit():
        assert told.value.facts["status"] == int(kind)
    assert told.value.why
    assert str(told.value.todo)
    assert SECRET not in f"{caught.value} {told.value} {told.value.facts}"
    assert "a-token" not in f"{caught.value} {told.value} {told.value.facts}"


@pytest.mark.parametrize("kind", EXACT)
def test_what_a_server_may_do_changes_no_byte(folder: Path, kind: str) -> None:
    with serving(folder, kind) as server, opened(server, Command()) as found, ThreadPoolExecutor(4) as pool:
        assert found.size == SIZE
        assert read(found) == CONTENT
        parts = [(at, min(300_001, SIZE - at)) for at in range(0, SIZE, 300_001)]
        assert b"".join(pool.map(lambda part: read(found, *part), parts)) == CONTENT
        for request in server.seen:
            assert request.headers["accept-encoding"] == "identity"
            assert "authorization" not in request.headers


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_waited_for(folder: Path, kind: str) -> None:
    for good in (0, 1):
        with serving(folder, kind, good, 3) as server:
            command = Command()
            with opened(server, command, patience=60.0) as found:
                assert read(found) == CONTENT
            codes = [said.code for said in command.notes]
            assert codes == {"500": ["locked"], "503": ["unavailable"]}.get(kind, [])


def test_a_connection_is_kept_and_no_more_than_needed_are_opened(folder: Path) -> None:
    with serving(folder) as server, opened(server, Command()) as found, ThreadPoolExecutor(16) as pool:
        for at in range(0, SIZE, 2**18):
            read(found, at, min(2**18, SIZE - at))
        assert server.connections == 1
        server.kind = "late"
        assert list(pool.map(lambda at: read(found, at, 512) == CONTENT[at : at + 512], range(0, 2**17, 512)))
        assert 1 < server.connections <= remote.CONNECTIONS


def test_an_ended_session_is_renewed_once_for_all(folder: Path) -> None:
    with serving(folder) as server:
        command = Command(iter([SECRET, "the-next-one", "the-third"]))
        with opened(server, command) as found, ThreadPoolExecutor(8) as pool:
            for current in ("the-next-one", "the-third"):
                server.cookies = {current}
                assert b"".join(pool.map(lambda at: read(found, at, 512), range(0, 2**16, 512))) == CONTENT[: 2**16]
        assert command.asked == [0, 1, 2]


def test_a_session_that_cannot_be_renewed_has_the_commands_own_error(folder: Path) -> None:
    with serving(folder) as server, opened(server, Command(iter([SECRET]))) as found:
        server.cookies = set()
        with pytest.raises(FailedError) as caught:
            read(found, 0, 512)
        assert caught.value.code == "refused"


def test_a_disk_of_another_size_is_not_opened(folder: Path) -> None:
    with serving(folder) as server:
        with pytest.raises(FailedError) as caught, opened(server, Command(), size=SIZE - 512):
            raise AssertionError("it is open")
        with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH, size=SIZE, wanted=SIZE):
            raise error_of(server, caught.value)
        assert [request.wanted for request in server.seen] == [(0, remote.PROBE - 1)]


def test_after_all_patience_a_read_that_is_tried_again_ends_at_once(folder: Path) -> None:
    with serving(folder, "500", good=1) as server, opened(server, Command()) as found:
        for _ in range(3):
            with pytest.raises(FailedError):
                read(found, 0, 512)
            seen = len(server.seen)
        with pytest.raises(FailedError):
            read(found, 0, 512)
        assert len(server.seen) == seen


def test_a_certificate_that_changes_is_checked(folder: Path) -> None:
    with serving(folder, "closing") as server:
        server.certificate = "other"
        with pytest.raises(FailedError), opened(server, Command()):
            raise AssertionError("it is open")
        server.certificate = "server"
        with opened(server, Command()) as found:
            assert read(found, 0, 512) == CONTENT[:512]
            server.certificate = "other"
            with pytest.raises(FailedError) as caught:
                read(found, 0, 512)
        with raises(UnreachableError, ErrorCode.VCENTER_UNTRUSTED):
            raise error_of(server, caught.value)


def test_nobody_else_is_trusted_than_the_file_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    with serving(folder) as server:
        with opened(server, Command(), ca_file="") as found:
            assert read(found, 0, 512) == CONTENT[:512]
        elsewhere = str(folder / "elsewhere" / "ca.pem")
        for file in (elsewhere, str(folder / "none.pem")):
            with pytest.raises(FailedError) as caught, opened(server, Command(), ca_file=file):
                raise AssertionError("it is open")
            assert caught.value.code == "untrusted"


def test_a_server_that_is_away_is_named(folder: Path) -> None:
    with serving(folder) as server:
        server.stop()
        with pytest.raises(FailedError) as caught, opened(server, Command(), patience=0.05):
            raise AssertionError("it is open")
        with raises(UnreachableError, ErrorCode.VCENTER_UNREACHABLE):
            raise error_of(server, caught.value)


def test_closing_ends_who_waits(folder: Path) -> None:
    with serving(folder, "500", good=1) as server, opened(server, Command(), patience=600.0) as found:
        ended: list[str] = []

        def wait() -> None:
            try:
                read(found, 0, 512)
            except FailedError as error:
                ended.append(error.code)

        thread = threading.Thread(target=wait)
        thread.start()
        while len(server.seen) < 3:
            pass
        found.close()
        thread.join()
        assert ended == ["closed"]


# The whole reader: nbdkit, its process, and the command's session.


def copied(uri: str) -> bytes:
    handle = nbd.NBD()
    handle.connect_uri(uri)
    assert handle.get_size() == SIZE
    found = b"".join(bytes(handle.pread(min(2**20, SIZE - at), at)) for at in range(0, SIZE, 2**20))
    handle.shutdown()
    return found


def test_the_reader_copies_the_file_without_the_password(folder: Path) -> None:
    with serving(folder) as server, https.open_disk(ask(server)) as uri:
        assert copied(uri) == CONTENT
        assert server.connections == 1
        assert {request.headers["cookie"] for request in server.seen} == {f'vmware_soap_session="{SECRET}"'}


def test_the_reader_tells_why_not(folder: Path) -> None:
    with serving(folder, "403") as server:
        with raises(AuthError, ErrorCode.VCENTER_PRIVILEGE_MISSING, status=403), https.open_disk(ask(server)):
            raise AssertionError("it is open")
    with serving(folder, "whole file") as server:
        with pytest.raises(UnfitError) as caught, https.open_disk(ask(server)):
            raise AssertionError("it is open")
        with raises(PreconditionError, ErrorCode.READER_UNFIT, reader="https", status=200):
            raise caught.value.error
    with serving(folder, "login page", good=2) as server:
        with raises(OperationFailedError, ErrorCode.BAD_ANSWER, status=200), https.open_disk(ask(server)) as uri:
            with pytest.raises(nbd.Error):
                copied(uri)
            raise OperationFailedError("read", code=ErrorCode.DISK_READ_FAILED)


def test_the_reader_says_what_it_waits_for(folder: Path) -> None:
    notes: list[str] = []
    with serving(folder, "500", times=2) as server, https.open_disk(ask(server, notes, 60.0)) as uri:
        assert copied(uri) == CONTENT
    assert len(notes) == 1
    assert "/folder/" in notes[0]
