"""Starts the process that hashes a source disk, and asks it. It never outlives the block."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from migratekit_core.common.errors import OperationFailedError, from_fields
from migratekit_core.common.redact import child_environment, redact
from migratekit_core.engine.digests import blocks
from migratekit_core.engine.digests.blocks import Range
from migratekit_core.engine.process import Engines


class Hasher:
    """A process that hashes one disk."""

    def __init__(self, disk: str, process: subprocess.Popen[str], stderr: IO[str]) -> None:
        self._disk = disk
        self._process = process
        self._stderr = stderr

    def digests(
        self, ranges: Sequence[Range], block_size: int, data: Sequence[Range], observe: Callable[[int], None]
    ) -> tuple[list[bytes], int]:
        """Return the digests of ranges, cut into blocks, and how many bytes were read for them.

        `observe` is told now and then how many bytes are done. Raises the process's error as the class it was, and
        KeyboardInterrupt where it was asked to stop.
        """
        self.send({"ranges": ranges, "block_size": block_size, "data": data})
        assert self._process.stdout is not None, "it is a pipe"
        for line in self._process.stdout:
            said = json.loads(line)
            if "progress" in said:
                observe(said["progress"])
            elif "error" in said:
                raise from_fields(said["error"])
            else:
                count = sum(1 for _ in blocks.cut(ranges, block_size))
                return blocks.unpack(said["digests"], count), said["read"]
        code = self._process.wait()
        if code == -signal.SIGTERM:
            raise KeyboardInterrupt
        self._stderr.seek(0)
        words = self._stderr.read().strip().splitlines()
        raise OperationFailedError(
            f"the process that hashed {self._disk} died",
            redact(words[-1]) if words else f"exit code {code}",
            "run the command again",
        )

    def ended(self) -> bool:
        """Return whether the process is gone: it stays as long as nobody stops it."""
        return self._process.poll() is not None

    def send(self, message: dict[str, Any]) -> None:
        """Write a line to the process; one that is dead says why itself, or its exit code does."""
        assert self._process.stdin is not None, "it is a pipe"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()


@contextmanager
def hasher(disk: str, uri: str, size: int, request_size: int, engines: Engines) -> Iterator[Hasher]:
    """Run a process that hashes the disk of `size` bytes behind an NBD URI as long as the block runs.

    It counts among `engines`, so that it is stopped together with them.
    """
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "migratekit_core.engine.digests"],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Ctrl-C reaches us, and we stop it.
            start_new_session=True,
        )
        engines.add(process)
        try:
            opened = Hasher(disk, process, stderr)
            opened.send({"uri": uri, "disk": disk, "size": size, "request_size": request_size})
            yield opened
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None, "both are pipes"
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            process.wait()
            engines.remove(process)
