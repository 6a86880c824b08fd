"""Rows of a database are data: no path, no command and no file's name is taken from them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.schema import Daemon
from migratekit_core.services.failover import bootcheck
from migratekit_core.services.guests import tool
from migratekit_core.volumed.daemon.exports.nbd_server import NbdServerExporter
from migratekit_core.volumed.daemon.exports.nbdkit import NbdkitExporter
from migratekit_core.volumed.names import EXPORT, export_name

BAD_NAMES = [
    "x]\nexportname = /etc/shadow\nprerun = touch /tmp/ran\n[y",
    "migration-a-1-deadbeef\n[evil]\nexportname = /etc/shadow",
    "../token",
    "/etc/passwd",
    "migration-a-1-deadbeef/../../token",
    ".none",
    "migration-a-1-DEADBEEF",
    "",
]


ID = "4cedb0a0-f805-4120-87b8-7817f987bdac"


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", [NbdServerExporter, NbdkitExporter])
def test_an_exporter_takes_no_other_names_than_ours(tmp_path: Path, kind: type[NbdServerExporter], name: str) -> None:
    settings = Daemon(token_file=tmp_path / "token", state_dir=tmp_path / "state", nbd_port=1)
    exporter = kind(settings)
    (tmp_path / "state" / "exports").mkdir(parents=True, exist_ok=True)
    bait = tmp_path / "state" / "token"
    bait.write_text("bait")
    before = sorted(tmp_path.rglob("*"))
    for refused in (lambda: exporter.add(name, Path("/dev/null")), lambda: exporter.give(name, "volume")):
        with pytest.raises(MigrateKitError) as caught:
            refused()
        assert caught.value.code is ErrorCode.REQUEST_INVALID
    exporter.remove(name)
    exporter.forget(name)
    assert (exporter.target(name), exporter.given_to(name)) == (None, "")
    assert bait.read_text() == "bait"
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "given"] == before


@pytest.mark.parametrize("address", ["-f", "--help", "10.0.0.1; reboot", "$(reboot)", "x", ""])
def test_what_is_no_address_is_not_pinged(address: str) -> None:
    vm = {"nic": [{"ipaddress": address}, {"ipaddress": "10.0.0.1"}, {"ipaddress": "2001:db8::1"}]}
    assert bootcheck.addresses(vm) == ("10.0.0.1", "2001:db8::1")


@pytest.mark.parametrize("vm", ["web[prod]-01", "a\nb", "../..", "ü", "-" * 80, "x" * 300, ""])
def test_our_own_names_are_such(vm: str) -> None:
    assert EXPORT.fullmatch(export_name(vm, vm))


@pytest.mark.parametrize("failover_id", ["../../home", "/", "", ".", f"{ID}/../..", f"{ID}\n"])
def test_a_failover_s_id_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failover_id: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for act in (tool.private_folder, tool.clear):
        with pytest.raises(MigrateKitError) as caught:
            act(failover_id)
        assert caught.value.code is ErrorCode.UNEXPECTED
    assert list(tmp_path.iterdir()) == []


def test_only_a_failover_s_own_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(tool.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    for base in ("run", "tmp", "precious"):
        (tmp_path / base).mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    made = tool.private_folder(mine)
    (made / "domain.xml").write_text("x")
    assert made.stat().st_mode & 0o777 == 0o700
    # Somebody else's: a link to what is precious, and a folder of another failover.
    link = tmp_path / "tmp" / made.name
    link.symlink_to(tmp_path / "precious")
    kept = tool.private_folder(other)
    tool.clear(mine)
    assert (made.exists(), kept.exists()) == (False, True)
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_folder_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    failover_id = str(uuid.uuid4())
    (tmp_path / f"migratekit-convert-{failover_id}").symlink_to("/etc")
    with pytest.raises(MigrateKitError) as caught:
        tool.private_folder(failover_id)
    assert caught.value.code is ErrorCode.FILE_UNWRITABLE
