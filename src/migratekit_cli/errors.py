"""How an error reaches the operator: what, why, what to do; a traceback only with --debug."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from migratekit_cli.session import as_given
from migratekit_cli.ui.ask import Interrupted
from migratekit_cli.ui.unbroken import reader_is_gone, unbroken_stderr
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import ERROR_FILE, INTERRUPTED_EXIT_CODE, MigrateKitError
from migratekit_core.common.hints import Hint
from migratekit_core.common.interrupts import interrupt
from migratekit_core.common.visible import visible

P = ParamSpec("P")
T = TypeVar("T")

UNEXPECTED_EXIT_CODE = 1


def debugging() -> bool:
    """Return whether tracebacks are wanted."""
    return bool(os.environ.get("MIGRATEKIT_DEBUG"))


def reported(command: Callable[P, T]) -> Callable[P, T]:
    """Have a command's errors told in three lines on stderr, and end with the exit code of their class.

    SIGTERM, and a terminal that is closed, stop every command as Ctrl-C does. A reader of stdout that has seen enough
    (`| head`) ends it in silence; one of stderr ends nothing.
    """

    @functools.wraps(command)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> T:
        with unbroken_stderr():
            return told(*arguments, **options)

    def told(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            signal.signal(signal.SIGTERM, interrupt)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, interrupt)
            # Under nohup it is ignored, and stays so.
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
                signal.signal(signal.SIGHUP, interrupt)
            result = command(*arguments, **options)
            sys.stdout.flush()
            return result
        except MigrateKitError as error:
            _tell(error.what, error.why, error.todo, error.reasons, code=error.code)
            raise typer.Exit(error.exit_code) from None
        except Interrupted as stopped:
            _tell("interrupted", stopped.unchanged, "run the command again: it asks again", code=ErrorCode.CANCELLED)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        except KeyboardInterrupt:
            todo = "run the command again: it goes on from where it was"
            _tell("interrupted", "the run was asked to stop", todo, code=ErrorCode.CANCELLED)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and reader_is_gone():
                raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                where = str(error.filename or "where stdout goes")
                _tell("there is no space left", where, "free some, then run it again", code=ErrorCode.NO_SPACE)
                raise typer.Exit(UNEXPECTED_EXIT_CODE) from None
            from migratekit_core.common.redact import redact

            _tell(
                "migratekit failed unexpectedly",
                redact(f"{type(error).__name__}: {error}"),
                "run it again with --debug before the command, and report what it says",
                code=ErrorCode.UNEXPECTED,
            )
            raise typer.Exit(UNEXPECTED_EXIT_CODE) from None

    return wrapper


def _tell(what: str, why: str, todo: Hint | str, reasons: tuple[Hint, ...] = (), *, code: ErrorCode) -> None:
    """Write an error; several reasons get a line each, with what to do about it, between what and why in number."""
    lines = [f"error: {what} [{code}]"]
    if len(reasons) > 1:
        lines += [f"     - {as_given(reason)}" for reason in reasons]
        why = f"{len(reasons)} things stand in the way"
    if why:
        lines.append(f"  why: {why}")
    if todo:
        lines.append(f"   do: {as_given(todo)}")
    from migratekit_core.common.redact import mask_known

    text = "\n".join(visible(mask_known(" ".join(line.splitlines()))) for line in lines)
    sys.stderr.write(f"{text}\n")
    if file := os.environ.get(ERROR_FILE):
        # On a full disk the exit code still says what kind of error it is, and stderr has been told.
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"code": code.value, "text": text}))
    if debugging():
        from migratekit_core.common.redact import redact

        sys.stderr.write(visible(redact(traceback.format_exc())))
