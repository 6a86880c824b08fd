"""HTTP: /client/api by GET and by POST form, and the lab's own endpoints."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import control
from .dispatch import Reply, handle
from .state import Cloud

API_PATH = "/client/api"
MAX_URL = 8192
MAX_FORM = 1 << 20
"""What the real server's web server takes: longer requests get pages of HTML."""
_REASONS = {431: "Parameter error", 432: "Unsupported", 530: "Internal error", 531: "Account error"}


class Server(ThreadingHTTPServer):
    """The management server: it answers the API, and the lab's endpoints."""

    api = True
    daemon_threads = True
    block_on_close = False  # a handler that hangs on purpose must not keep the lab from stopping
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cloud: Cloud) -> None:
        super().__init__(address, Handler)
        self.cloud = cloud
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that a restart can break it."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        """Have every client see that the server is gone."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about; anything else is a bug and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Control(Server):
    """The lab's endpoints alone, on a port of their own, which answers while the management server is away."""

    api = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if len(self.path) > MAX_URL:
            self._write(414, b"<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>", "text/html;charset=iso-8859-1")
            return
        if int(self.headers.get("Content-Length") or 0) > MAX_FORM and self.path.startswith(API_PATH):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._write(404, b"<html><body>HTTP ERROR 404</body></html>", "text/html;charset=iso-8859-1")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if self.server.api and url.path.rstrip("/") == API_PATH and self.command != "DELETE":
            self._api(url.query, body)
        elif url.path.startswith("/lab/"):
            self._lab(url.path, body)
        else:
            self._send(404, {"error": f"{API_PATH} and /lab/ are what there is"})

    def _api(self, query: str, body: bytes) -> None:
        form = body.decode() if "form" in self.headers.get("Content-Type", "") else ""
        sent: dict[str, str] = {}
        for name, value in parse_qsl(f"{query}&{form}", keep_blank_values=True):
            sent.setdefault(name, value)  # of a repeated parameter the first counts
        reply: Reply = handle(self.server.cloud, sent, self.command)
        time.sleep(reply.hold)
        if reply.dropped:
            self.close_connection = True
            return
        if reply.html:
            self._write(reply.status, b"<html><body>Bad Gateway</body></html>", "text/html")
            return
        self._send(reply.status, reply.body, reply.description)

    def _lab(self, path: str, body: bytes) -> None:
        try:
            self._send(200, control.handle(self.server.cloud, self.command, path, body))
        except control.NotThere as error:
            self._send(404, {"error": str(error)})
        except ValueError as error:
            self._send(400, {"error": str(error)})

    def _send(self, status: int, body: Any, description: str | None = None) -> None:
        self._write(status, json.dumps(body).encode(), "application/json; charset=UTF-8", description)

    def _write(self, status: int, data: bytes, media_type: str, description: str | None = None) -> None:
        self.send_response(status, _REASONS.get(status))
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        if description:
            self.send_header("X-Description", " ".join(description.encode("ascii", "replace").decode().split()))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the event log of /lab/state says more than an access log."""
