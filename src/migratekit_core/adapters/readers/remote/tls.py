"""TLS over a socket of ours: what a first session has read ahead goes to the second one on the same connection."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time

READ_AHEAD = 256 << 10
"""Bytes that are taken from the socket at once."""


def context() -> ssl.SSLContext:
    """Return how to speak with a host: TLS 1.2, and a certificate that whoever opens compares with its thumbprint."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    return made


class Stream:
    """A TLS session. One thread reads while others write; OpenSSL itself is entered by one at a time.

    Everything raises OSError where the connection fails, takes longer than until `deadline`, or ends.
    """

    def __init__(self, plain: socket.socket, how: ssl.SSLContext, early: bytes = b"") -> None:
        self.plain = plain
        self.deadline = float("inf")
        """Of time.monotonic(), after which nothing more is waited for."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._in.write(early)
        self._tls = how.wrap_bio(self._in, self._out)
        self._inside, self._sending = threading.Lock(), threading.Lock()
        self._raw = memoryview(bytearray(READ_AHEAD))

    def handshake(self) -> None:
        """Shake hands."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send()
                self._fill()
                continue
            self._send()
            return

    def certificate(self) -> bytes:
        """Return the other end's certificate, in DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    def abandon(self) -> bytes:
        """Return what was read and belongs to whatever follows this session on the connection."""
        return self._in.read()

    def write(self, *messages: bytes) -> None:
        """Send messages, each in a TLS record of its own."""
        with self._sending:
            with self._inside:
                for message in messages:
                    self._tls.write(message)
                data = self._out.read()
            self.plain.sendall(data)

    def read_into(self, view: memoryview) -> None:
        """Fill a view."""
        at, size, read, inside = 0, len(view), self._tls.read, self._inside
        while at < size:
            try:
                with inside:
                    got = read(size - at, view[at:])
            except ssl.SSLWantReadError:
                self._fill()
                continue
            if not got:
                raise ConnectionResetError("the host ended the session")
            at += int(got)

    def read(self, size: int) -> bytes:
        """Return so many bytes."""
        data = bytearray(size)
        self.read_into(memoryview(data))
        return bytes(data)

    def waiting(self) -> bool:
        """Return whether something can be read of what has arrived."""
        return self._in.pending > 0 or self._tls.pending() > 0

    def _fill(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the host takes too long")
        self.plain.settimeout(None if left == float("inf") else left)
        got = self.plain.recv_into(self._raw)
        if not got:
            raise ConnectionResetError("the host closed the connection")
        with self._inside:
            self._in.write(self._raw[:got])

    def _send(self) -> None:
        data = self._out.read()
        if data:
            self.plain.sendall(data)


def sha1(certificate: bytes) -> str:
    """Return the thumbprint that a ticket has, without colons, in small letters."""
    return hashlib.sha1(certificate, usedforsecurity=False).hexdigest()


def sha256(certificate: bytes) -> str:
    """Return the thumbprint that authd has, without colons, in small letters."""
    return hashlib.sha256(certificate).hexdigest()


def plain_hex(thumbprint: str) -> str:
    """Return a thumbprint as `sha1` and `sha256` do."""
    return thumbprint.replace(":", "").strip().lower()
