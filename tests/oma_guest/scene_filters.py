"""What becomes of replicas as they are plugged into an OMA: without the filters, with them, and over a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab.oma_guest import REPLICAS, Guest, Images, serial
from tests.lab.oma_guest.image import OWN_DATA, OWN_ROOT

FIND_PATHS = "/etc/multipath.conf"
"""An operator who has multipath look for paths by itself; Debian's own setting wants to be told of each disk."""


@dataclass(frozen=True)
class Plugged:
    """A replica's disk, and how it is plugged in."""

    name: str
    image: str
    bus: str = "blk"
    share: bool = False


DISKS = [
    Plugged("lvm", "lvm"),
    Plugged("vg", "vg", "scsi"),
    Plugged("md1", "md1"),
    Plugged("md2", "md2", "scsi"),
    Plugged("btrfs1", "btrfs1"),
    Plugged("btrfs2", "btrfs2", "scsi"),
    Plugged("ext4", "ext4"),
    Plugged("paths1", "paths", "scsi", share=True),
    Plugged("paths2", "paths", "scsi", share=True),
]


def plug_all(guest: Guest, images: Images) -> None:
    for one in DISKS:
        guest.plug(one.name, guest.copy(images.replicas[one.image]), REPLICAS[one.image], bus=one.bus, share=one.share)


def name_of(guest: Guest, image: str) -> str:
    """Return the kernel's name of a replica's disk, by its serial."""
    for name in sorted(guest.disks()):
        told = guest.run(
            f"cat /sys/block/{name}/serial 2>/dev/null || tail -c +5 /sys/block/{name}/device/vpd_pg80", check=False
        )
        if told.strip("\0\n ") == serial(REPLICAS[image]):
            return name
    raise AssertionError(f"{image} is not plugged in")


def activated(guest: Guest, images: Images) -> dict[str, bool]:
    """Return what Linux has made of the replicas that are plugged in."""
    btrfs1 = name_of(guest, "btrfs1")
    ext4 = name_of(guest, "ext4")
    uuid = guest.run(f"blkid -p -o value -s UUID /dev/{ext4}").strip()
    return {
        "lvm": "guestvg-guestlv" in guest.run("ls /dev/mapper"),
        "lvm sees it": "guestvg" in guest.run("vgs -o vg_name 2>/dev/null"),
        "same name": int(guest.run("vgs --noheadings -o vg_name 2>/dev/null | grep -cw oma || true")) > 1,
        "md": " : active" in guest.run("cat /proc/mdstat"),
        # Asks the kernel whether it has seen all devices of the file system that this one belongs to.
        "btrfs": guest.ask(f"btrfs device ready /dev/{btrfs1}")[0] == 0,
        "multipath": "(253:" in guest.run("dmsetup ls --target multipath"),
        "label": guest.ask("test -e /dev/disk/by-label/data")[0] == 0,
        "uuid": guest.ask(f"test -e /dev/disk/by-uuid/{uuid}")[0] == 0,
        "unit": "active" in guest.run(f"systemctl is-active dev-{ext4}.device || true").split(),
        "udisks": guest.ask(f"udisksctl info -b /dev/{ext4} | grep -q 'HintIgnore: *false'")[0] == 0,
    }


def the_oma_runs_from_its_own(guest: Guest) -> None:
    """Assert that root, swap and the data of the OMA are those of its own disks."""
    sources = guest.run("findmnt -no SOURCE /; findmnt -no SOURCE /srv; findmnt -no SOURCE /boot").split()
    assert sources[:2] == ["/dev/mapper/oma-root", "/dev/mapper/omadata-srv"]
    for target, volume_id in (("/", OWN_ROOT), ("/srv", OWN_DATA)):
        below = guest.run(f"lsblk -nso NAME,TYPE $(findmnt -no SOURCE {target}) --raw").splitlines()
        disk = below[-1].split()[0]
        told = guest.run(f"cat /sys/block/{disk}/serial 2>/dev/null || tail -c +5 /sys/block/{disk}/device/vpd_pg80")
        assert told.strip("\0\n ") == serial(volume_id)
    assert "dm-" in guest.run("swapon --noheadings --show=NAME") or guest.run("swapon --noheadings")


def doctor(guest: Guest) -> tuple[int, dict[str, dict[str, str]]]:
    """Return how doctor ends about the filters, and its lines by their checks."""
    code, said = guest.ask("migratekit doctor --topic filters --output json")
    lines = json.loads(said[said.index("{") :])["lines"]
    return code, {line["check"]: line for line in lines}


def test_without_filters_linux_activates_what_is_in_replicas(guest: Guest, images: Images) -> None:
    """The test of the test below; and doctor says so, filter by filter."""
    guest.write(FIND_PATHS, "defaults {\n    find_multipaths yes\n}\n")
    guest.run("systemctl restart multipathd")
    plug_all(guest, images)
    found = activated(guest, images)
    assert found == dict.fromkeys(found, True)
    code, lines = doctor(guest)
    assert code == 4
    for name in ("lvm", "md", "multipath", "btrfs", "udisks"):
        assert (lines[f"filters.{name}"]["status"], lines[f"filters.{name}"]["code"]) == ("failed", "filter-missing")


def test_with_them_nothing_is_activated_and_the_oma_boots_from_its_own(guest: Guest, images: Images) -> None:
    guest.write(FIND_PATHS, "defaults {\n    find_multipaths yes\n}\n")
    guest.run("systemctl restart multipathd")
    told = json.loads(guest.run("migratekit volumes daemon filters --output json"))
    assert {one["serial"] for one in told["own"]} == {serial(OWN_ROOT), serial(OWN_DATA)}
    plug_all(guest, images)
    nothing(guest, images)
    again = json.loads(guest.run("migratekit volumes daemon filters --output json"))
    assert {one["change"] for one in again["changes"]} == {"same"}, "a second time there is nothing to do"
    # What looks by itself finds nothing either, and an image that is made now holds nothing of theirs.
    guest.run("vgchange -aay; mdadm --assemble --scan; multipath; update-initramfs -u -k all")
    nothing(guest, images)
    guest.stop()
    guest.start()
    the_oma_runs_from_its_own(guest)
    nothing(guest, images)
    each_filter_counts(guest)


def nothing(guest: Guest, images: Images) -> None:
    found = activated(guest, images)
    assert found == dict.fromkeys(found, False)
    _, lines = doctor(guest)
    bad = {name: line for name, line in lines.items() if line["status"] == "failed" and name != "filters.disks"}
    assert bad == {}
    # The daemon does not run here: whether a replica is among the OMA's own disks is not known. All else is.
    assert lines["filters.disks"]["status"] in ("ok", "skipped"), lines["filters.disks"]


def each_filter_counts(guest: Guest) -> None:
    """Take one filter away after the other: doctor names it."""
    places = {
        "lvm": "/etc/lvm/lvmlocal.conf",
        "md": "/etc/mdadm/mdadm.conf",
        "multipath": "/etc/multipath/conf.d/migratekit.conf",
        "btrfs": "/etc/initramfs-tools/scripts/local-premount/btrfs",
        "udisks": "/etc/udev/rules.d/59-migratekit.rules",
    }
    for name, path in places.items():
        guest.run(f"mv {path} /root/aside")
        code, lines = doctor(guest)
        line = lines[f"filters.{name}"]
        assert (code, line["status"], line["code"]) == (4, "failed", "filter-missing")
        guest.run(f"mv /root/aside {path}")
    _, lines = doctor(guest)
    assert all(lines[f"filters.{name}"]["status"] == "ok" for name in places)
