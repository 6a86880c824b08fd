"""The filters as files: what each of them says, for disks of the OMA's own.

udev's rule is the first of them: of any other disk udev reads no content, so nothing that udev starts (LVM, md, btrfs,
udisks, a mount by label or UUID) learns what is on it. The others are for what looks by itself: commands of LVM and of
md, multipathd, and the scripts of the initramfs.
"""

from __future__ import annotations

import re
from pathlib import Path

from migratekit_core.volumed.filters.own import Own, own_of

RULES = Path("/etc/udev/rules.d/59-migratekit.rules")
"""Before 60-persistent-storage.rules, in which udev looks into disks. The initramfs gets a copy by itself."""
LVM = Path("/etc/lvm/lvmlocal.conf")
MDADM = Path("/etc/mdadm/mdadm.conf")
"""mdadm.conf.d is not for this: the initramfs gets no copy of it."""
MULTIPATH = Path("/etc/multipath/conf.d/migratekit.conf")
BTRFS = Path("/etc/initramfs-tools/scripts/local-premount/btrfs")
"""In place of Debian's script of that name, which has the kernel look for btrfs on all disks."""
BTRFS_SCRIPT = Path("/usr/share/initramfs-tools/scripts/local-premount/btrfs")
WRITTEN = "# Written by MigrateKit (volumes daemon filters). To change it, run that command again."
OWN = "# own: "
BEGIN, END = "# BEGIN migratekit", "# END migratekit"
BLOCK = re.compile(rf"^{BEGIN}.*?^{END}\n?", re.MULTILINE | re.DOTALL)
NO_ARRAY = "00000000:00000000:00000000:00000000"
PARTITION = "(-part[0-9]+)?"


def rules(own: Own) -> str:
    """Return udev's rule."""
    mine = []
    for disk in own.disks:
        if disk.serial:
            mine += [
                f'KERNEL=="vd*", ATTR{{serial}}=="{disk.serial}", ENV{{MIGRATEKIT_DISK}}="own"',
                f'KERNEL=="sd*", PROGRAM=="scsi_id --page=0x80 --whitelisted --device=$devnode", '
                f'RESULT=="*{disk.serial}", ENV{{MIGRATEKIT_DISK}}="own"',
            ]
        else:
            mine.append(f'IMPORT{{builtin}}="path_id", ENV{{ID_PATH}}=="{disk.path}", ENV{{MIGRATEKIT_DISK}}="own"')
    lines = [
        WRITTEN,
        "# What is on any disk but these is a replica's: nothing on this machine looks into it.",
        f"{OWN}{own.text()}",
        'SUBSYSTEM!="block", GOTO="migratekit_end"',
        'ACTION=="remove", GOTO="migratekit_end"',
        'KERNEL!="vd*|sd*", GOTO="migratekit_end"',
        'ENV{DEVTYPE}=="partition", IMPORT{parent}="MIGRATEKIT_DISK"',
        'ENV{DEVTYPE}=="partition", GOTO="migratekit_decided"',
        'ENV{MIGRATEKIT_DISK}="left-alone"',
        *mine,
        'LABEL="migratekit_decided"',
        'ENV{MIGRATEKIT_DISK}=="own", GOTO="migratekit_end"',
        "# No look at its content; no unit waits for it; udisks does not show it.",
        'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_BLKID_FLAG}="1"',
        'ENV{SYSTEMD_READY}="0"',
        'ENV{UDISKS_IGNORE}="1"',
        'LABEL="migratekit_end"',
    ]
    return "\n".join(lines) + "\n"


def own_in(rule: str) -> Own | None:
    """Return the disks that an installed rule of udev is for; None where it does not tell."""
    lines = [line.removeprefix(OWN) for line in rule.splitlines() if line.startswith(OWN)]
    return own_of(lines[0]) if len(lines) == 1 else None


def patterns(own: Own) -> list[str]:
    """Return LVM's patterns: the OMA's own disks are accepted, all else is rejected."""
    names = [f"/dev/disk/{_literal(link)}{PARTITION}" for disk in own.disks for link in disk.links]
    names += [f"/dev/disk/by-id/{_literal(link)}" for link in own.stacked]
    return [*(f"a|^{name}$|" for name in names), "r|.*|"]


def lvm_settings(own: Own) -> str:
    """Return the settings of LVM, as a file or --config takes them."""
    told = ", ".join(f'"{pattern}"' for pattern in patterns(own))
    return f"devices {{\n    use_devicesfile = 0\n    global_filter = [ {told} ]\n}}"


def lvm(before: str, own: Own) -> str:
    """Return lvmlocal.conf with our block at its end."""
    block = f"{BEGIN}\n{WRITTEN}\n{lvm_settings(own)}\n{END}\n"
    rest = without(before)
    return f"{rest}{'' if not rest or rest.endswith(chr(10)) else chr(10)}{block}"


def mdadm(before: str, own: Own) -> str:
    """Return mdadm.conf with our block at its beginning: of several lines AUTO the first one counts."""
    links = " ".join(f"/dev/disk/{link}*" for disk in own.disks for link in disk.links)
    lines = [
        BEGIN,
        WRITTEN,
        "AUTO -all",
        f"DEVICE {links}",
        "# Of no array; without any such line update-initramfs writes down every array that it finds.",
        f"ARRAY <ignore> UUID={NO_ARRAY}",
        *(f"ARRAY UUID={array}" for array in own.arrays if array not in without(before)),
        END,
    ]
    return "\n".join(lines) + "\n" + without(before)


def multipath() -> str:
    """Return multipath's filter: no disk of the OMA has several paths."""
    return f'{WRITTEN}\nblacklist {{\n    devnode ".*"\n}}\n'


def btrfs(own: Own) -> str:
    """Return the script that has the kernel look for btrfs on the OMA's own disks, and on no other."""
    links = " ".join(f"/dev/disk/{link}*" for disk in own.disks for link in disk.links)
    return f"""#!/bin/sh
{WRITTEN}
[ "$1" = prereqs ] && exit 0
if [ -x /bin/btrfs ]; then
    modprobe btrfs || :
    for device in {links}; do
        if [ -b "$device" ]; then /bin/btrfs device scan "$device" >/dev/null 2>&1 || :; fi
    done
fi
exit 0
"""


def without(before: str) -> str:
    """Return a file's text without our block."""
    return BLOCK.sub("", before)


def _literal(link: str) -> str:
    """Return a link as a regular expression of LVM's, which has no backslash left after its file was read."""
    return link.replace(".", "[.]").replace("+", "[+]")
