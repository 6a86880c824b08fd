"""Runs one copy: job and areas on stdin, events on stdout, SIGTERM to stop with a checkpoint."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

from migratekit_core.common.errors import INTERRUPTED_EXIT_CODE, MigrateKitError, to_fields
from migratekit_core.engine.control import Control
from migratekit_core.engine.copier import Copier, Interrupted
from migratekit_core.engine.job import Event, Failure, encode

STOP_SECONDS = 1.8
"""How long a stop may take: what waits for a server inside libnbd, or for its parent, is ended then."""


def main() -> int:
    """Copy, and return the exit code of docs/exit-codes.md."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: asked.append(signum))
    _bound_stops()
    control = Control(sys.stdin.fileno())

    def stopping() -> bool:
        # A parent that is gone cannot store a checkpoint, and the next run must find the target unused.
        return bool(asked) or control.gone

    def emit(event: Event) -> None:
        sys.stdout.write(encode(event))
        sys.stdout.flush()

    try:
        job, areas = control.job()
        emit(Copier(job, emit, stopping, control.commands).run(areas))
    except (Interrupted, EOFError):
        return INTERRUPTED_EXIT_CODE
    except MigrateKitError as error:
        emit(Failure(to_fields(error)))
        return error.exit_code
    except BrokenPipeError:
        return INTERRUPTED_EXIT_CODE
    return 0


def _bound_stops() -> None:
    """End the process some time after the first signal, whatever it is waiting for; the last checkpoint holds then."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python's own handlers only run between two steps of the interpreter; this is written to by the signal itself.
    signal.set_wakeup_fd(writer)

    def wait() -> None:
        os.read(reader, 1)
        time.sleep(STOP_SECONDS)
        os._exit(INTERRUPTED_EXIT_CODE)

    _thread.start_new_thread(wait, ())


if __name__ == "__main__":
    # All has been said, and connections are closed: to take the interpreter apart takes another hundredth of a second.
    os._exit(main())
