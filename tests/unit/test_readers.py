"""Which reader a disk gets, and why it gets none."""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from migratekit_core.adapters.readers import readers, sessions, ssh, vddk
from migratekit_core.adapters.readers.layout import ALL
from migratekit_core.adapters.readers.model import Ask, Reader, Snapshot, UnfitError
from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
    UsageError,
)
from migratekit_core.config.load import load_config
from migratekit_core.config.schema import Config, VCenter
from migratekit_core.config.secret import SecretSource
from migratekit_core.config.source import READER_NEEDS, Source, Ssh, Vddk
from tests.coded import raises
from tests.unit.inventory import STORE, disk, machine

VCENTER = VCenter(host="vc.example", user="u", password=SecretSource(env="P"))
VDDK = Vddk(libdir=Path("/nowhere"))
FLAT = disk()

NOT_FLAT: list[tuple[dict[str, Any], str]] = [
    ({"has_parent": True}, "already had a snapshot"),
    ({"backing": "SeSparse"}, "SeSparse, not a flat file"),
    ({"backing": "RawDiskMappingVer1", "rdm_mode": "virtualMode"}, "it maps a LUN"),
    ({"encrypted": True}, "ciphertext"),
]
"""What only VDDK reads."""
NOBODY: list[tuple[dict[str, Any], str]] = [
    ({"mode": "independent_persistent"}, "never frozen"),
    ({"mode": "independent_nonpersistent"}, "never frozen"),
    ({"backing": "RawDiskMappingVer1", "rdm_mode": "physicalMode"}, "never frozen"),
    ({"path": ""}, "vSphere names no file"),
]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have VDDK and the keys count as installed."""
    monkeypatch.setattr(vddk, "require", lambda settings: None)
    monkeypatch.setattr(ssh, "require", lambda settings, vm: None)


def chosen(of: Disk, reader: str = "auto", library: bool = True, vm: VirtualMachine | None = None) -> str:
    source = Source.model_validate(
        {"reader": reader, "vddk": VDDK if library else None, "ssh": Ssh(known_hosts=Path("/nowhere"))}
    )
    return readers.check(Config(vcenter=VCENTER, source=source), vm or machine(), of)


@pytest.mark.parametrize("reader", ["auto", "https", "ssh", "vddk"])
def test_a_flat_disk_is_read_by_whom_is_asked(reader: str) -> None:
    for flat in (FLAT, replace(FLAT, backing="FlatVer1"), replace(FLAT, mode="append")):
        assert chosen(flat, reader) == ("https" if reader == "auto" else reader)


@pytest.mark.parametrize(("changes", "reason"), NOT_FLAT)
def test_what_is_no_flat_file_goes_through_vddk_or_nowhere(changes: dict[str, Any], reason: str) -> None:
    other = replace(FLAT, **changes)
    assert chosen(other) == chosen(other, "vddk") == "vddk"
    for reader, library in (("https", True), ("ssh", True), ("auto", False)):
        with pytest.raises(PreconditionError) as caught:
            chosen(other, reader, library)
        assert reason in caught.value.why
        assert f"{FLAT.label} of {machine().name} cannot be read" in caught.value.what
        assert ("no VDDK is configured" in caught.value.why) == (reader == "auto")


@pytest.mark.parametrize(("changes", "reason"), NOBODY)
def test_what_nobody_reads_has_the_reason_of_each(changes: dict[str, Any], reason: str) -> None:
    for reader in ("auto", "vddk", "https"):
        with pytest.raises(PreconditionError) as caught:
            chosen(replace(FLAT, **changes), reader)
        if reader != "https":
            assert reason in caught.value.why
        if reader == "auto":
            assert caught.value.why.startswith("over https: ")
            assert "; through vddk: " in caught.value.why


@pytest.mark.parametrize("kind", ["vsan", "VSAND", "VVOL"])
def test_datastores_of_objects_go_through_vddk(kind: str) -> None:
    vm = machine(datastores=(replace(STORE, type=kind),))
    (held,) = vm.disks
    # With the datastore's id and by its name alone, as a snapshot's disks may come.
    for of in (held, replace(held, datastore_moref="")):
        assert chosen(of, vm=vm) == "vddk"
        with pytest.raises(PreconditionError, match=STORE.name):
            chosen(of, "https", vm=vm)


def test_a_library_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(PreconditionError) as caught:
        chosen(replace(FLAT, has_parent=True))
    assert "source.vddk.libdir /nowhere" in caught.value.what
    assert "get VDDK" in str(caught.value.todo)
    assert chosen(FLAT) == "https", "what needs no library does not ask for it"


@pytest.mark.parametrize(
    ("text", "missing"),
    [('reader = "ssh"', "source.ssh.known_hosts"), ('reader = "vddk"', "source.vddk.libdir"), ('reader = "esxi"', "")],
)
def test_a_reader_without_its_settings_is_a_configuration_error(tmp_path: Path, text: str, missing: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[source]\n{text}\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, environ={})
    assert missing in caught.value.why


def test_the_schema_and_the_registry_know_the_same_readers() -> None:
    named = set(get_args(Source.model_fields["reader"].annotation))
    assert named == {"auto", *readers.READERS}
    assert set(readers.READERS) == set(READER_NEEDS)
    for name, needed in READER_NEEDS.items():
        assert not needed or name in Source.model_fields, "settings of its own are the table [source.NAME]"


def test_what_a_reader_reads_with_is_looked_for_where_it_may_be_needed() -> None:
    def plugins(**source: Any) -> list[str]:
        return [each.name for reader in readers.usable(Source(**source)) for each in reader.plugins]

    assert plugins() == ["python"]
    assert plugins(vddk=VDDK) == ["python", "vddk"]
    assert plugins(reader="ssh", ssh=Ssh(known_hosts=Path("/nowhere"))) == ["ssh"]


def test_rules_ask_what_no_reader_reads() -> None:
    assert readers.unread(["https", "ssh"]) == ALL
    assert readers.unread(["https", "vddk"]) == frozenset()


def compared(source: str) -> list[int]:
    """Return the lines that compare the name of a reader."""
    deciding = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare | ast.Match)]
    inside = [(node.lineno, part) for node in deciding for part in ast.walk(node)]
    return [line for line, part in inside if isinstance(part, ast.Attribute) and part.attr == "reader"]


def test_only_the_registry_compares_the_names_of_readers() -> None:
    registry = Path(readers.__file__)
    for path in (path for package in registry.parents[3].glob("migratekit_*") for path in package.rglob("*.py")):
        assert path == registry or not compared(path.read_text()), path
    assert compared(registry.read_text())
    assert compared('if config.source.reader == "ssh":\n    pass')


class Planted:
    """A reader with a process of its own: it asks vCenter for a ticket, and passes that by a socket pair."""

    def __init__(self, sessions: int | None = None) -> None:
        self.passed: list[bytes] = []
        self.reader = Reader("https", "by a planted process", frozenset(), self.open, sessions=lambda source: sessions)

    @contextmanager
    def open(self, ask: Ask) -> Iterator[str]:
        with ask.snapshot.session() as managed:
            ticket = f"{managed} {ask.snapshot.moref}".encode()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(ticket)
            self.passed.append(theirs.recv(64))
            yield "nbd+unix:///?socket=/planted"


def planted(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> tuple[Config, Snapshot]:
    monkeypatch.setitem(readers.READERS, "https", reader)
    managed = nullcontext("the machine")
    return Config(vcenter=VCENTER), Snapshot(machine(host_name="esx1"), "snapshot-7", lambda: managed)


def test_a_reader_has_the_session_and_may_start_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Planted()
    config, snapshot = planted(monkeypatch, own.reader)
    with readers.open_disk(config, snapshot, FLAT, lambda line: None, lambda: False) as uri:
        assert uri == "nbd+unix:///?socket=/planted"
    assert own.passed == [b"the machine snapshot-7"]


def test_a_readers_limit_holds_for_each_host(monkeypatch: pytest.MonkeyPatch, slots: list[str]) -> None:
    config, snapshot = planted(monkeypatch, Planted(sessions=1).reader)

    def opened(of: Snapshot) -> AbstractContextManager[str]:
        return readers.open_disk(config, of, FLAT, slots.append, lambda: True)

    other = replace(snapshot, vm=machine(host_name="esx2"))
    with opened(snapshot), opened(other):
        assert slots == []
        with pytest.raises(KeyboardInterrupt), opened(snapshot):
            raise AssertionError("one more than the limit")
    with opened(snapshot):
        pass


def test_auto_goes_on_to_the_next_where_one_turns_out_unfit(monkeypatch: pytest.MonkeyPatch, slots: list[str]) -> None:
    @contextmanager
    def unfit(ask: Ask) -> Iterator[str]:
        raise UnfitError(UnreachableError("no host", "no port", code=ErrorCode.SOURCE_UNREACHABLE))
        yield ""

    own = Planted()
    first = Reader("https", "by one", ALL, unfit)
    second = replace(own.reader, name="vddk", how="by another", reads=ALL)
    config, snapshot = planted(monkeypatch, first)
    monkeypatch.setitem(readers.READERS, "vddk", second)

    def opened(reader: str) -> AbstractContextManager[str]:
        source = Source.model_validate({"reader": reader, "vddk": VDDK})
        changed = config.model_copy(update={"source": source})
        return readers.open_disk(changed, snapshot, FLAT, slots.append, lambda: False)

    with opened("auto") as uri:
        assert uri == "nbd+unix:///?socket=/planted"
    assert slots == [f"{FLAT.label}: not by one: no host: no port"]
    with raises(UnreachableError, ErrorCode.SOURCE_UNREACHABLE), opened("https"):
        pass
    monkeypatch.setitem(readers.READERS, "vddk", replace(second, unset=lambda source: "a reason"))
    with raises(PreconditionError, ErrorCode.READER_UNFIT) as caught, opened("auto"):
        pass
    assert caught.value.why == "by one: no host: no port; by another: a reason"
    # What goes wrong while the disk is read is no reason to read it another way.
    monkeypatch.setitem(readers.READERS, "https", own.reader)
    with raises(OperationFailedError, ErrorCode.DISK_READ_FAILED), opened("auto"):
        raise OperationFailedError("read", code=ErrorCode.DISK_READ_FAILED)


SAID = [
    ("VixDiskLibVim: Login failure. Callback error 3014 at 2439.", AuthError, "could not log in"),
    ("Cannot complete login due to an incorrect user name or password.", AuthError, "could not log in"),
    ("VixDiskLib_Open: [ds] a.vmdk: You do not have access rights to this file", AuthError, "may not read"),
    ("VixDiskLib_ConnectEx: The host certificate chain is not complete", AuthError, "does not trust"),
    ("VixDiskLib_Open: [ds] a.vmdk: The server refused connection", UnreachableError, "does not reach"),
    ("[NFC ERROR]NfcNewAuthdConnectionEx: Failed to connect to server esx1:902", UnreachableError, "does not reach"),
    ("VixDiskLib_Open: [ds] a.vmdk: Unknown error", MigrateKitError, "cannot be read through vddk"),
]


@pytest.mark.parametrize(("line", "kind", "what"), SAID)
def test_what_the_library_says_is_explained(line: str, kind: type[MigrateKitError], what: str) -> None:
    noise = "nbdkit: vddk[1]: error: reading initial client flags: conn->recv: Connection reset by peer\n"
    guess = '\nnbdkit: vddk[2]: error: Please verify whether the "thumbprint" parameter (AA) matches'
    error = vddk._explained("Hard disk 1 of web01", VCENTER, f"{noise}nbdkit: vddk[2]: error: {line}{guess}")
    assert isinstance(error, kind)
    assert what in error.what
    assert error.why == line
    assert error.todo


def test_a_key_that_others_can_read_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    for name in ("known", "key"):
        (tmp_path / name).touch(0o644)
    settings = Ssh(known_hosts=tmp_path / "known", identity=tmp_path / "key")
    vm = machine(host_name="esx1")
    with raises(AuthError, ErrorCode.FILE_NOT_PRIVATE):
        ssh.require(settings, vm)
    (tmp_path / "key").chmod(0o600)
    ssh.require(settings, vm)
    with raises(PreconditionError, ErrorCode.READER_UNFIT):
        ssh.require(settings, machine(host_name=""))
    with raises(PreconditionError, ErrorCode.FILE_UNREADABLE):
        ssh.require(Ssh(known_hosts=tmp_path / "none"), vm)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield []


def test_a_slot_is_waited_for_and_given_on(slots: list[str]) -> None:
    order = slots
    inside = threading.Event()

    def second() -> None:
        with sessions.slot("esx1", 1, lambda: (order.append("waits"), inside.set())[0], lambda: False):
            order.append("second")

    with sessions.slot("esx1", 1, lambda: None, lambda: False):
        thread = threading.Thread(target=second)
        thread.start()
        assert inside.wait(30)
        order.append("first")
        # Another host's are its own.
        with sessions.slot("esx2", 1, lambda: order.append("never"), lambda: False):
            pass
    thread.join(30)
    assert order == ["waits", "first", "second"]


def test_waiting_for_a_slot_ends_with_the_run(slots: list[str]) -> None:
    with (
        sessions.slot("esx1", 1, lambda: None, lambda: False),
        pytest.raises(KeyboardInterrupt),
        sessions.slot("esx1", 1, lambda: None, lambda: True),
    ):
        raise AssertionError("got in")


def test_a_folder_of_somebody_else_is_not_trusted(monkeypatch: pytest.MonkeyPatch, slots: list[str]) -> None:
    folder = sessions._folder()
    folder.chmod(0o777)
    with pytest.raises(PreconditionError), sessions.slot("esx1", 1, lambda: None, lambda: False):
        raise AssertionError("got in")
