"""What a way to read gives the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from migratekit_core.adapters.readers.remote.channel import Channel


class Disk(Protocol):
    """A disk that is open."""

    size: int
    """Bytes."""

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer with what the disk has from `offset` on; called by several threads at once.

        The buffer is nbdkit's, and somebody else's as soon as this returns or raises: nothing may write into it then.
        Raises FailedError, or OSError with the errno for who reads.
        """

    def close(self) -> None:
        """Take leave; reads that wait end with an error. May be called twice, and by any thread."""


Connect = Callable[[Channel, dict[str, Any]], Disk]
"""Open the disk that the settings name; raises FailedError. What each module of a way to read has as `connect`."""
