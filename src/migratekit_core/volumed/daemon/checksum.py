"""Hashes an attached volume where it is, so that no data crosses the tunnel: as a whole, or block by block."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Any

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.common.units import MIB
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.engine.digests import blocks, hashing
from migratekit_core.engine.digests.blocks import Range
from migratekit_core.joblog.events import EventKind
from migratekit_core.volumed import devices
from migratekit_core.volumed.daemon.context import Context, volume_id_of

CHUNK = 16 * MIB


def checksum(context: Context, operation: VolumeOperation) -> dict[str, Any]:
    """Return the digest of the first `length` bytes (what `b3sum` says of them), or with `block_size` one for each
    block of `ranges`.

    Raises PreconditionError for a volume that is not attached here, or ends earlier than asked for.
    """
    volume_id, request = volume_id_of(operation), operation.request
    device = devices.find(context.places, volume_id)
    if device is None:
        raise PreconditionError(
            f"volume {volume_id} cannot be hashed",
            "it is not attached to the OMA",
            "attach it first",
            code=ErrorCode.NOT_ATTACHED,
            facts={"volume_id": volume_id},
        )
    ranges: list[Range] = [(offset, length) for offset, length in request.get("ranges") or ()]
    wanted = max((offset + length for offset, length in ranges), default=request.get("length") or device.size)
    if wanted > device.size:
        raise PreconditionError(
            f"volume {volume_id} is shorter than {wanted} bytes",
            f"it has {device.size}",
            "check its size",
            code=ErrorCode.SIZE_MISMATCH,
            facts={"volume_id": volume_id, "size": device.size, "wanted": wanted},
        )
    with context.job.step("checksum-volume") as step, device.link.open("rb", buffering=0) as file:
        # What Linux still has in memory would be hashed instead of what the storage holds.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if ranges:
            answer = _blocks(file.fileno(), volume_id, ranges, request["block_size"])
        else:
            answer = _whole(file.fileno(), volume_id, wanted)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        step.log(EventKind.HASHED, volume_id=volume_id, bytes=answer["length"], read=answer["read"])
    return {"volume_id": volume_id, "algorithm": blocks.ALGORITHM, **answer}


def _blocks(descriptor: int, volume_id: str, ranges: list[Range], block_size: int) -> dict[str, Any]:
    found, size, read = [], 0, 0

    def fill(offset: int, buffer: memoryview) -> None:
        _read(descriptor, volume_id, offset, buffer)

    for (_, length), digest, touched in hashing.digests(
        blocks.cut(ranges, block_size), _data(descriptor, ranges), fill
    ):
        found.append(digest)
        size, read = size + length, read + touched
    packed = blocks.pack(found)
    return {"block_size": block_size, "blocks": len(found), "digests": packed, "length": size, "read": read}


def _whole(descriptor: int, volume_id: str, length: int) -> dict[str, Any]:
    from blake3 import blake3

    digest = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(CHUNK))
    for offset in range(0, length, CHUNK):
        part = buffer[: min(CHUNK, length - offset)]
        _read(descriptor, volume_id, offset, part)
        digest.update(part)
    return {"digest": digest.hexdigest(), "length": length, "read": length}


def _data(descriptor: int, ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield what is no hole within ascending ranges; all of it where the kernel cannot tell (block devices)."""
    for offset, length in ranges:
        position, end = offset, offset + length
        while position < end:
            try:
                start = os.lseek(descriptor, position, os.SEEK_DATA)
                stop = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
            except OSError as error:
                if error.errno != errno.ENXIO:  # that one: nothing but a hole is left
                    yield position, end - position
                break
            if start < stop:
                yield start, stop - start
            position = max(stop, start)


def _read(descriptor: int, volume_id: str, offset: int, buffer: memoryview) -> None:
    done = 0
    while done < len(buffer):
        try:
            count = os.preadv(descriptor, [buffer[done:]], offset + done)
        except OSError as error:
            raise OperationFailedError(
                f"{len(buffer) - done} bytes at offset {offset + done} of volume {volume_id} could not be read",
                error.strerror or str(error),
                "check the OMA's storage (dmesg)",
                code=ErrorCode.DISK_READ_FAILED,
                facts={"volume_id": volume_id, "offset": offset + done, "length": len(buffer) - done},
            ) from None
        if not count:
            raise OperationFailedError(
                f"volume {volume_id} ended at {offset + done} bytes",
                "it was longer a moment ago",
                "check its size",
                code=ErrorCode.SIZE_MISMATCH,
                facts={"volume_id": volume_id, "size": offset + done},
            )
        done += count
