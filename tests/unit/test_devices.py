"""Which disk of the OMA is a volume: every name that Linux gives it, and whatever only looks like one."""

from __future__ import annotations

import os
import stat
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.volumed import devices
from migratekit_core.volumed.devices import Places
from tests.coded import raises

ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
PLAIN = ID.replace("-", "")
SIZE = 3 << 20
SCSI = "scsi-0QEMU_QEMU_HARDDISK_"


@dataclass(frozen=True)
class Linux:
    """A machine's /dev and /sys/block, made of files."""

    places: Places

    def disk(self, name: str, size: int = SIZE) -> Path:
        """Show a disk in /dev and /sys/block; without a serial."""
        device = self.places.dev / name
        device.touch()
        os.truncate(device, size)
        (self.places.sys_block / name).mkdir()
        return device

    def virtio(self, name: str, serial: str, size: int = SIZE) -> Path:
        """Show a disk of virtio-blk."""
        device = self.disk(name, size)
        (self.places.sys_block / name / "serial").write_text(serial)
        return device

    def scsi(self, name: str, serial: str, page: bytes | None = None) -> Path:
        """Show a disk of virtio-scsi; `page` is its page 0x80, whole."""
        device = self.disk(name)
        folder = self.places.sys_block / name / "device"
        folder.mkdir()
        data = bytes((0, 0x80)) + len(serial).to_bytes(2, "big") + serial.encode()
        (folder / "vpd_pg80").write_bytes(data if page is None else page)
        return device

    def partition(self, disk: str, number: int = 1) -> Path:
        """Show a partition of a disk."""
        device = self.places.dev / f"{disk}{number}"
        device.touch()
        os.truncate(device, SIZE)
        shown = self.places.sys_block / disk / device.name
        shown.mkdir()
        (shown / "partition").write_text(f"{number}\n")
        return device

    def link(self, name: str, target: Path) -> Path:
        """Have udev name a device."""
        link = self.places.links / name
        link.symlink_to(target)
        return link

    def find(self) -> Path | None:
        """Return the device that is found."""
        found = devices.find(self.places, ID)
        return found.path if found is not None else None


@pytest.fixture
def linux(tmp_path: Path) -> Linux:
    places = Places(tmp_path / "by-id", tmp_path / "block", tmp_path / "dev")
    for folder in (places.links, places.sys_block, places.dev):
        folder.mkdir()
    made = Linux(places)
    # What is there besides: the machine's own disk, another volume, a disk without a serial.
    made.link("virtio-root0000000000000000", made.virtio("vda", "root0000000000000000"))
    other = str(uuid.UUID(int=1)).replace("-", "")[:20]
    made.link(f"{SCSI}{other}", made.scsi("sda", other))
    made.disk("vdz")
    return made


# Every naming.


SERIALS = {
    "cut": PLAIN[:20],
    "dashed": ID[:20],
    "between": PLAIN[:27],
    "whole": PLAIN,
    "dashed-whole": ID,
}
"""How CloudStack, storage plugins and QEMU may spell a volume's serial."""


@pytest.mark.parametrize("serial", [SERIALS["cut"], SERIALS["dashed"]], ids=["cut", "dashed"])
@pytest.mark.parametrize("shown", [True, False], ids=["shown-in-sys", "link-only"])
def test_virtio_blk_by_udev(linux: Linux, serial: str, shown: bool) -> None:
    device = linux.virtio("vdb", serial) if shown else linux.disk("vdb")
    link = linux.link(f"virtio-{serial}", device)
    linux.link(f"virtio-{serial}-part1", linux.partition("vdb"))
    found = devices.find(linux.places, ID)
    assert found is not None
    assert (found.link, found.path, found.size) == (link, device, SIZE)
    assert found.names == {link, device}


@pytest.mark.parametrize("serial", SERIALS.values(), ids=SERIALS)
@pytest.mark.parametrize("prefixes", [(SCSI,), ("scsi-SQEMU_QEMU_HARDDISK_",), (SCSI, "scsi-SQEMU_QEMU_HARDDISK_")])
def test_virtio_scsi_by_udev(linux: Linux, serial: str, prefixes: tuple[str, ...]) -> None:
    device = linux.scsi("sdb", serial)
    part = linux.partition("sdb")
    links = [linux.link(f"{prefix}{serial}", device) for prefix in prefixes]
    for prefix in prefixes:
        linux.link(f"{prefix}{serial}-part1", part)
    found = devices.find(linux.places, ID)
    assert found is not None
    assert (found.link, found.path) == (sorted(links)[0], device)
    assert found.names == {*links, device}


@pytest.mark.parametrize("serial", SERIALS.values(), ids=SERIALS)
@pytest.mark.parametrize("show", [Linux.virtio, Linux.scsi], ids=["virtio", "scsi"])
def test_the_kernel_alone(linux: Linux, show: Callable[[Linux, str, str], Path], serial: str) -> None:
    device = show(linux, "sdaa" if show is Linux.scsi else "vdaa", serial)
    linux.partition(device.name)
    found = devices.find(linux.places, ID)
    assert found is not None
    assert (found.link, found.path, found.size) == (device, device, SIZE)


def test_without_udevs_folder(linux: Linux) -> None:
    for link in linux.places.links.iterdir():
        link.unlink()
    linux.places.links.rmdir()
    assert linux.find() is None
    device = linux.virtio("vdb", PLAIN[:20])
    assert linux.find() == device


# What only looks like it.


def no_disk(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN[:20]}", linux.places.dev / "vdb")


def loop(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN[:20]}", linux.places.links / "b")
    linux.link("b", linux.places.links / f"virtio-{PLAIN[:20]}")


def itself(linux: Linux) -> None:
    linux.link(f"{SCSI}{ID}", linux.places.links / f"{SCSI}{ID}")


def folder(linux: Linux) -> None:
    (linux.places.links / f"virtio-{PLAIN[:20]}").mkdir()
    linux.link(f"virtio-{ID[:20]}", linux.places.dev)


def pipe(linux: Linux) -> None:
    os.mkfifo(linux.places.dev / "pipe")
    linux.link(f"virtio-{PLAIN[:20]}", linux.places.dev / "pipe")


def terminal(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN[:20]}", Path("/dev/null"))


def partition_of_it(linux: Linux) -> None:
    linux.disk("vdb")
    linux.link(f"virtio-{PLAIN[:20]}-part1", linux.partition("vdb"))


def partition_under_its_name(linux: Linux) -> None:
    linux.disk("vdb")
    linux.link(f"virtio-{PLAIN[:20]}", linux.partition("vdb", 12))


def shorter(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN[:19]}", linux.virtio("vdb", PLAIN[:19]))


def longer(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN}0", linux.virtio("vdb", PLAIN + "0"))
    linux.virtio("vdc", f"{PLAIN[:20]}-part1")


def not_from_the_beginning(linux: Linux) -> None:
    linux.link(f"virtio-{PLAIN[1:21]}", linux.virtio("vdb", PLAIN[1:21]))


def another_make(linux: Linux) -> None:
    linux.link(f"scsi-3QEMU_QEMU_HARDDISK_{PLAIN[:20]}", linux.disk("sdb"))
    linux.link(f"ata-QEMU_HARDDISK_{PLAIN[:20]}", linux.disk("sdc"))
    linux.link(f"xvirtio-{PLAIN[:20]}", linux.disk("sdd"))


def out_of_date_link(linux: Linux) -> None:
    # The disk is gone, and another volume's has its place: udev has not caught up yet.
    linux.link(f"virtio-{PLAIN[:20]}", linux.virtio("vdb", "11111111222233334444"))


def pages(*data: bytes) -> Callable[[Linux], None]:
    def make(linux: Linux) -> None:
        for number, page in enumerate(data):
            linux.scsi(f"sd{'bcdefgh'[number]}", "", page)

    return make


def of_another_kind(linux: Linux) -> None:
    for name in ("loop7", "dm-0", "nvme0n1", "sr0", "vdb1"):
        linux.virtio(name, PLAIN[:20])


TOLD = PLAIN[:20].encode()
LOOKALIKES: dict[str, Callable[[Linux], None]] = {
    "link to nothing": no_disk,
    "loop": loop,
    "link to itself": itself,
    "folder": folder,
    "pipe": pipe,
    "character device": terminal,
    "partition": partition_of_it,
    "partition under the disk's name": partition_under_its_name,
    "serial of 19": shorter,
    "serial longer than the id": longer,
    "serial from the middle": not_from_the_beginning,
    "other makes": another_make,
    "link to another's disk": out_of_date_link,
    "other kinds of devices": of_another_kind,
    "other or damaged pages": pages(
        b"",
        b"\0\x80",
        b"\0\x80\0",
        bytes((0, 0x83, 0, 20)) + TOLD,
        bytes((0, 0x80, 20, 0)) + TOLD,
        bytes((0, 0x80, 0, 21)) + TOLD,
        bytes((0, 0x80, 0, 20)) + b"\xff" * 20,
    ),
}


@pytest.mark.parametrize("make", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_is_not_the_disk_is_not_taken(linux: Linux, make: Callable[[Linux], None]) -> None:
    make(linux)
    assert linux.find() is None
    with raises(OperationFailedError, ErrorCode.DEVICE_MISSING) as caught:
        devices.wait_for(linux.places, ID, SIZE, 0)
    assert PLAIN[:20] in caught.value.why
    devices.wait_gone(linux.places, ID, 0)


@pytest.mark.parametrize("make", LOOKALIKES.values(), ids=LOOKALIKES)
def test_the_disk_is_found_beside_it(linux: Linux, make: Callable[[Linux], None]) -> None:
    make(linux)
    assert linux.find() is None
    device = linux.virtio("vdx", PLAIN[:20])
    assert linux.find() == device


def test_padding_is_no_part_of_a_serial(linux: Linux) -> None:
    device = linux.scsi("sdb", PLAIN[:20] + "    ")
    assert linux.find() == device


# Two of them.


def two_links(linux: Linux) -> list[Path]:
    found = [linux.disk("vdb"), linux.disk("sdb")]
    linux.link(f"virtio-{PLAIN[:20]}", found[0])
    linux.link(f"{SCSI}{PLAIN[:20]}", found[1])
    return found


def two_spellings(linux: Linux) -> list[Path]:
    return [linux.virtio("vdb", PLAIN[:20]), linux.virtio("vdc", ID[:20])]


def behind_one_link(linux: Linux) -> list[Path]:
    # udev's link leads to the one that it saw last.
    found = [linux.virtio("vdb", PLAIN[:20]), linux.virtio("vdc", PLAIN[:20])]
    linux.link(f"virtio-{PLAIN[:20]}", found[1])
    return found


@pytest.mark.parametrize("make", [two_links, two_spellings, behind_one_link])
def test_two_with_one_serial_are_refused_and_named(linux: Linux, make: Callable[[Linux], list[Path]]) -> None:
    rivals = make(linux)
    for call in (
        lambda: devices.find(linux.places, ID),
        lambda: devices.wait_for(linux.places, ID, SIZE, 0),
        lambda: devices.appears(linux.places, ID, 0),
    ):
        with pytest.raises(OperationFailedError) as caught:
            call()
        assert caught.value.code is ErrorCode.SAME_SERIAL
        assert caught.value.why == ", ".join(sorted(map(str, rivals)))
    with raises(OperationFailedError, ErrorCode.DEVICE_HELD):
        devices.wait_gone(linux.places, ID, 0)
    # Gone with one of them.
    for link in linux.places.links.iterdir():
        if link.resolve() == rivals[1]:
            link.unlink()
    rivals[1].unlink()
    assert linux.find() == rivals[0]


def test_an_old_device_that_goes_late_is_waited_for(linux: Linux) -> None:
    old, new = linux.virtio("vdb", PLAIN[:20]), linux.virtio("vdc", PLAIN[:20])
    link = linux.link(f"virtio-{PLAIN[:20]}", new)
    timer = threading.Timer(0.3, old.unlink)
    timer.start()
    assert devices.wait_for(linux.places, ID, SIZE, 30).link == link
    timer.join()


# Waiting, size, who may open it.


def test_udev_is_given_a_moment_to_name_it(linux: Linux) -> None:
    device = linux.scsi("sdb", PLAIN[:20])
    made: list[Path] = []
    timer = threading.Timer(0.3, lambda: made.append(linux.link(f"{SCSI}{PLAIN[:20]}", device)))
    timer.start()
    assert devices.wait_for(linux.places, ID, SIZE, 30).link == linux.places.links / f"{SCSI}{PLAIN[:20]}"
    timer.join()
    assert made


def test_a_disk_that_udev_never_names_is_taken(linux: Linux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "LINK_SECONDS", 0.2)
    device = linux.scsi("sdb", PLAIN[:20])
    assert devices.wait_for(linux.places, ID, SIZE, 30).link == device
    # Also where the whole time is shorter than udev is given.
    monkeypatch.setattr(devices, "LINK_SECONDS", 60.0)
    assert devices.wait_for(linux.places, ID, SIZE, 0.2).link == device


@pytest.mark.parametrize("size", [SIZE - 512, SIZE + 512, 0])
def test_another_size_is_another_disk(linux: Linux, size: int) -> None:
    device = linux.virtio("vdb", PLAIN[:20], size)
    linux.link(f"virtio-{PLAIN[:20]}", device)
    with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH) as caught:
        devices.wait_for(linux.places, ID, SIZE, 0)
    assert caught.value.facts == {"volume_id": ID, "size": size, "wanted": SIZE}


def test_a_device_that_may_not_be_opened_is_told_as_such(linux: Linux, monkeypatch: pytest.MonkeyPatch) -> None:
    device = linux.virtio("vdb", PLAIN[:20])
    device.chmod(0)
    if os.geteuid() == 0:  # root opens everything

        def refuse(path: Path, flags: int) -> int:
            assert not stat.S_IMODE(path.stat().st_mode)
            raise PermissionError

        monkeypatch.setattr(devices.os, "open", refuse)
    assert linux.find() is None
    with raises(OperationFailedError, ErrorCode.DEVICE_UNREADABLE) as caught:
        devices.wait_for(linux.places, ID, SIZE, 0)
    assert str(device) in caught.value.what
    # It is there all the same.
    with raises(OperationFailedError, ErrorCode.DEVICE_HELD):
        devices.wait_gone(linux.places, ID, 0)


def test_waiting_ends(linux: Linux) -> None:
    device = linux.virtio("vdb", PLAIN[:20])
    threading.Timer(0.3, device.unlink).start()
    devices.wait_gone(linux.places, ID, 30)
    assert not device.exists()


def test_it_is_flushed_through_its_name(linux: Linux) -> None:
    linux.virtio("vdb", PLAIN[:20])
    found = devices.find(linux.places, ID)
    assert found is not None
    devices.flush(found)
    found.path.unlink()
    with pytest.raises(FileNotFoundError):
        devices.flush(found)
