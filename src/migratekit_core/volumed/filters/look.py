"""Whether the filters are there and in force: a finding or an error for each of LVM, md, multipath, btrfs, udisks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, on_oma
from migratekit_core.volumed.devices import Places
from migratekit_core.volumed.filters import files
from migratekit_core.volumed.filters.own import Own, disks_in_use, others, properties, with_partitions
from migratekit_core.volumed.filters.places import Linux, text
from migratekit_core.volumed.inuse import Kind, use_of

INSTALL = hint("as root on the OMA: ", on_oma("volumes", "daemon", "filters"))
NOT_INSTALLED = "not installed, so it needs no filter"


def installed(linux: Linux) -> Own:
    """Return the disks that the filters in place are for. Raises PreconditionError (FILTER_MISSING) where udev's rule,
    which tells that, is missing, or another than this version's."""
    rule = text(linux.at(files.RULES))
    own = files.own_in(rule)
    if own is None or rule != files.rules(own):
        raise missing("udev", files.RULES)
    return own


def lvm(linux: Linux) -> str:
    """Return what is to be said of LVM's filter. Raises PreconditionError (FILTER_MISSING), as the others do."""
    if not linux.has("lvm"):
        return NOT_INSTALLED
    own = installed(linux)
    _same(linux, "lvm", files.LVM, lambda before: files.lvm(before, own))
    if linux.here:
        said = linux.printed("lvmconfig", "devices/global_filter", "devices/use_devicesfile") or ""
        told = dict(line.strip().partition("=")[::2] for line in said.splitlines())
        if told.get("use_devicesfile") != "0" or _list(told.get("global_filter", "")) != files.patterns(own):
            raise missing("lvm", files.LVM, "another setting of LVM outweighs it: lvmconfig devices/global_filter")
    return f"accepts {_disks(own)} alone"


def md(linux: Linux) -> str:
    """Return what is to be said of mdadm's filter."""
    if not linux.has("mdadm"):
        return NOT_INSTALLED
    own = installed(linux)
    _same(linux, "md", files.MDADM, lambda before: files.mdadm(before, own))
    return "assembles nothing that it is not told to"


def multipath(linux: Linux) -> str:
    """Return what is to be said of multipath's filter."""
    if not linux.has("multipathd", "multipath"):
        return NOT_INSTALLED
    _same(linux, "multipath", files.MULTIPATH, lambda before: files.multipath())
    return "takes no disk"


def btrfs(linux: Linux) -> str:
    """Return what is to be said of the search for btrfs, by udev and at boot; the kernel knows btrfs without a tool."""
    own = installed(linux)
    if linux.at(files.BTRFS_SCRIPT).exists():
        _same(linux, "btrfs", files.BTRFS, lambda before: files.btrfs(own))
    return f"is looked for on {_disks(own)} alone"


def udisks(linux: Linux) -> str:
    """Return what is to be said of udisks, and of mounts by label and UUID."""
    installed(linux)
    return "is shown no replica" if linux.has("udisksd") else NOT_INSTALLED


def disks(linux: Linux) -> str:
    """Return how many disks are left alone. Raises PreconditionError: FILTER_UNFIT where one of the OMA's own is not in
    the filters, FILTER_MISSING where udev has looked into another, DEVICE_MOUNTED and DEVICE_CLAIMED where one is used.
    """
    own = installed(linux)
    alien = others(linux, own)
    if forgotten := sorted(disks_in_use(linux).intersection(alien)):
        raise PreconditionError(
            f"{forgotten[0]} is in use, and the filters take it for a replica",
            "this system lies on it, or somebody has mounted what is in a replica",
            hint("is it the OMA's own? ", INSTALL, "; else unmount it"),
            code=ErrorCode.FILTER_UNFIT,
            facts={"disk": forgotten[0]},
        )
    places = Places(linux.root / "dev/disk/by-id", linux.sys / "block", linux.root / "dev", linux.proc)
    for name in alien:
        use = use_of(places, places.dev / name, {os.getpid()})
        if use is not None and use.kind is not Kind.OPEN:
            raise PreconditionError(
                f"what is in the replica on {name} is in use",
                use.why,
                "deactivate it (lsblk; vgchange -an, mdadm --stop, umount): nothing on the OMA may",
                code=ErrorCode.DEVICE_MOUNTED if use.kind is Kind.MOUNTED else ErrorCode.DEVICE_CLAIMED,
                facts={"disk": name},
            )
        for one in with_partitions(linux, name):
            known = properties(linux, one)
            if known and (known.get("MIGRATEKIT_DISK") != "left-alone" or "ID_FS_TYPE" in known):
                raise missing("udev", files.RULES, f"udev has looked into {one}")
    return f"{len(own.disks)} of the OMA's own, {len(alien)} left alone"


def stale_initramfs(linux: Linux) -> Path | None:
    """Return the running kernel's initramfs where it was made before a filter that belongs into it; else None."""
    image = linux.at(Path("/boot") / f"initrd.img-{os.uname().release}")
    try:
        made = image.stat().st_mtime_ns
    except OSError:
        return None
    for path in (files.RULES, files.LVM, files.MDADM, files.BTRFS):
        try:
            if linux.at(path).stat().st_mtime_ns > made:
                return image
        except OSError:
            continue
    return None


def missing(tool: str, path: Path, why: str = "") -> PreconditionError:
    """Return the error for a filter that is not there, or not in force."""
    return PreconditionError(
        f"what is in a replica may be activated on this host ({tool})",
        why or f"{path} does not hold its filter",
        INSTALL,
        code=ErrorCode.FILTER_MISSING,
        facts={"tool": tool, "path": str(path)},
    )


def _same(linux: Linux, tool: str, path: Path, wanted: Callable[[str], str]) -> None:
    found = text(linux.at(path))
    if not found or found != wanted(found):
        raise missing(tool, path)


def _list(value: str) -> list[str]:
    try:
        return [str(one) for one in json.loads(value)]
    except (ValueError, TypeError):
        return []


def _disks(own: Own) -> str:
    return ", ".join(one.name for one in own.disks)
