"""Hashes one disk for its parent: a job on stdin, then questions; answers on stdout, one JSON line each.

    {"uri": …, "disk": …, "size": …, "request_size": …}
    {"ranges": [[offset, length] …], "block_size": …, "data": [[offset, length] …]}
    {"progress": bytes} … {"digests": …, "read": bytes}    or    {"error": {its fields, see errors.to_fields}}

`data` is where there may be anything but zeros. The end of stdin ends the process, whatever it does.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from typing import Any

from migratekit_core.common.errors import MigrateKitError, to_fields
from migratekit_core.engine.digests import blocks, hashing
from migratekit_core.engine.digests.disk import Disk

PROGRESS_SECONDS = 1.0
THREADS = 4
"""Blocks on their way: behind a reader that is far, waiting is what takes the time."""


def main() -> int:
    """Answer until stdin ends."""
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        disk = Disk(**_opened(lines.get()))
        while True:
            _say(_answer(disk, lines.get()))
    except MigrateKitError as error:
        _say({"error": to_fields(error)})
        return error.exit_code


def _opened(job: dict[str, Any]) -> dict[str, Any]:
    return {"uri": job["uri"], "name": job["disk"], "size": job["size"], "request_size": job["request_size"]}


def _answer(disk: Disk, question: dict[str, Any]) -> dict[str, Any]:
    pieces = blocks.cut(question["ranges"], question["block_size"])
    told, done, read = time.monotonic(), 0, 0
    found = []
    for (_, length), digest, size in hashing.digests(pieces, disk.data(question["data"]), disk.read, THREADS):
        found.append(digest)
        done, read = done + length, read + size
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            _say({"progress": done})
    return {"digests": blocks.pack(found), "read": read}


def _listen(lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    # The parent has what it wanted, or is dead.
    os._exit(0)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
