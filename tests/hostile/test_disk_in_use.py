"""Who uses a disk of the OMA, as Linux tells it: each way of it is found, by a /sys and a /proc of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migratekit_core.volumed.devices import Places
from migratekit_core.volumed.inuse import Kind, use_of

MOUNT = "36 25 {number} / {where} rw,relatime shared:1 - ext4 {source} rw\n"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A machine with two disks: vda has two partitions, vdb none; nothing uses either."""
    made = Places(tmp_path / "by-id", tmp_path / "block", tmp_path / "dev", tmp_path / "proc")
    for disk, minor in (("vda", 0), ("vdb", 16)):
        (made.sys_block / disk / "holders").mkdir(parents=True)
        (made.sys_block / disk / "dev").write_text(f"254:{minor}\n")
    for number in (1, 2):
        partition = made.sys_block / "vda" / f"vda{number}"
        (partition / "holders").mkdir(parents=True)
        (partition / "partition").write_text(f"{number}\n")
        (partition / "dev").write_text(f"254:{number}\n")
    made.dev.mkdir()
    for name in ("vda", "vdb"):
        (made.dev / name).write_bytes(b"")
    (made.proc / "self").mkdir(parents=True)
    (made.proc / "self" / "mountinfo").write_text(MOUNT.format(number="8:1", where="/", source="/dev/sda1"))
    (made.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
    return made


def kind(places: Places, disk: str, own: frozenset[int] = frozenset()) -> Kind | None:
    found = use_of(places, places.dev / disk, own)
    return found.kind if found else None


def test_an_unused_disk_is_free(places: Places) -> None:
    assert (kind(places, "vda"), kind(places, "vdb")) == (None, None)


@pytest.mark.parametrize(("disk", "number"), [("vda", "254:0"), ("vda", "254:2"), ("vdb", "254:16")])
def test_mounted_by_its_number_whatever_the_source_is_called(places: Places, disk: str, number: str) -> None:
    text = MOUNT.format(number=number, where="/mnt/x\\040y", source="/dev/root")
    (places.proc / "self" / "mountinfo").write_text(text)
    assert {name: kind(places, name) for name in ("vda", "vdb")} == {
        "vda": None,
        "vdb": None,
        disk: Kind.MOUNTED,
    }
    found = use_of(places, places.dev / disk)
    assert found is not None
    assert "/mnt/x y" in found.why


def test_mounted_by_its_name_where_the_number_is_a_file_system_s_own(places: Places) -> None:
    # btrfs has numbers of its own.
    source = str(places.dev / "vda2")
    (places.proc / "self" / "mountinfo").write_text(MOUNT.format(number="0:44", where="/data", source=source))
    assert kind(places, "vda") is Kind.MOUNTED


def test_swapped_to(places: Places) -> None:
    line = f"{places.dev / 'vda1'}                               partition\t976764\t0\t-2\n"
    (places.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n" + line)
    assert kind(places, "vda") is Kind.MOUNTED


@pytest.mark.parametrize("holder", ["dm-0", "md127", "bcache0"])
@pytest.mark.parametrize("part", ["vda", "vda/vda2"])
def test_part_of_a_volume_group_or_an_array(places: Places, part: str, holder: str) -> None:
    (places.sys_block / part / "holders" / holder).write_text("")
    assert kind(places, "vda") is Kind.CLAIMED


@pytest.mark.parametrize("opened", ["vda", "vda1"])
def test_open_by_another_process_and_not_by_our_own(places: Places, opened: str) -> None:
    descriptors = places.proc / "4711" / "fd"
    descriptors.mkdir(parents=True)
    (descriptors.parent / "comm").write_text("dd\n")
    (descriptors / "3").symlink_to(places.dev / opened)
    assert kind(places, "vda") is Kind.OPEN
    assert kind(places, "vda", frozenset({4711})) is None
    assert kind(places, "vdb") is None


def test_open_as_the_kernel_itself_tells_it(places: Places) -> None:
    real = Places(places.links, places.sys_block, places.dev)
    assert kind(real, "vdb", frozenset({os.getpid()})) is None
    with (places.dev / "vdb").open("rb"):
        assert kind(real, "vdb") is Kind.OPEN


def test_lines_that_make_no_sense_are_no_mounts(places: Places) -> None:
    (places.proc / "self" / "mountinfo").write_bytes(b"\n36\n36 25 254:0\n\xff\xfe - \xff\n - \n")
    (places.proc / "swaps").write_bytes(b"\xff\n\n\xff")
    assert kind(places, "vda") is None
