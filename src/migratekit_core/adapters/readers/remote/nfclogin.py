"""From a ticket to an open disk: authd, TLS twice on one connection, the handshake, and the records that open."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from migratekit_core.adapters.readers.remote import nfcwire as wire
from migratekit_core.adapters.readers.remote.channel import FailedError
from migratekit_core.adapters.readers.remote.nfcwire import ProtocolError
from migratekit_core.adapters.readers.remote.tls import Stream, context, plain_hex, sha1, sha256

CONNECT_SECONDS = 15.0
OPEN_SECONDS = 60.0
"""For all that comes before the disk is open."""
LONGEST_LINE = 1024
MOST_RECORDS = 32
"""That a host may answer before it answers the open."""
TAG = "PlainText"
VERSION = 11
NAME, OPERATION = b"migratekit", b"nbdmode"
CAPABILITIES = {"SHA256 supported": "no-sha256", "NFCSSL supported": "no-nfcssl"}


def dial(ticket: Mapping[str, Any]) -> socket.socket:
    """Return a connection to the ticket's host. Raises FailedError."""
    host, port = str(ticket["host"]), int(ticket["port"])
    try:
        plain = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        raise FailedError("unreachable", True, host=host, port=port, reason=error.strerror or str(error)) from None
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ):
        plain.setsockopt(level, name, value)
    return plain


def log_in(plain: socket.socket, ticket: Mapping[str, Any]) -> Stream:
    """Return the second TLS session, in which the handshake is done. Raises FailedError, OSError, ProtocolError."""
    deadline = time.monotonic() + OPEN_SECONDS
    greeting = _greeting(plain, deadline)
    if not greeting.startswith("220"):
        raise FailedError("not-nfc", text=greeting)
    for capability, code in CAPABILITIES.items():
        if capability not in greeting:
            raise FailedError(code)
    how = context()
    first = Stream(plain, how)
    first.deadline = deadline
    first.handshake()
    certificate = first.certificate()
    if not certificate or sha1(certificate) != plain_hex(str(ticket["thumbprint"])):
        raise FailedError("untrusted", stage="ticket")
    first.write(f"SESSION {ticket['session']}\r\n".encode())
    first.write(b"BANNER \r\n")
    _line(first, "220")
    first.write(f"THUMBPRINT_SHA2 {TAG}\r\n".encode())
    told = _line(first, "200").partition(" ")[2].strip()
    if plain_hex(told) != sha256(certificate):
        raise FailedError("untrusted", stage="authd")
    first.write(f"PROXY {ticket['service']}ssl\r\n".encode())
    _line(first, "200")
    second = Stream(plain, how, first.abandon())
    second.deadline = deadline
    second.handshake()
    if second.certificate() != certificate:
        raise FailedError("untrusted", stage="nfc")
    _shake(second)
    return second


def open_disk(stream: Stream, path: str) -> tuple[wire.Opened, int]:
    """Open a disk for reading; return what the host says of it, and the next sequence number.

    Raises FailedError, with the host's own code and text, where it refuses; OSError, ProtocolError.
    """
    name = path.encode()
    stream.write(wire.record(wire.HELLO, bytes(16), 0))
    _answer(stream, wire.HELLO, {0: wire.HELLO})
    stream.write(
        wire.record(wire.SOCKET_OPTIONS, bytes(12), 1),
        wire.record(wire.RESOURCE_POOL, (1).to_bytes(4, "little"), 2),
        wire.record(wire.OPEN, wire.open_payload(name), 3, name),
    )
    asked = {1: wire.SOCKET_OPTIONS, 2: wire.RESOURCE_POOL, 3: wire.OPEN}
    found = wire.opened(_answer(stream, wire.OPEN, asked))
    if found.status:
        raise FailedError("open-refused", number=found.status, text="")
    return found, 4


def _answer(stream: Stream, opcode: int, asked: Mapping[int, int]) -> bytes:
    """Return the payload of the answer to `opcode`; those to what was asked before it are optional."""
    for _ in range(MOST_RECORDS):
        head = wire.header(stream.read(16))
        payload = stream.read(head.length)
        if head.opcode == wire.ERROR:
            number, length = wire.error(payload)
            text = stream.read(length).decode(errors="replace")
            code = "locked" if number == wire.LOCKED else "open-refused"
            raise FailedError(code, number == wire.LOCKED, number=number, text=text)
        if asked.get(head.sequence) != head.opcode:
            raise ProtocolError("an answer to what was not asked")
        if head.opcode == opcode:
            return payload
    raise ProtocolError("too many answers")


def _shake(stream: Stream) -> None:
    stream.write(wire.tagged(43, TAG.encode()), wire.message(33), wire.message(51, VERSION, 1))
    _expect(stream, {36, 51})
    stream.write(wire.message(54, len(NAME), len(OPERATION)), NAME + OPERATION, wire.message(55, 3), wire.message(52))
    _expect(stream, {52})


def _expect(stream: Stream, kinds: set[int]) -> None:
    left = set(kinds)
    while left:
        kind = int.from_bytes(stream.read(wire.MESSAGE_BYTES)[:4], "little")
        if kind == 4:
            raise FailedError("handshake-refused")
        if kind not in left:
            raise ProtocolError("a message of the handshake is out of turn")
        left.remove(kind)


def _greeting(plain: socket.socket, deadline: float) -> str:
    """Return the line in clear. Byte by byte: what follows it belongs to TLS."""
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the host does not greet")
        if len(line) >= LONGEST_LINE:
            raise FailedError("not-nfc", text=bytes(line[:80]).decode(errors="replace"))
        plain.settimeout(left)
        got = plain.recv(1)
        if not got:
            raise ConnectionResetError("the host closed the connection")
        line += got
    return line.decode(errors="replace").strip()


def _line(stream: Stream, wanted: str) -> str:
    """Return a line of authd. Raises FailedError where it is another answer than `wanted`."""
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) >= LONGEST_LINE:
            raise ProtocolError("a line of authd does not end")
        line += stream.read(1)
    text = line.decode(errors="replace").strip()
    if not text.startswith(wanted):
        raise FailedError("authd-refused", True, text=text)
    return text
