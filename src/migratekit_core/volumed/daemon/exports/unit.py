"""The exporter as a unit of its own: it keeps the NBD server running, and outlives every stop of the daemon.

It knows neither databases nor CloudStack. Exports are links in a folder, which the daemon makes and takes away; the
daemon finds this process by the lock that it holds, and wakes it (SIGHUP) where the server is to be started at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, OperationFailedError
from migratekit_core.config.schema import Daemon
from migratekit_core.volumed.daemon.exports.choose import exporter_of, retire_others
from migratekit_core.volumed.daemon.exports.exporter import LOCK, WATCH_SECONDS
from migratekit_core.volumed.daemon.notify import notify

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def serve(settings: Daemon) -> None:
    """Keep the exporter running until SIGTERM, and stop it then. Raises BusyError where another process does so, and
    OperationFailedError where the server does not start."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    with _only_one(settings.state_dir):
        forget_another_boot(settings.state_dir)
        retire_others(settings)
        exporter = exporter_of(settings, supervised=False)
        exporter.start()
        notify("READY=1", "STATUS=serving")
        while True:
            told = signal.sigtimedwait(numbers, WATCH_SECONDS)
            if told is not None and told.si_signo != signal.SIGHUP:
                break
            # The port may be taken for a moment; the daemon tells whoever exports something meanwhile.
            with contextlib.suppress(OperationFailedError):
                exporter.start()
        notify("STOPPING=1")
        exporter.stop()


def forget_another_boot(state_dir: Path) -> bool:
    """Take away the exports of another boot of this machine, once; return whether there was one.

    What a copy had written and not flushed was in this machine's memory. A copy that found its export again would take
    it for written; without one it ends, and the next run goes on from what was flushed.
    """
    boot = BOOT_ID.read_text().strip()
    known = state_dir / "exports.boot_id"
    if known.exists() and known.read_text() == boot:
        return False
    for folder in (state_dir / "exports", state_dir / "given"):
        for entry in folder.iterdir() if folder.is_dir() else ():
            entry.unlink()
    known.write_text(boot)
    return True


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    with (state_dir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "an exporter runs already",
                f"the lock {state_dir / LOCK} is held",
                "stop it first",
                code=ErrorCode.ALREADY_RUNNING,
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
