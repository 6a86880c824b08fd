"""What a command tells whoever watches it. The command line draws it; a script's run may ignore it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """How far the copy of a disk got; sizes are bytes. The engine sends it at least each second (engine.job)."""

    done: int
    total: int
    read: int
    written: int
    zeroed: int
    rate: float
    """Bytes done per second since the last one."""
    window: int
    """Bytes that may be in flight now."""
    connections: int
    retries: int
    carriers: int = 0
    """Threads that read and write pieces now, instead of the loop."""
    event: str = "progress"


class Observer(Protocol):
    """Told of steps and of bytes, from any thread."""

    def step(self, job: str, step: str, status: str) -> None:
        """A step of a job is running, completed or failed."""

    def expect(self, disks: Sequence[str]) -> None:
        """These disks will be worked on: what `progress` says of them adds up to the whole."""

    def progress(self, disk: str, progress: Progress) -> None:
        """A disk's copy got this far."""

    def note(self, message: str) -> None:
        """Something the operator should know while it happens."""


class Silent:
    """Watches nothing."""

    def step(self, job: str, step: str, status: str) -> None:
        """Nothing."""

    def expect(self, disks: Sequence[str]) -> None:
        """Nothing."""

    def progress(self, disk: str, progress: Progress) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
