"""Writes the filters, when it has made sure that the OMA finds itself with them; to repeat it changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common import programs
from migratekit_core.common.childprocess import last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError
from migratekit_core.common.files import write_private
from migratekit_core.volumed.filters import files, look
from migratekit_core.volumed.filters.own import Own, find_own, members, present, unfit, volume_groups
from migratekit_core.volumed.filters.places import Linux, text

SECONDS = 1800
"""How long a command may take: update-initramfs makes an image for each kernel."""
PACKAGES = {"udevadm": "udev", "multipathd": "multipath-tools", "update-initramfs": "initramfs-tools"}
"""Debian's, of the programs that follow the filters."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    own: Own
    files: tuple[tuple[Path, str], ...]
    """All filters that this system needs, with what each is to hold."""
    changed: tuple[Path, ...]
    """Those that hold something else."""
    commands: tuple[tuple[str, ...], ...]


def plan(linux: Linux, also: Iterable[Path] = ()) -> Plan:
    """Return what is to be done so that nothing on this system looks into a disk that is not its own.

    Its own are those in use, those of `also`, and those that the filters in place name. Raises PreconditionError
    (FILTER_UNFIT, FILE_UNREADABLE) where it would not find itself afterwards; AuthError for all but root.
    """
    if linux.here and os.geteuid() != 0:
        raise AuthError(
            "the filters are root's to write", "this is another user", "run it as root", code=ErrorCode.FILE_UNWRITABLE
        )
    before = files.own_in(text(linux.at(files.RULES)))
    own = find_own(linux, [*also, *(present(linux, before) if before is not None else ())])
    _require_own_groups(linux, own)
    wanted = tuple(_wanted(linux, own))
    changed = tuple(path for path, content in wanted if text(linux.at(path)) != content)
    return Plan(own, wanted, changed, tuple(_commands(linux, changed)))


def carry_out(linux: Linux, todo: Plan) -> None:
    """Write what is changed, and have udev, multipathd and the initramfs follow.

    Raises OperationFailedError: FILE_UNWRITABLE, FILTER_UNFIT where a command fails; PreconditionError where one is
    not installed. To run it again goes on.
    """
    contents = dict(todo.files)
    for path in todo.changed:
        _put(linux.at(path), contents[path], 0o755 if path == files.BTRFS else 0o644)
    for command in todo.commands if linux.here else ():
        why = _run(command)
        if why:
            raise OperationFailedError(
                f"{command[0]} failed, and the filters are not all in force",
                why,
                f"run it by hand, then this again: {' '.join(command)}",
                code=ErrorCode.FILTER_UNFIT,
                facts={"program": command[0]},
            )


def _put(there: Path, content: str, mode: int) -> None:
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        write_private(there, content)
        there.chmod(mode)
    except OSError as error:
        raise OperationFailedError(
            f"{there} cannot be written, and the filters are not all in force",
            error.strerror or str(error),
            "free space or remove what stands in its way, then run this again",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(there)},
        ) from error


def _run(command: tuple[str, ...]) -> str:
    """Run a command; return why it failed, "" where it has not. Raises PreconditionError where it is not installed."""
    name, *arguments = command
    try:
        done = subprocess.run(
            [programs.find(name, PACKAGES[name]), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {SECONDS} s"
    if done.returncode == 0:
        return ""
    return last_line(done.stderr, "") or last_line(done.stdout, f"exit code {done.returncode}")


def _wanted(linux: Linux, own: Own) -> Iterator[tuple[Path, str]]:
    yield files.RULES, files.rules(own)
    if linux.has("lvm"):
        yield files.LVM, files.lvm(text(linux.at(files.LVM)), own)
    if linux.has("mdadm"):
        yield files.MDADM, files.mdadm(text(linux.at(files.MDADM)), own)
    if linux.has("multipathd", "multipath"):
        yield files.MULTIPATH, files.multipath()
    if linux.at(files.BTRFS_SCRIPT).exists():
        yield files.BTRFS, files.btrfs(own)


def _commands(linux: Linux, changed: tuple[Path, ...]) -> Iterator[tuple[str, ...]]:
    if changed:
        yield "udevadm", "control", "--reload"
        yield "udevadm", "trigger", "--subsystem-match=block", "--action=change"
        yield "udevadm", "settle", "--timeout=120"
    if files.MULTIPATH in changed and (linux.root / "run/multipathd.pid").exists():
        yield "multipathd", "reconfigure"
    # Also where an earlier run ended between the files and this.
    inside = set(changed) - {files.MULTIPATH}
    if linux.has("update-initramfs") and (inside or look.stale_initramfs(linux)):
        yield "update-initramfs", "-u", "-k", "all"


def _require_own_groups(linux: Linux, own: Own) -> None:
    """Ask LVM, with the filter that is to be, for all of the OMA's own volume groups. Raises PreconditionError."""
    groups = volume_groups(linux)
    hidden = set(members(linux, groups)) - set(members(linux, groups, files.lvm_settings(own)))
    if hidden:
        raise unfit(
            "with its filter LVM would not find a volume group of the OMA's own",
            f"it would reject device {', '.join(sorted(hidden))}",
        )
