"""How near and how wide the way to each service is, measured as the product uses it; nothing on the OMA is changed.

Each service is measured with what it understands, over one connection: the volume daemon is asked for its description
again and again, MariaDB is sent text and asked for text, and the NBD server is sent options that it reads and refuses.
"""

from __future__ import annotations

import contextlib
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pymysql

from migratekit_core.adapters.tunnel import SERVICES, kinds, refusal
from migratekit_core.adapters.tunnel.kinds.kind import DIAL_SECONDS, by_the_socket
from migratekit_core.adapters.tunnel.local import up
from migratekit_core.adapters.tunnel.probe import blamed
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OmaUnreachableError
from migratekit_core.common.redact import redact
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import Config

ROUNDS = 9
SECONDS = 1.0
"""How long each direction of a service is filled."""
PIECE = 1 << 20
NBD_OPTION = 16 * 1024
"""What NBD servers read at most of an option's data."""
NBD_OPTIONS = 24
"""nbdkit ends a connection that sends 32 of them."""
OPTION, OPTION_REPLY, UNKNOWN, ABORT = 0x49484156454F5054, 0x3E889045565A9, 0x4D4B, 2
"""NBD protocol, "option haggling": an option that no server knows is answered NBD_REP_ERR_UNSUP."""


@dataclass(frozen=True)
class Measured:
    """One service. Throughput is bytes per second; None where a direction cannot be measured with this service."""

    service: str
    latency: float | None
    """Seconds of a small question and its answer, the median."""
    up: float | None
    """From here to the OMA."""
    down: float | None
    problem: str = ""
    """Why there are no figures."""


def measure(config: Config, seconds: float = SECONDS) -> list[Measured]:
    """Bring the tunnel up, and measure each service for about `seconds` in each direction.

    A service that does not answer has a problem and no figures. Raises what `local.up` raises.
    """
    up(config.tunnel)
    found = []
    for service, one in zip(SERVICES, (_volumes, _db, _nbd), strict=True):
        try:
            found.append(one(config, seconds))
        except (OSError, MigrateKitError, httpx.HTTPError, pymysql.MySQLError, ValueError, struct.error) as error:
            found.append(Measured(service, None, None, None, _why(config, service, error)))
    return found


def _why(config: Config, service: str, error: Exception) -> str:
    text = redact(str(error) or type(error).__name__)
    reason = blamed(config.tunnel, OmaUnreachableError(service, text, code=ErrorCode.OMA_UNREACHABLE))
    return reason.why or text


def _volumes(config: Config, seconds: float) -> Measured:
    transport = httpx.HTTPTransport(uds=str(socket_path(config.tunnel, "volumes")))
    with httpx.Client(transport=transport, base_url="http://volumes", timeout=DIAL_SECONDS, trust_env=False) as http:

        def ask(path: str) -> int:
            answer = http.get(path)
            answer.raise_for_status()
            return len(answer.content)

        # Its description is the longest that it tells without a token.
        return Measured(
            "volumes", _median(lambda: ask("/health")), None, _filled(lambda: ask("/openapi.json"), seconds)
        )


def _db(config: Config, seconds: float) -> Measured:
    database = config.database
    if database.kind != "mariadb":
        with by_the_socket(config.tunnel, "db") as plain:
            # Its greeting is all that can be had without a login.
            if not plain.recv(1):
                raise refusal.ClosedError("no greeting of MariaDB")
        return Measured("db", None, None, None)
    password = database.password.read("database.password") if database.password else ""
    connection = pymysql.connect(
        unix_socket=str(socket_path(config.tunnel, "db")), user=database.user, password=password, database=database.oma,
        connect_timeout=int(DIAL_SECONDS), read_timeout=60, write_timeout=60, autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        text = "x" * PIECE

        def send() -> int:
            cursor.execute("SELECT LENGTH(%s)", (text,))
            cursor.fetchone()
            return PIECE

        def fetch() -> int:
            cursor.execute("SELECT REPEAT('x', %s)", (PIECE,))
            (got,) = cursor.fetchone() or ("",)
            return len(got)

        latency = _median(lambda: cursor.execute("SELECT 1"))
        return Measured("db", latency, _filled(send, seconds), _filled(fetch, seconds))


def _nbd(config: Config, seconds: float) -> Measured:
    with _nbd_connection(config) as line:
        latency = _median(lambda: _option(line, UNKNOWN, b""))
        _leave(line)
    data = struct.pack(">QII", OPTION, UNKNOWN, NBD_OPTION) + bytes(NBD_OPTION)
    stop, sent, taken = time.monotonic() + seconds, 0, 0.0
    while not sent or time.monotonic() < stop:
        with _nbd_connection(config) as line:
            # The handshakes are not counted. All options at once, and the answers afterwards: else it would be the
            # latency once more.
            began = time.monotonic()
            for _ in range(NBD_OPTIONS):
                line.sendall(data)
            for _ in range(NBD_OPTIONS):
                _answer(line)
            taken += time.monotonic() - began
            sent += NBD_OPTIONS * NBD_OPTION
            _leave(line)
    return Measured("nbd", latency, sent / taken, None)


@contextmanager
def _nbd_connection(config: Config) -> Iterator[Any]:
    """Yield a connection to the NBD server, past its greeting, by the way that a copy takes."""
    line = kinds.of(config.tunnel).dial(config.tunnel, "nbd")
    with line:
        magic, option, _ = struct.unpack(">8sQH", _exactly(line, 18))
        if magic != b"NBDMAGIC" or option != OPTION:
            raise ValueError("what answers is no NBD server")
        line.sendall(struct.pack(">I", 3))
        yield line


def _option(line: Any, option: int, data: bytes) -> None:
    line.sendall(struct.pack(">QII", OPTION, option, len(data)) + data)
    _answer(line)


def _answer(line: Any) -> None:
    magic, _, _, length = struct.unpack(">QIII", _exactly(line, 20))
    if magic != OPTION_REPLY:
        raise ValueError("what answers is no NBD server")
    _exactly(line, length)


def _leave(line: Any) -> None:
    with contextlib.suppress(OSError):
        _option(line, ABORT, b"")


def _exactly(line: Any, size: int) -> bytes:
    return refusal.exactly(line, size, "the service closed the connection")


def _median(ask: Callable[[], object]) -> float:
    ask()
    times = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        ask()
        times.append(time.monotonic() - began)
    return statistics.median(times)


def _filled(move: Callable[[], int], seconds: float) -> float:
    """Return bytes per second of a move that is repeated for about `seconds`, once at least."""
    began, moved = time.monotonic(), 0
    while True:
        moved += move()
        taken = time.monotonic() - began
        if taken >= seconds:
            return moved / taken
