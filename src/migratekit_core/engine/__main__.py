"""Runs one copy: job and areas on stdin, events on stdout, SIGTERM to stop with a checkpoint."""

from __future__ import annotations

import signal
import sys

from migratekit_core.engine.control import Control
from migratekit_core.engine.copier import Copier, Interrupted
from migratekit_core.engine.job import Event, Failure, encode
from migratekit_core.errors import INTERRUPTED_EXIT_CODE, MigrateKitError


def main() -> int:
    """Copy, and return the exit code of docs/exit-codes.md."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: asked.append(signum))
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
        emit(Failure(error.what, error.why, error.todo, error.exit_code))
        return error.exit_code
    except BrokenPipeError:
        return INTERRUPTED_EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
