"""The reader process: what it is told, what it asks for, how it ends, and what the command makes of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbd
import pytest

from migratekit_core.adapters.readers import process, remote
from migratekit_core.adapters.readers.model import Ask, Snapshot, UnfitError
from migratekit_core.adapters.readers.process import Said, Serving, serve_disk
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, UnreachableError
from migratekit_core.config.schema import VCenter
from migratekit_core.config.secret import SecretSource
from migratekit_core.config.source import Source
from tests.coded import raises
from tests.unit.inventory import disk, machine

SIZE = 8 << 20
DISK = replace(disk(), capacity_bytes=SIZE)
PLANTED = """
import errno, os, threading, time
from migratekit_core.adapters.readers.remote.channel import FailedError, RefusedError

class Disk:
    def __init__(self, channel, settings):
        self.channel, self.size, self.left = channel, settings["size"], threading.Event()
        self.settings = settings

    def read(self, buffer, offset):
        if offset == self.settings.get("bad"):
            raise OSError(errno.EUCLEAN, "a bad sector")
        if offset == self.settings.get("lost"):
            raise FailedError("lost", offset=offset)
        if offset == self.settings.get("slow"):
            self.left.wait(300)
            raise OSError(errno.EIO, "closed")
        buffer[:] = bytes([offset >> 20]) * len(buffer)

    def close(self):
        self.left.set()

def connect(channel, settings):
    channel.note("begins", pid=os.getpid())
    if settings.get("ask"):
        try:
            settings["got"] = channel.want(settings["ask"], number=1)
        except RefusedError:
            raise FailedError("refused") from None
        channel.note("got", **settings["got"])
    if settings.get("fail"):
        raise FailedError(settings["fail"], text="no\\x1b[31m such\\nhost" + "x" * 1000)
    if settings.get("die"):
        os.abort()
    return Disk(channel, settings)
"""


class Watched:
    """What a reader said, and the ask for it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        vcenter = VCenter(host="vc", user="u", password=SecretSource(env="P"))
        snapshot = Snapshot(machine(), "snapshot-1", lambda: nullcontext("the machine"))
        self.stopped = False
        self.ask = Ask(vcenter, Source(), snapshot, DISK, self.notes.append, lambda: self.stopped)

    def serve(
        self,
        answers: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] | None = None,
        **settings: Any,
    ) -> AbstractContextManager[str]:
        serving = Serving(
            "planted",
            "planted",
            {"size": SIZE, **settings},
            explain,
            answers or {},
            lambda said: f"{said.code} {dict(said.facts)}",
            frozenset({"unfit"}),
        )
        return serve_disk(self.ask, serving)

    @property
    def pid(self) -> int:
        return int(self.notes[0].partition("'pid': ")[2].rstrip("}"))


def explain(said: Said) -> MigrateKitError:
    return UnreachableError(said.code, said.text("text"), code=ErrorCode.SOURCE_UNREACHABLE)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watched:
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setattr(process, "ENVIRONMENT", {**process.ENVIRONMENT, "PYTHONPATH": str(tmp_path)})
    return Watched()


def connected(uri: str) -> nbd.NBD:
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def test_it_serves_what_its_module_reads(planted: Watched) -> None:
    with planted.serve() as uri:
        handle = connected(uri)
        assert handle.get_size() == SIZE
        assert handle.is_read_only()
        assert handle.can_multi_conn()
        assert handle.get_block_size(nbd.SIZE_MAXIMUM) == 1 << 20
        assert handle.pread(5, 3 << 20) == b"\3" * 5
        handle.shutdown()
        words = Path(f"/proc/{planted.pid}/cmdline").read_bytes().split(b"\0")
        assert [word for word in words if b"planted" in word or b"size" in word] == [
            word for word in words if b"disk.sock" in word
        ]
    with pytest.raises(ProcessLookupError):
        os.kill(planted.pid, 0)


def test_it_asks_for_what_it_may_not_have_of_its_own(planted: Watched) -> None:
    asked: list[Mapping[str, Any]] = []

    def ticket(about: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(about)
        return {"ticket": "a-secret-one"}

    with planted.serve({"ticket": ticket}, ask="ticket") as uri:
        connected(uri).shutdown()
        shown = [Path(f"/proc/{planted.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert planted.notes[1] == "got {'ticket': 'a-secret-one'}"
    assert [about["number"] for about in asked] == [1]
    assert b"a-secret-one" not in b"".join(shown)


def test_what_the_command_cannot_give_is_its_own_error(planted: Watched) -> None:
    def login(about: Mapping[str, Any]) -> Mapping[str, Any]:
        raise OperationFailedError("no ticket", code=ErrorCode.VCENTER_PRIVILEGE_MISSING)

    def elsewhere(about: Mapping[str, Any]) -> Mapping[str, Any]:
        raise UnfitError(OperationFailedError("no ticket", code=ErrorCode.VCENTER_PRIVILEGE_MISSING))

    def broken(about: Mapping[str, Any]) -> Mapping[str, Any]:
        raise KeyError("secret")

    with (
        raises(OperationFailedError, ErrorCode.VCENTER_PRIVILEGE_MISSING),
        planted.serve({"ticket": login}, ask="ticket"),
    ):
        pass
    with pytest.raises(UnfitError), planted.serve({"ticket": elsewhere}, ask="ticket"):
        pass
    for wanted in ("ticket", "unheard of"):
        with raises(OperationFailedError, ErrorCode.UNKNOWN), planted.serve({"ticket": broken}, ask=wanted):
            pass


def test_what_it_says_of_its_end_is_the_error(planted: Watched) -> None:
    with raises(UnreachableError, ErrorCode.SOURCE_UNREACHABLE) as caught, planted.serve(fail="gone"):
        pass
    assert caught.value.what == "gone"
    assert len(caught.value.why) == process.LONGEST_FACT
    assert caught.value.why.isprintable()
    with pytest.raises(UnfitError) as unfit, planted.serve(fail="unfit"):
        pass
    assert unfit.value.error.code is ErrorCode.SOURCE_UNREACHABLE
    with raises(OperationFailedError, ErrorCode.UNKNOWN), planted.serve(die=True):
        pass
    with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH, size=5, wanted=SIZE), planted.serve(size=5):
        pass


def test_a_disk_that_gets_lost_has_the_readers_reason(planted: Watched) -> None:
    def read(uri: str, offset: int) -> int | None:
        handle = connected(uri)
        with pytest.raises(nbd.Error) as caught:
            handle.pread(512, offset)
        number: int | None = caught.value.errnum
        assert handle.pread(1, 0) == b"\0", "the connection goes on"
        return number

    failed = OperationFailedError("read", code=ErrorCode.DISK_READ_FAILED)
    with raises(OperationFailedError, ErrorCode.DISK_READ_FAILED), planted.serve(bad=1 << 20) as uri:
        assert read(uri, 1 << 20)
        raise failed
    with raises(UnreachableError, ErrorCode.SOURCE_UNREACHABLE) as caught, planted.serve(lost=2 << 20) as uri:
        assert read(uri, 2 << 20)
        raise failed
    assert caught.value.what == "lost"
    # What has nothing to do with reading stays what it is.
    with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH), planted.serve(lost=2 << 20) as uri:
        read(uri, 2 << 20)
        raise OperationFailedError("other", code=ErrorCode.SIZE_MISMATCH)


def test_reads_that_wait_do_not_keep_it(planted: Watched) -> None:
    with planted.serve(slow=1 << 20) as uri:
        handle = connected(uri)
        handle.aio_pread(nbd.Buffer(512), 1 << 20)
        connected(uri).shutdown()
        planted.ask.note("")
    with pytest.raises(ProcessLookupError):
        os.kill(planted.pid, 0)


def test_who_waits_for_it_can_be_stopped(planted: Watched) -> None:
    def ticket(about: Mapping[str, Any]) -> Mapping[str, Any]:
        planted.stopped = True
        while not ended:
            pass
        return {}

    ended: list[bool] = []
    try:
        with pytest.raises(KeyboardInterrupt), planted.serve({"ticket": ticket}, ask="ticket"):
            raise AssertionError("it is not open")
    finally:
        ended.append(True)


def test_a_killed_one_is_noticed(planted: Watched) -> None:
    with planted.serve() as uri:
        handle = connected(uri)
        os.kill(planted.pid, signal.SIGKILL)
        with pytest.raises(nbd.Error):
            handle.pread(512, 0)


def test_it_needs_the_standard_library_alone() -> None:
    modules = sorted(
        path.stem for path in Path(remote.__file__).parent.glob("*.py") if path.stem not in ("plugin", "__init__")
    )
    code = (
        "import sys, importlib\n"
        f"sys.path.append({str(Path(remote.__file__).parents[4])!r})\n"
        f"for name in {modules!r}: importlib.import_module('migratekit_core.adapters.readers.remote.' + name)\n"
        "known = sys.stdlib_module_names\n"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] not in known and not n.startswith('__')))\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    names = set(eval(found))
    above = {"migratekit_core", "migratekit_core.adapters", "migratekit_core.adapters.readers"}
    own = {f"migratekit_core.adapters.readers.remote.{name}" for name in modules}
    assert names == above | own | {"migratekit_core.adapters.readers.remote"}
