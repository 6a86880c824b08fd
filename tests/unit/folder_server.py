"""An HTTPS server that stands for a datastore browser: a good one, and in every way a bad one."""

from __future__ import annotations

import itertools
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from migratekit_core.adapters.tunnel import pki

SIZE = 3 * 2**20 + 512
CONTENT = random.Random(22).randbytes(SIZE)
LOGIN_PAGE = b"<html><body>Log in</body></html>" * 40
SECRET = "a-cookie-of-the-session"


@dataclass
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    connection: int

    @property
    def wanted(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2])) if found else None


@dataclass
class FolderServer:
    """Answers by `kind` for the first `times` requests after the first `good` ones, else as a good one does."""

    folder: Path
    kind: str = "good"
    good: int = 0
    times: int = 10**9
    cookies: set[str] = field(default_factory=lambda: {SECRET})
    seen: list[Request] = field(default_factory=list)
    port: int = 0
    certificate: str = "server"
    stopped: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    @property
    def connections(self) -> int:
        return len({request.connection for request in self.seen})

    def _accept(self) -> None:
        for number in itertools.count(1):
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain, number), daemon=True).start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{self.certificate}.pem")
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            stream = connection.makefile("rb")
            while line := stream.readline().decode().strip():
                headers = dict[str, str]()
                while header := stream.readline().decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                request = Request(line, headers, number)
                with self.counting:
                    self.seen.append(request)
                    position = len(self.seen)
                bad = self.good < position <= self.good + self.times
                if not self._answer(connection, request, self.kind if bad else "good"):
                    return

    def _answer(self, to: ssl.SSLSocket, request: Request, kind: str) -> bool:
        """Answer, and return whether the connection goes on."""
        given = request.headers.get("cookie", "").partition("=")[2].strip('"')
        if given not in self.cookies and not request.headers.get("authorization", "").startswith("Basic "):
            return self._say(to, 401, b"log in", 'WWW-Authenticate: Basic realm="VMware HTTP server"')
        if kind.isdigit():
            return self._say(to, int(kind), b"no")
        if request.line.startswith("HEAD"):
            self._send(to, f"HTTP/1.1 200 Words\r\nContent-Length: {SIZE}\r\nAccept-Ranges: bytes\r\n\r\n")
            return True
        assert request.wanted is not None
        first, last = request.wanted
        body, span, total = CONTENT[first : last + 1], f"{first}-{last}", SIZE
        match kind:
            case "whole file":
                return self._say(to, 200, CONTENT)
            case "login page":
                return self._say(to, 200, LOGIN_PAGE, "Content-Type: text/html")
            case "login page as part":
                return self._say(to, 206, LOGIN_PAGE[: len(body)], "Content-Type: text/html")
            case "redirect":
                return self._say(to, 302, b"", f"Location: https://127.0.0.1:{self.port}/login?token=a-token")
            case "endless":
                self._send(
                    to, "HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\n" + self._range(span, total) + "\r\n"
                )
                while not self.stopped.is_set():
                    to.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
                return False
            case "chunked":
                self._send(
                    to, "HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\n" + self._range(span, total) + "\r\n"
                )
                for at in range(0, len(body), 5000):
                    piece = body[at : at + 5000]
                    to.sendall(f"{len(piece):x};note=1\r\n".encode() + piece + b"\r\n")
                to.sendall(b"0\r\nX-Sum: 1\r\n\r\n")
                return True
            case "short":
                body = body[: max(len(body) // 3, 1)]
                span = f"{first}-{first + len(body) - 1}"
            case "short and silent about it":
                body = body[:-1]
            case "other range":
                span = f"{first + 512}-{last + 512}"
            case "longer range":
                span, body = f"{first}-{last + 1}", body + b"x"
            case "no range":
                return self._say(to, 206, body)
            case "other size":
                total = SIZE + 512
            case "gzip":
                return self._say(to, 206, body, "Content-Encoding: gzip", self._range(span, total).strip())
            case "longer":
                self._say(to, 206, body, self._range(span, total).strip())
                if first % 2:
                    time.sleep(0.01)  # after the next question, perhaps
                with suppress(OSError):
                    to.sendall(b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx")
                return True
            case "torn":
                self._send(to, f"HTTP/1.1 206 P\r\nContent-Length: {len(body)}\r\n{self._range(span, total)}\r\n")
                to.sendall(body[: len(body) // 2])
                return False
            case "cut":
                return False
            case "drip":
                self._send(to, f"HTTP/1.1 206 P\r\nContent-Length: {len(body)}\r\n{self._range(span, total)}\r\n")
                for byte in body:
                    to.sendall(bytes([byte]))
                    if self.stopped.wait(0.02):
                        break
                return False
            case "closing":
                self._say(to, 206, body, "Connection: close", self._range(span, total).strip())
                return False
            case "cut later":
                # Kept, as it seems, and closed without a word.
                self._say(to, 206, body, self._range(span, total).strip())
                return False
            case "interim":
                self._send(to, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            case "endless headers":
                self._send(to, "HTTP/1.1 206 Partial\r\n")
                while not self.stopped.is_set():
                    to.sendall(b"X-Header: " + b"x" * 1000 + b"\r\n")
                return False
            case "no http":
                to.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                return False
            case "late":
                time.sleep(0.005)
        return self._say(to, 206, body, self._range(span, total).strip())

    @staticmethod
    def _range(span: str, total: int) -> str:
        return f"Content-Range: bytes {span}/{total}\r\n"

    @staticmethod
    def _send(to: ssl.SSLSocket, text: str) -> None:
        to.sendall(text.encode())

    def _say(self, to: ssl.SSLSocket, status: int, body: bytes, *headers: str) -> bool:
        lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", *headers]
        to.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True


@contextmanager
def serving(folder: Path, kind: str = "good", good: int = 0, times: int = 10**9) -> Iterator[FolderServer]:
    """Run such a server; its certificate is `server.pem` in the folder, `other.pem` is of a CA that nobody trusts."""
    server = FolderServer(folder, kind, good, times)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def certificates(folder: Path) -> Path:
    """Make them; return the CA's file."""
    pki.init(folder)
    pki.issue(folder, "server", server=True, names=["localhost", "127.0.0.1"])
    pki.init(folder / "elsewhere")
    (folder / "other.pem").write_bytes(
        pki.issue(folder / "elsewhere", "server", server=True, names=["localhost", "127.0.0.1"]).read_bytes()
    )
    return folder / "ca.pem"
