"""Reads what a guest wrote, in a process of its own: `python -m migratekit_core.services.guests.reading KIND FILE`.

A guest's files are made by whoever has the guest. The process that reads one has limits of memory, of processor time
and of what it may write (setrlimit(2)), an environment of two variables, and takes nothing but a plain file of bounded
size. It answers one JSON object: `{"found": …}`, or `{"unreadable": "why"}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migratekit_core.common.redact import redact
from migratekit_core.common.units import MIB, human_bytes
from migratekit_core.services.guests import initramfs
from migratekit_core.services.guests.initramfs import UnreadableError

MOST_BYTES = 512 * MIB
"""Of a file: initramfs of distributions have 30 to 200 MiB."""
MEMORY_BYTES = 3072 * MIB
CPU_SECONDS = 60
SECONDS = 120.0
"""How long a reading may take in all."""
MOST_ANSWER = 64 * 1024
KINDS: dict[str, Callable[[bytes], Any]] = {"initramfs": initramfs.has_virtio, "config": initramfs.builds_virtio_in}
"""What can be read, and by what. A reader raises UnreadableError for what it does not understand."""


def read(kind: str, file: Path) -> Any:
    """Return what the reader of a kind finds in a file of a guest. Raises UnreadableError, with the reason, for what it
    does not understand, and for what takes more than the limits."""
    command = [sys.executable, "-I", "-m", __name__, kind, str(file)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"reading it takes more than {SECONDS:.0f} s") from None
    finally:
        # What it started has its session, and ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None, "it is a pipe"
        process.stdout.close()
    if process.returncode != 0 or len(told) > MOST_ANSWER:
        raise UnreadableError(_why(process.returncode))
    answer = json.loads(told)
    if "unreadable" in answer:
        raise UnreadableError(redact(str(answer["unreadable"])))
    return answer["found"]


def _why(code: int) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"reading it takes more than {CPU_SECONDS} s of a processor"
    return f"its reader ended with {code}"


def main(kind: str, file: str) -> int:
    """Read one file within the limits, and say what was found."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    try:
        answer = {"found": KINDS[kind](_bytes(file))}
    except UnreadableError as error:
        answer = {"unreadable": str(error)}
    except MemoryError:
        answer = {"unreadable": f"reading it takes more than {human_bytes(MEMORY_BYTES)} of memory"}
    except RecursionError:
        answer = {"unreadable": "it is nested too deeply"}
    sys.stdout.write(json.dumps(answer))
    return 0


def _bytes(file: str) -> bytes:
    """Return a plain file's content; no link is followed, and no device or pipe is opened for long."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableError("it is no plain file")
        if about.st_size > MOST_BYTES:
            raise UnreadableError(f"it has {human_bytes(about.st_size)}, more than {human_bytes(MOST_BYTES)}")
        return opened.read(MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
