"""Reads a disk from an ESXi host over NFC. One thread has the session: it connects, receives, and connects anew.

Threads that read put pieces into a queue and wait. Only that thread says that a piece is done, so that nothing is
written into a buffer whose owner has gone on.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections import deque
from typing import Any

from migratekit_core.adapters.readers.remote import nfcwire as wire
from migratekit_core.adapters.readers.remote.channel import Channel, ChannelClosedError, FailedError, RefusedError
from migratekit_core.adapters.readers.remote.nfclogin import dial, log_in, open_disk
from migratekit_core.adapters.readers.remote.nfcwire import ProtocolError
from migratekit_core.adapters.readers.remote.tls import Stream

ANSWER_SECONDS = 60.0
"""For which a host may send no whole chunk while something is asked of it ..."""
PIECE_SECONDS = 300.0
"""... and until a request has its last one."""
AGAIN_SECONDS = 180.0
"""For which a session that broke is tried to be opened anew."""
MOST_SESSIONS = 5
"""That may break one after the other without a single request answered."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
LOCKED_PAUSE = 5.0
IDLE_SECONDS = 1.0
SECTOR = 512


class _Read:
    """What one thread waits for."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.error: Exception | None = None
        self.done = threading.Event()


class _Piece:
    """A request to the host, and where its bytes go."""

    def __init__(self, read: _Read, view: memoryview, offset: int) -> None:
        self.read, self.view, self.offset, self.length = read, view, offset, len(view)
        self.begin()

    def begin(self) -> None:
        self.cover = wire.Cover(self.length)
        self.until = time.monotonic() + PIECE_SECONDS


class Disk:
    """A disk that is open over NFC."""

    def __init__(self, channel: Channel, settings: dict[str, Any]) -> None:
        self.size = int(settings["capacity"])
        self._channel, self._path = channel, str(settings["path"])
        self._depth = int(settings["depth"])
        self._encoding = wire.ENCODINGS[str(settings["compression"])]
        self._patience = float(settings["patience"])
        self._lock = threading.Condition()
        self._pending: deque[_Piece] = deque()
        self._flying: dict[int, _Piece] = {}
        self._refused: set[int] = set()
        """What a host has answered with an error, and whose answer may still come."""
        self._stream: Stream | None = None
        self._handle = self._sequence = 0
        self._done = 0
        """Requests that were answered."""
        self._said = ""
        """What the host said of an error whose request is not known yet."""
        self._end: Exception | None = None
        self._coded = memoryview(bytearray(wire.LARGEST_CHUNK + wire.SPARE))
        self._open(patient=False)
        threading.Thread(target=self._run, name="nfc", daemon=True).start()

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer. Raises FailedError where the disk is lost, OSError where the host cannot read there."""
        end = offset + len(buffer)
        low, high = offset // SECTOR * SECTOR, min(-(-end // SECTOR) * SECTOR, self.size)
        if (low, high) != (offset, end):
            whole = memoryview(bytearray(high - low))
            self._read(whole, low)
            buffer[:] = whole[offset - low : end - low]
            return
        self._read(buffer, offset)

    def _read(self, view: memoryview, offset: int) -> None:
        cuts = range(0, len(view), wire.LARGEST_READ)
        read = _Read(len(cuts))
        pieces = [_Piece(read, view[at : at + wire.LARGEST_READ], offset + at) for at in cuts]
        with self._lock:
            if self._end is not None:
                raise self._end
            self._pending.extend(pieces)
            self._lock.notify_all()
        self._pump()
        read.done.wait()
        if read.error is not None:
            raise read.error

    def close(self) -> None:
        """Take leave; reads that wait end with an error."""
        with self._lock:
            if self._end is None:
                self._end = OSError(errno.ESHUTDOWN, "the reader ends")
            stream, self._stream = self._stream, None
            self._lock.notify_all()
        if stream is not None:
            stream.plain.settimeout(1.0)
            try:
                stream.write(
                    wire.record(wire.CLOSE, self._handle.to_bytes(8, "little") + bytes(8), self._sequence),
                    wire.record(wire.END, bytes(16), self._sequence + 1),
                    wire.message(4),
                )
                stream.plain.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _pump(self) -> None:
        """Send what may be on its way."""
        with self._lock:
            stream, records = self._stream, bytearray()
            if stream is None:
                return
            while self._pending and len(self._flying) < self._depth:
                piece = self._pending.popleft()
                piece.begin()
                number, self._sequence = self._sequence, (self._sequence + 1) & 0xFFFFFFFF
                self._flying[number] = piece
                ask = wire.read_payload(self._handle, self._encoding, piece.offset, piece.length)
                records += wire.record(wire.READ, ask, number)
            if not records:
                return
            if stream.deadline == float("inf"):
                stream.deadline = time.monotonic() + ANSWER_SECONDS
            try:
                stream.write(bytes(records))
            except OSError:
                # Who receives finds out that it has ended, and asks all of it again.
                self._cut(stream)

    @staticmethod
    def _cut(stream: Stream) -> None:
        try:
            stream.plain.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # Whoever waits would wait for ever.
            self._fail(FailedError("lost", reason=f"a fault of the reader: {type(error).__name__}"))
        self._give_up(self._end or OSError(errno.ESHUTDOWN, "the reader ends"))

    def _serve(self) -> None:
        broken = 0
        while self._end is None:
            stream = self._stream
            if stream is None:
                break
            before = self._done
            try:
                self._pump()
                self._receive(stream)
            except (OSError, ProtocolError) as error:
                broken = 1 if self._done != before else broken + 1
                stream.plain.close()
                self._again(error, broken)

    def _again(self, error: Exception, broken: int) -> None:
        """Open the session anew, and ask again for what was on its way."""
        with self._lock:
            if self._end is not None:
                return
            self._stream = None
            self._pending.extendleft(reversed(self._flying.values()))
            self._flying.clear()
            self._refused.clear()
            # Nothing is opened for nobody: a host that ends idle sessions is asked again with the next read.
            self._lock.wait_for(lambda: self._pending or self._end is not None)
            if self._end is not None:
                return
        reason = _words(error)
        if broken >= MOST_SESSIONS:
            self._fail(FailedError("lost", reason=reason))
            return
        if broken > 1:
            time.sleep(min(FIRST_PAUSE * 2**broken, LONGEST_PAUSE))
        try:
            self._open(patient=True)
        except (FailedError, ChannelClosedError) as failed:
            self._fail(failed if isinstance(failed, FailedError) else FailedError("lost", reason=reason))

    def _fail(self, error: FailedError) -> None:
        with self._lock:
            if self._end is None:
                self._end = error

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            self._end = error
            pieces = [*self._flying.values(), *self._pending]
            self._flying.clear()
            self._pending.clear()
        for piece in pieces:
            self._finish(piece, error)

    def _finish(self, piece: _Piece, error: Exception | None = None) -> None:
        read = piece.read
        read.error = read.error or error
        read.left -= 1
        if not read.left:
            read.done.set()

    def _receive(self, stream: Stream) -> None:
        """Take what the host sends until the session ends."""
        head = memoryview(bytearray(16))
        rest = memoryview(bytearray(wire.CHUNK.size))
        while True:
            if not self._flying and not stream.waiting():
                stream.deadline = float("inf")
                if self._end is not None:
                    return
                if not self._flying and not select.select([stream.plain], [], [], IDLE_SECONDS)[0]:
                    continue
            if stream.deadline == float("inf"):
                stream.deadline = time.monotonic() + ANSWER_SECONDS
            stream.read_into(head)
            found = wire.header(head)
            if found.opcode == wire.READ and found.length == wire.CHUNK.size:
                stream.read_into(rest)
                self._chunk(stream, found.sequence, wire.chunk(rest))
            elif found.opcode == wire.ERROR:
                number, length = wire.error(stream.read(found.length))
                self._error(found.sequence, number, stream.read(length).decode(errors="replace"))
            else:
                raise ProtocolError("a record that was not asked for")
            now = time.monotonic()
            stream.deadline = now + ANSWER_SECONDS
            first = next(iter(self._flying.values()), None)
            if first is not None and now > first.until:
                raise TimeoutError("the host takes too long")

    def _chunk(self, stream: Stream, sequence: int, found: wire.Chunk) -> None:
        piece = self._flying.get(sequence)
        if piece is None or found.status or (self._said and not found.length):
            if found.wire:
                stream.read_into(self._coded[: found.wire])
            if piece is not None:
                self._error(sequence, found.status, "")
            elif sequence not in self._refused:
                raise ProtocolError("an answer to what was not asked")
            self._refused.discard(sequence)
            return
        wire.check(found, piece.offset, piece.length, self._encoding)
        piece.cover.add(found.at, found.length)
        into = piece.view[found.at : found.at + found.length]
        if found.encoding == wire.NONE:
            stream.read_into(into)
        else:
            coded = self._coded[: found.wire]
            stream.read_into(coded)
            wire.decode(found.encoding, coded, into)
        if not piece.cover.left:
            with self._lock:
                self._flying.pop(sequence, None)
                self._done += 1
            self._finish(piece)
            if self._pending:
                self._pump()

    def _error(self, sequence: int, number: int, text: str) -> None:
        with self._lock:
            piece = self._flying.pop(sequence, None)
            if piece is None:
                # Its number may be none of ours; the answer to what was refused tells which that is.
                self._said = f"error {number} {text[:200]!r}"
                return
            self._refused.add(sequence)
            self._done += 1
            said, self._said = self._said or f"error {number} {text[:200]!r}", ""
        self._finish(piece, OSError(errno.EIO, f"the host refuses to read at {piece.offset}: {said}"))
        self._pump()

    def _open(self, patient: bool) -> None:
        """Open a session and the disk in it. Raises FailedError; where `patient`, only after some time."""
        began = time.monotonic()
        pause, told = FIRST_PAUSE, False
        while True:
            try:
                stream, opened, sequence = self._attempt()
                break
            except FailedError as error:
                failed = error
            waited = time.monotonic() - began
            locked = failed.code == "locked"
            if not failed.again or waited > (self._patience if locked else AGAIN_SECONDS if patient else 0):
                raise failed
            if locked and not told:
                self._channel.note("locked", **failed.facts)
                told = True
            self._sleep(LOCKED_PAUSE if locked else pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if opened.capacity != self.size:
            stream.plain.close()
            raise FailedError("size", size=opened.capacity, wanted=self.size)
        stream.deadline = float("inf")
        with self._lock:
            self._stream, self._handle, self._sequence = stream, opened.handle, sequence

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._end is not None, seconds)
            if self._end is not None:
                raise FailedError("closed")

    def _attempt(self) -> tuple[Stream, wire.Opened, int]:
        try:
            ticket = self._channel.want("ticket")
        except RefusedError as error:
            raise FailedError("refused", error.again) from None
        plain = dial(ticket)
        try:
            stream = log_in(plain, ticket)
            return stream, *open_disk(stream, self._path)
        except FailedError:
            plain.close()
            raise
        except (OSError, ProtocolError) as error:
            plain.close()
            raise FailedError(
                "protocol" if isinstance(error, ProtocolError) else "broken", True, reason=_words(error)
            ) from None


def _words(error: Exception) -> str:
    """Return what went wrong in a line; nothing of it is a secret, for the ticket is in no error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def connect(channel: Channel, settings: dict[str, Any]) -> Disk:
    """Open the disk that the settings name. Raises FailedError."""
    try:
        return Disk(channel, settings)
    except ChannelClosedError:
        raise FailedError("no-answer") from None
