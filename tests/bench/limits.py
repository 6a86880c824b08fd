"""What one core of this machine can do at all: copy memory, pass a socket, encrypt."""

from __future__ import annotations

import os
import socket
import threading
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIB = 1024 * 1024
GIB = 1024 * MIB


def measure() -> dict[str, float]:
    """Return GiB per second of each."""
    return {"memory copy": _memory(), "loopback socket": _loopback(), "AES-128-GCM of one core": _aes()}


def _memory() -> float:
    source, target = bytearray(os.urandom(64 * MIB)), bytearray(64 * MIB)
    began = time.monotonic()
    for _ in range(32):
        target[:] = source
    return 2 / (time.monotonic() - began)


def _loopback() -> float:
    server = socket.create_server(("127.0.0.1", 0))
    block = bytes(MIB)

    def send() -> None:
        with socket.create_connection(server.getsockname()) as client:
            for _ in range(2048):
                client.sendall(block)

    thread = threading.Thread(target=send)
    began = time.monotonic()
    thread.start()
    connection, _ = server.accept()
    buffer = bytearray(MIB)
    while connection.recv_into(buffer):
        pass
    thread.join()
    server.close()
    return 2 / (time.monotonic() - began)


def _aes() -> float:
    key = AESGCM(AESGCM.generate_key(128))
    block, nonce = bytes(16 * 1024), bytes(12)
    began = time.monotonic()
    for _ in range(GIB // len(block) // 2):
        key.encrypt(nonce, block, None)
    return 0.5 / (time.monotonic() - began)
