"""Hashes blocks in several threads: what reads as zeros is not read, and counts all the same."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from migratekit_core.engine.digests.blocks import Range, digest, zero_digest

THREADS = max(2, min(4, os.cpu_count() or 1))
"""One reads while the other hashes; more than four only wait for the same disk."""


def parts(pieces: Iterable[Range], data: Iterable[Range]) -> Iterator[tuple[Range, list[Range]]]:
    """Yield each piece with the parts of it that hold data; both come in ascending order."""
    left = iter(data)
    waiting: deque[Range] = deque()
    for offset, length in pieces:
        end = offset + length
        while not waiting or sum(waiting[-1]) < end:
            following = next(left, None)
            if following is None:
                break
            waiting.append(following)
        while waiting and sum(waiting[0]) <= offset:
            waiting.popleft()
        found = []
        for start, size in waiting:
            low, high = max(start, offset), min(start + size, end)
            if low < high:
                found.append((low, high - low))
        yield (offset, length), found


def digests(
    pieces: Iterable[Range], data: Iterable[Range], read: Callable[[int, memoryview], None], threads: int = THREADS
) -> Iterator[tuple[Range, bytes, int]]:
    """Yield (piece, its digest, how many bytes of it were read), in the order of `pieces`.

    `data` says where there is anything but zeros. `read` fills a buffer from an offset on, and is called by several
    threads at a time; what it raises is raised here.
    """
    own = threading.local()

    def one(piece: Range, found: list[Range]) -> tuple[Range, bytes, int]:
        offset, length = piece
        if not found:
            return piece, zero_digest(length), 0
        if len(getattr(own, "buffer", b"")) < length:
            own.buffer = bytearray(length)
        buffer = memoryview(own.buffer)[:length]
        position = offset
        for start, size in found:
            buffer[position - offset : start - offset] = bytes(start - position)
            read(start, buffer[start - offset : start - offset + size])
            position = start + size
        buffer[position - offset :] = bytes(offset + length - position)
        return piece, digest(buffer), sum(size for _, size in found)

    with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
        running: deque[Future[tuple[Range, bytes, int]]] = deque()
        try:
            for piece, found in parts(pieces, data):
                running.append(pool.submit(one, piece, found))
                # A few ahead of the threads: a disk's worth of tasks would only take memory.
                if len(running) > 4 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
