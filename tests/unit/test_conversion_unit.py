"""What a conversion needs to know of a guest: its initramfs, its description, and what the host lacks."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.schema import Failover
from migratekit_core.services.guests import conversion, initramfs, tool

VIRTIO = "usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko.xz"
OTHER = "usr/lib/modules/6.1.0/kernel/drivers/scsi/vmw_pvscsi.ko"


def archive(tmp_path: Path, *names: str) -> bytes:
    """Make an archive as Linux's tools do: by cpio itself."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 1001)
    text = "".join(f"{name}\n" for name in names)
    done = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=text.encode(), cwd=tmp_path, capture_output=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("name", [VIRTIO, OTHER])
def test_virtio_is_found_behind_microcode_and_compression(tmp_path: Path, name: str) -> None:
    microcode = archive(tmp_path, "kernel/x86/microcode/GenuineIntel.bin")
    plain = archive(tmp_path, "init", name)
    expected = name == VIRTIO
    for packed in (plain, gzip.compress(plain), lzma.compress(plain), microcode + bytes(512) + gzip.compress(plain)):
        assert initramfs.has_virtio(packed) is expected
    assert initramfs.has_virtio(gzip.compress(plain) + bytes(300)) is expected


@pytest.mark.parametrize(
    "data",
    [b"\x00\x01\x02what", gzip.compress(b"070701" + b"0" * 104)[:-12], b"hsqs0000"],
    ids=["neither", "cut off", "squashfs"],
)
def test_what_cannot_be_read_is_not_guessed(data: bytes) -> None:
    with pytest.raises(initramfs.UnreadableError):
        initramfs.has_virtio(data)


def machine(**more: Any) -> Any:
    nic = SimpleNamespace(mac="00:50:56:00:00:01")
    facts = {"name": "we <b> 01", "memory_mib": 512, "cpus": 2, "firmware": "efi", "nics": [nic]}
    guest = {"guest_family": "", "guest_reported_id": "", "guest_id": "debian12_64Guest"}
    return SimpleNamespace(**{**facts, **guest, **more})


def test_the_tool_is_told_the_machine() -> None:
    root = ElementTree.fromstring(tool.domain(machine(), [Path("/x/disk.img"), Path("/y/disk.img")]))
    assert root.findtext("name") == "we <b> 01"
    system = root.find("os")
    assert system is not None and system.get("firmware") == "efi"
    disks = [(disk.find("source"), disk.find("target")) for disk in root.findall("devices/disk")]
    told = [
        (source.get("file"), target.get("dev")) for source, target in disks if source is not None and target is not None
    ]
    assert told == [("/x/disk.img", "sda"), ("/y/disk.img", "sdb")]


def test_everything_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tool, "which", lambda name: None)
    monkeypatch.setattr(conversion, "VIRTIO_WIN", (tmp_path / "none",))
    monkeypatch.delenv("VIRTIO_WIN", raising=False)
    with pytest.raises(PreconditionError) as caught:
        conversion.require_tools(Failover(), machine(guest_id="windows2019srv_64Guest"))
    for name in ("virt-v2v-in-place (package virt-v2v)", "nbdfuse (package libnbd-bin)", "fuse3", "virtio-win"):
        assert name in caught.value.why
    assert "--no-convert" in str(caught.value.todo)


def test_virtio_win_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    iso, other = tmp_path / "virtio-win.iso", tmp_path / "folder"
    iso.write_bytes(b"")
    monkeypatch.setattr(conversion, "VIRTIO_WIN", (other,))
    monkeypatch.delenv("VIRTIO_WIN", raising=False)
    assert conversion.virtio_win(Failover(virtio_win=tmp_path / "gone")) is None
    assert conversion.virtio_win(Failover(virtio_win=iso)) == iso
    other.mkdir()
    assert conversion.virtio_win(Failover()) == other
