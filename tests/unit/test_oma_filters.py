"""The filters that keep the OMA's Linux out of replicas, on a made-up system. tests/lab/oma_guest has a real one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migratekit_core.common import programs
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.volumed.filters import files, install, look, own
from migratekit_core.volumed.filters.install import Plan, carry_out, plan
from migratekit_core.volumed.filters.own import Own, find_own, others, own_of
from migratekit_core.volumed.filters.places import Linux
from migratekit_core.volumed.run import plan_filters

ROOT, DATA, REPLICA = "0a1b2c3d4e5f60718293", "1a1b2c3d4e5f60718293", "2a1b2c3d4e5f60718293"
OWN_GROUP, OTHER_GROUP = "a" * 32, "b" * 32
TOOLS = ("lvm", "mdadm", "multipathd", "udisksd")


@dataclass(frozen=True)
class Made(Linux):
    """A system in a folder, whose LVM answers what a test says."""

    pvs: dict[str, str] = field(default_factory=dict)
    """The groups' ids by physical volume."""

    def printed(self, name: str, *arguments: str) -> str | None:
        if name == "mdadm":
            return "MD_LEVEL=raid1\nMD_UUID=01234567:89abcdef:01234567:89abcdef\n"
        assert name == "pvs"
        taken = files.BEGIN if "--config" not in arguments else arguments[-1]
        rejected = [] if "--config" not in arguments else [one for one in self.pvs if not self._accepted(one, taken)]
        return "".join(f"  {one}|{group}\n" for one, group in self.pvs.items() if one not in rejected)

    def _accepted(self, device: str, settings: str) -> bool:
        number = (self.sys / "class/block" / Path(device).name / "dev").read_text().strip()
        lines = (self.udev / f"b{number}").read_text().splitlines()
        names = [device, *(f"/dev/{line[2:]}" for line in lines if line.startswith("S:"))]
        return accepted(re.findall(r'"([ar]\|[^"]*\|)"', settings), names)


def accepted(patterns: list[str], names: list[str]) -> bool:
    """As LVM reads a filter (lvm.conf(5)): the first pattern that a name fits counts; one accepted name is enough."""
    for name in names:
        for pattern in patterns:
            if re.search(pattern[2:-1], name):
                if pattern[0] == "a":
                    return True
                break
    return False


def disk(root: Path, name: str, number: str, serial: str, partitions: int = 0, links: tuple[str, ...] = ()) -> None:
    """Put a disk into the system; a link without a slash is one of by-id."""
    entry = root / "sys/devices" / name
    (entry / "device").mkdir(parents=True)
    (entry / "slaves").mkdir()
    (entry / "serial").write_text(serial + "\n" if serial else "")
    device(root, entry, name, number, (f"virtio-{serial}", *links) if serial else links)
    (root / "sys/block").mkdir(parents=True, exist_ok=True)
    (root / "sys/block" / name).symlink_to(entry)
    major, _, minor = number.partition(":")
    for one in range(1, partitions + 1):
        part = entry / f"{name}{one}"
        part.mkdir()
        (part / "partition").write_text(f"{one}\n")
        device(root, part, part.name, f"{major}:{int(minor) + one}", (f"virtio-{serial}-part{one}",) if serial else ())


def device(root: Path, entry: Path, name: str, number: str, links: tuple[str, ...] = ()) -> None:
    """Give an entry of sysfs its number, and udev's record."""
    (entry / "dev").write_text(number + "\n")
    for folder, link in (("sys/class/block", name), ("sys/dev/block", number)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / link).symlink_to(entry)
    (root / "run/udev/data").mkdir(parents=True, exist_ok=True)
    lines = [f"S:disk/{link if '/' in link else 'by-id/' + link}" for link in links]
    (root / f"run/udev/data/b{number}").write_text("\n".join([*lines, f"E:ID_PATH=pci-0000:00:0{number[-1]}.0"]) + "\n")
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / name).touch()


def mapped(root: Path, name: str, number: str, below: str, uuid: str) -> None:
    """Put a device of device-mapper into the system, made of another one."""
    entry = root / "sys/devices/virtual" / name
    (entry / "slaves").mkdir(parents=True)
    (entry / "dm").mkdir()
    (entry / "dm/uuid").write_text(uuid + "\n")
    (entry / "slaves" / below).symlink_to((root / "sys/class/block" / below).resolve())
    device(root, entry, name, number)


@pytest.fixture
def linux(tmp_path: Path) -> Made:
    """An OMA: root and swap on LVM on vda, a disk more in that group, and a replica with a group of the same name."""
    disk(tmp_path, "vda", "252:0", ROOT, partitions=2, links=("by-path/pci-0000:00:06.0",))
    disk(tmp_path, "vdb", "252:16", DATA)
    disk(tmp_path, "vdc", "252:32", REPLICA, partitions=2)
    mapped(tmp_path, "dm-0", "253:0", "vda2", f"LVM-{OWN_GROUP}{'c' * 32}")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        "22 1 253:0 / / rw - ext4 /dev/mapper/oma-root rw\n23 22 0:5 / /proc rw - proc proc rw\n"
        "24 22 252:1 / /boot rw - ext4 /dev/vda1 rw\n"
    )
    for name in TOOLS:
        path = tmp_path / "usr/sbin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    script = tmp_path / files.BTRFS_SCRIPT.relative_to("/")
    script.parent.mkdir(parents=True)
    script.touch()
    (tmp_path / "etc/lvm").mkdir(parents=True)
    (tmp_path / "etc/lvm/lvmlocal.conf").write_text("local {\n}")
    (tmp_path / "etc/mdadm").mkdir()
    (tmp_path / "etc/mdadm/mdadm.conf").write_text("HOMEHOST <system>\nAUTO +all\n")
    return Made(tmp_path, {"/dev/vda2": OWN_GROUP, "/dev/vdb": OWN_GROUP, "/dev/vdc2": OTHER_GROUP})


def installed(linux: Made) -> Plan:
    done = plan(linux)
    carry_out(linux, done)
    return done


def test_own_is_what_is_in_use_with_the_whole_of_its_groups(linux: Made) -> None:
    own = find_own(linux)
    assert [(one.name, one.serial) for one in own.disks] == [("vda", ROOT), ("vdb", DATA)]
    assert others(linux, own) == ["vdc"]
    assert own_of(own.text()) == own


def test_lvm_accepts_the_own_disks_by_serial_and_nothing_else(linux: Made) -> None:
    patterns = files.patterns(find_own(linux))
    for names in (
        ["/dev/vda2", f"/dev/disk/by-id/virtio-{ROOT}-part2"],
        ["/dev/vdb", f"/dev/disk/by-id/virtio-{DATA}"],
    ):
        assert accepted(patterns, names)
    for names in (
        ["/dev/vdc2", f"/dev/disk/by-id/virtio-{REPLICA}-part2"],
        ["/dev/vda2"],  # another disk may have that name tomorrow
        ["/dev/vdc", f"/dev/disk/by-id/virtio-{ROOT}x"],
        ["/dev/disk/by-id/lvm-pv-uuid-abc"],
    ):
        assert not accepted(patterns, names)


def test_a_disk_without_a_usable_serial_is_told_by_its_place(tmp_path: Path, linux: Made) -> None:
    for serial in ("", 'x", RUN+="/bin/sh'):
        (tmp_path / "sys/block/vda/serial").write_text(serial)
        (one, _) = find_own(linux).disks
        assert (one.serial, one.path, one.links) == ("", "pci-0000:00:00.0", ("by-path/pci-0000:00:06.0",))
        assert serial == "" or serial not in files.rules(find_own(linux))


def test_a_disk_that_nothing_tells_is_refused(tmp_path: Path, linux: Made) -> None:
    (tmp_path / "run/udev/data/b252:0").write_text("")
    with pytest.raises(PreconditionError) as caught:
        plan(linux)
    assert caught.value.code is ErrorCode.FILTER_UNFIT


def test_a_filter_that_would_hide_an_own_volume_group_is_not_written(tmp_path: Path, linux: Made) -> None:
    # A physical volume of the OMA's own group on a device that no name of a disk leads to.
    mapped(tmp_path, "dm-7", "253:7", "vdb", "CRYPT-LUKS2-x")
    linux.pvs["/dev/dm-7"] = OWN_GROUP
    with pytest.raises(PreconditionError) as caught:
        plan(linux)
    assert caught.value.code is ErrorCode.FILTER_UNFIT
    assert not (tmp_path / "etc/udev").exists()
    # With udev's name for it, it is accepted.
    with (tmp_path / "run/udev/data/b253:7").open("a") as file:
        file.write("S:disk/by-id/dm-uuid-CRYPT-LUKS2-x\n")
    assert plan(linux).own.stacked == ("dm-uuid-CRYPT-LUKS2-x",)


def test_an_own_array_is_written_down_and_reached_by_several_paths_is_refused(tmp_path: Path, linux: Made) -> None:
    mapped(tmp_path, "md0", "9:0", "vdc1", "")
    (tmp_path / "sys/devices/virtual/md0/md").mkdir()
    with (tmp_path / "proc/self/mountinfo").open("a") as file:
        file.write("25 22 9:0 / /srv rw - ext4 /dev/md0 rw\n")
    own = plan(linux).own
    assert own.arrays == ("01234567:89abcdef:01234567:89abcdef",)
    assert "ARRAY UUID=01234567:89abcdef:01234567:89abcdef\n" in files.mdadm("", own)
    (tmp_path / "sys/devices/virtual/md0/dm/uuid").write_text("mpath-1234")
    with pytest.raises(PreconditionError) as caught:
        plan(linux)
    assert caught.value.code is ErrorCode.FILTER_UNFIT


def test_all_disks_of_a_btrfs_and_of_swap_are_own(tmp_path: Path, linux: Made) -> None:
    disk(tmp_path, "vdd", "252:48", "3a1b2c3d4e5f60718293")
    with (tmp_path / "proc/self/mountinfo").open("a") as file:
        file.write("26 22 0:40 / /data rw - btrfs /dev/vdc1 rw\n")
    for name in ("vdc1", "vdb"):
        (tmp_path / "sys/fs/btrfs/x/devices").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/btrfs/x/devices" / name).symlink_to((tmp_path / "sys/class/block" / name).resolve())
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/vdd partition 1 0 -2\n")
    assert [one.name for one in find_own(linux).disks] == ["vda", "vdb", "vdc", "vdd"]


def test_what_stood_there_stays_and_a_second_time_changes_nothing(tmp_path: Path, linux: Made) -> None:
    assert list(installed(linux).changed) == [
        files.RULES, files.LVM, files.MDADM, files.MULTIPATH, files.BTRFS]  # fmt: skip
    assert (tmp_path / "etc/lvm/lvmlocal.conf").read_text().startswith("local {\n}\n# BEGIN")
    told = (tmp_path / "etc/mdadm/mdadm.conf").read_text()
    assert told.endswith("# END migratekit\nHOMEHOST <system>\nAUTO +all\n")
    assert re.findall("^AUTO.*", told, re.MULTILINE)[0] == "AUTO -all"  # mdadm.conf(5): the first one counts
    assert re.search("^ARRAY", told, re.MULTILINE), "without any, update-initramfs writes down what it finds"
    again = plan(linux)
    assert (again.changed, again.own) == ((), find_own(linux))
    assert (tmp_path / files.BTRFS.relative_to("/")).stat().st_mode & 0o777 == 0o755


def test_a_disk_that_was_named_once_stays_own_while_it_is_there(tmp_path: Path, linux: Made) -> None:
    disk(tmp_path, "vdd", "252:48", "3a1b2c3d4e5f60718293")
    carry_out(linux, plan(linux, [Path("/dev/vdd")]))
    assert [one.name for one in plan(linux).own.disks] == ["vda", "vdb", "vdd"]
    with pytest.raises(PreconditionError) as caught:
        plan(linux, [Path("/dev/nothing")])
    assert caught.value.code is ErrorCode.FILE_UNREADABLE


LOOKS = {"lvm": look.lvm, "md": look.md, "multipath": look.multipath, "btrfs": look.btrfs, "udisks": look.udisks}
FILES = {"lvm": files.LVM, "md": files.MDADM, "multipath": files.MULTIPATH, "btrfs": files.BTRFS, "udisks": files.RULES}


@pytest.mark.parametrize("tool", LOOKS)
def test_a_filter_that_is_missing_or_changed_is_told(tool: str, tmp_path: Path, linux: Made) -> None:
    with pytest.raises(PreconditionError) as caught:
        LOOKS[tool](linux)
    assert caught.value.code is ErrorCode.FILTER_MISSING
    installed(linux)
    assert LOOKS[tool](linux)
    path = linux.at(FILES[tool])
    whole = path.read_text()
    for damaged in ("", re.sub("migratekit", "migrate", whole, flags=re.IGNORECASE)):
        path.write_text(damaged)
        with pytest.raises(PreconditionError) as caught:
            LOOKS[tool](linux)
        assert caught.value.code is ErrorCode.FILTER_MISSING
        path.write_text(whole)
    assert LOOKS[tool](linux)


@pytest.mark.parametrize("tool", ["lvm", "md", "multipath", "udisks"])
def test_a_tool_that_is_not_installed_needs_none(tool: str, tmp_path: Path, linux: Made) -> None:
    installed(linux)
    for name in TOOLS:
        (tmp_path / "usr/sbin" / name).unlink()
    assert LOOKS[tool](linux) == look.NOT_INSTALLED


def test_udev_that_has_looked_into_a_replica_is_told(tmp_path: Path, linux: Made) -> None:
    installed(linux)
    record = tmp_path / "run/udev/data/b252:34"
    with pytest.raises(PreconditionError) as caught:
        look.disks(linux)
    assert caught.value.code is ErrorCode.FILTER_MISSING
    for number in ("252:32", "252:33", "252:34"):
        (tmp_path / f"run/udev/data/b{number}").write_text("E:MIGRATEKIT_DISK=left-alone\n")
    assert look.disks(linux)
    record.write_text("E:MIGRATEKIT_DISK=left-alone\nE:ID_FS_TYPE=LVM2_member\n")
    with pytest.raises(PreconditionError) as caught:
        look.disks(linux)
    assert (caught.value.code, caught.value.facts["tool"]) == (ErrorCode.FILTER_MISSING, "udev")


def test_a_replica_that_is_held_or_mounted_is_told(tmp_path: Path, linux: Made) -> None:
    installed(linux)
    for number in ("252:32", "252:33", "252:34"):
        (tmp_path / f"run/udev/data/b{number}").write_text("E:MIGRATEKIT_DISK=left-alone\n")
    (tmp_path / "sys/block/vdc/vdc2/holders/dm-9").mkdir(parents=True)
    with pytest.raises(PreconditionError) as caught:
        look.disks(linux)
    assert (caught.value.code, caught.value.facts["disk"]) == (ErrorCode.DEVICE_CLAIMED, "vdc")
    with (tmp_path / "proc/self/mountinfo").open("a") as file:
        file.write("25 22 252:33 / /mnt rw - ext4 /dev/vdc1 rw\n")
    with pytest.raises(PreconditionError) as caught:
        look.disks(linux)
    assert (caught.value.code, caught.value.facts["disk"]) == (ErrorCode.FILTER_UNFIT, "vdc")


def test_a_rule_with_other_words_in_it_is_no_list_of_disks() -> None:
    for line in ("", "[]", '{"disks":[["vda","x y","",["by-id/a"]]],"stacked":[],"arrays":[]}',
                 '{"disks":[["vda","x","",["../a"]]],"stacked":[],"arrays":[]}',
                 '{"disks":[],"stacked":["a|b"],"arrays":[]}', '{"disks":[],"stacked":[],"arrays":["x"]}'):  # fmt: skip
        assert own_of(line) is None
    assert own_of(Own(()).text()) == Own(())


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, linux: Made) -> None:
    todo = plan(linux)
    folder = linux.at(files.RULES).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    with pytest.raises(OperationFailedError) as caught:
        carry_out(linux, todo)
    assert caught.value.code is ErrorCode.FILE_UNWRITABLE
    assert caught.value.todo
    folder.unlink()
    carry_out(linux, todo)
    assert not plan(linux).changed, "to run it again goes on"


def test_a_command_that_fails_hangs_or_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    todo = Plan(Own(()), (), (), (("udevadm", "settle"),))
    program = tmp_path / "udevadm"
    monkeypatch.setattr(programs, "find", lambda name, package: str(program))
    monkeypatch.setattr(install, "SECONDS", 0.2)
    for script, why in (("echo told; exit 3", "told"), ("exit 3", "exit code 3"), ("exec sleep 5", "did not end")):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(OperationFailedError) as caught:
            carry_out(Linux(), todo)
        assert caught.value.code is ErrorCode.FILTER_UNFIT
        assert why in caught.value.why
    monkeypatch.undo()
    monkeypatch.setattr(programs, "ALSO", "")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(PreconditionError) as missing:
        carry_out(Linux(), todo)
    assert missing.value.code is ErrorCode.NOT_INSTALLED


def test_an_oma_that_lies_on_lvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "volume_groups", lambda linux: {"a"})
    with pytest.raises(PreconditionError) as caught:
        plan_filters([])
    assert caught.value.code is ErrorCode.FILTER_UNFIT
