"""Starts the process that hashes a source disk, and asks it. It never outlives the block."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from migratekit_core.common import childprocess
from migratekit_core.common.childprocess import Child
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, from_fields
from migratekit_core.engine.digests import blocks
from migratekit_core.engine.digests.blocks import Range
from migratekit_core.engine.process import Engines


class Hasher:
    """A process that hashes one disk."""

    def __init__(self, disk: str, process: Child) -> None:
        self._disk = disk
        self._process = process

    def digests(
        self, ranges: Sequence[Range], block_size: int, data: Sequence[Range], observe: Callable[[int], None]
    ) -> tuple[list[bytes], int]:
        """Return the digests of ranges, cut into blocks, and how many bytes were read for them.

        `observe` is told now and then how many bytes are done. Raises the process's error as the class it was, and
        KeyboardInterrupt where it was asked to stop.
        """
        self.send({"ranges": ranges, "block_size": block_size, "data": data})
        for line in self._process.lines():
            said = json.loads(line)
            if "progress" in said:
                observe(said["progress"])
            elif "error" in said:
                raise from_fields(said["error"])
            else:
                count = sum(1 for _ in blocks.cut(ranges, block_size))
                return blocks.unpack(said["digests"], count), said["read"]
        ending = self._process.ending()
        if ending.interrupted:
            raise KeyboardInterrupt
        raise OperationFailedError(
            f"the process that hashed {self._disk} died",
            ending.reason,
            "run the command again",
            code=ErrorCode.PROCESS_DIED,
            facts={"disk": self._disk},
        )

    def ended(self) -> bool:
        """Return whether the process is gone: it stays as long as nobody stops it."""
        return not self._process.running()

    def send(self, message: dict[str, Any]) -> None:
        """Write a line to the process; one that is dead says why itself, or its exit code does."""
        self._process.say(json.dumps(message))


@contextmanager
def hasher(disk: str, uri: str, size: int, request_size: int, engines: Engines) -> Iterator[Hasher]:
    """Run a process that hashes the disk of `size` bytes behind an NBD URI as long as the block runs.

    It counts among `engines`, so that it is stopped together with them.
    """
    process = childprocess.start([sys.executable, "-m", "migratekit_core.engine.digests"], talks=True)
    engines.add(process)
    try:
        opened = Hasher(disk, process)
        opened.send({"uri": uri, "disk": disk, "size": size, "request_size": request_size})
        yield opened
    finally:
        process.kill()
        engines.remove(process)
