"""What a command tells whoever watches it. The command line draws it; a script's run may ignore it."""

from __future__ import annotations

from typing import Protocol

from migratekit_core.engine.job import Progress


class Observer(Protocol):
    """Told of steps and of bytes, from any thread."""

    def step(self, job: str, step: str, status: str) -> None:
        """A step of a job is running, completed or failed."""

    def progress(self, disk: str, progress: Progress) -> None:
        """A disk's copy got this far."""

    def note(self, message: str) -> None:
        """Something the operator should know while it happens."""


class Silent:
    """Watches nothing."""

    def step(self, job: str, step: str, status: str) -> None:
        """Nothing."""

    def progress(self, disk: str, progress: Progress) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
