"""What the global options say, and how a command gets its configuration and its runtime."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from migratekit_cli.watch import watching
from migratekit_core.errors import UsageError

if TYPE_CHECKING:
    from migratekit_core.config import Config
    from migratekit_core.runtime import Runtime


@dataclass(frozen=True)
class Globals:
    """The options that stand before the command."""

    config: Path | None
    profile: str | None


def configuration(context: typer.Context) -> Config:
    """Return the configuration."""
    from migratekit_core.config import load_config

    chosen: Globals = context.obj
    return load_config(chosen.config, chosen.profile)


@contextmanager
def runtime(context: typer.Context) -> Iterator[Runtime]:
    """Yield an open runtime whose progress is shown; SIGTERM stops it as Ctrl-C does, with checkpoints."""
    from migratekit_core.runtime import open_runtime

    config = configuration(context)
    signal.signal(signal.SIGTERM, _interrupt)
    with watching() as observer, open_runtime(config, observer) as opened:
        yield opened


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def confirm(question: str, yes: bool) -> None:
    """Ask before something is changed for good. Without a terminal nobody can answer, so --yes is needed there."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this needs a confirmation", "there is no terminal to ask on", "pass --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort
