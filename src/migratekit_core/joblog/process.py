"""Who is running: a process is told from a later one with the same pid by when it started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from migratekit_core.common.files import write_private

STARTTIME_FIELD = 19
"""Index of `starttime` (clock ticks since boot) behind the command's name in /proc/PID/stat: field 22 of proc(5)."""


def started(pid: int) -> str:
    """Return a text that names this run of `pid`, or "" where no such process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return ""
    return f"{boot[:8]}-{fields[STARTTIME_FIELD]}"


def this_process() -> tuple[str, int, str]:
    """Return host name, pid and start of this process."""
    pid = os.getpid()
    return socket.gethostname(), pid, started(pid)


def write_pid(path: Path, pid: int) -> None:
    """Write a running process down, with its start: all at once, for whoever reads half of it takes it for gone."""
    write_private(path, f"{pid} {started(pid)}\n")


def running_pid(path: Path) -> int | None:
    """Return the pid that was written down if that process still runs: an old file may name somebody else's by now."""
    try:
        text, _, began = path.read_text().strip().partition(" ")
        pid = int(text)
    except (OSError, ValueError):
        return None
    return pid if began and started(pid) == began else None
