"""The command line without the interpreter's start: a process that has imported everything forks for each command.

The suite runs thousands of commands, and most of what each would take is reading Python's modules. `install` has
`subprocess` start `.venv/bin/migratekit` so, whoever asks for it; what is forked is the same program, in a process of
its own, with its own environment, folder, pipes or terminal, that can be killed like any other. Every other program is
started as ever, and so is migratekit where the start itself matters: in a test marked `real_start`, with other settings
of Python or of the locale than ours, or with what is only done between fork and exec.
"""

from __future__ import annotations

import array
import atexit
import fcntl
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ROOT / ".venv" / "bin" / "migratekit"
MODULES = (
    "alembic.autogenerate",
    "alembic.command",
    "alembic.ddl.mysql",
    "alembic.ddl.sqlite",
    "cs",
    "httpcore",
    "httpx",
    "migratekit_cli.main",
    "pymysql",
    "pyVim.connect",
    "pyVim.task",
    "rich.console",
    "rich.live",
    "rich.progress",
    "rich.table",
    "sqlmodel",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "yaml",
)
"""What commands import from elsewhere; of the program's own, all is imported."""
NOT_IMPORTED = (".__main__", ".otel", ".fleet.")
"""What is not: programs of their own, and what needs a library that reads its settings when it is imported."""
LONGEST = 1 << 17
"""Bytes of a request: arguments and environment."""
OF_THE_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that are read as Python starts: with others than ours, it has to start."""

_NETWORK = Path("/proc/thread-self/ns/net")
_OURS = _NETWORK.stat().st_ino
"""The network that commands are forked in: in another one, between hosts of their own, they are started."""

started_really = False
"""Whether migratekit is started by exec, as the shell does it."""
_Real = subprocess.Popen
_lock = threading.Lock()
_control: socket.socket | None = None
_owner = 0


def install() -> None:
    """Have `subprocess` fork migratekit."""
    subprocess.Popen = Popen  # type: ignore[misc]


def controlling() -> None:
    """Make standard input the terminal of this session (`preexec_fn`); it is done for what is forked, too."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Popen(_Real):  # type: ignore[type-arg]
    """subprocess.Popen that forks migratekit, if it may."""

    _way: socket.socket | None = None

    def _execute_child(self, *given: Any) -> None:
        asked = dict(zip(_NAMES, given, strict=True))
        request = None if started_really else _request(asked)
        if request is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        pipes = given[10:16]
        ends = [asked[name] if asked[name] != -1 else number for number, name in enumerate(_OF_THE_CHILD)]
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                passed = array.array("i", [theirs.fileno(), *ends])
                _server().sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
            self._way, self._child_created = ours, True
            self.pid = int(ours.recv(64) or 0)
            assert self.pid, "the process that forks has died"
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._way is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        try:
            told = self._way.recv(64, socket.MSG_DONTWAIT if wait_flags else 0)
        except BlockingIOError:
            return 0, 0
        self._way.close()
        # Nothing: whoever forks has died, and nobody will ever know.
        return self.pid, int(told or signal.SIGKILL)

    def _internal_poll(self, _deadstate: int | None = None, **others: Any) -> int | None:
        if self._way is None:
            return super()._internal_poll(_deadstate, **others)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        code: int | None = self.returncode
        return code


_NAMES = tuple(inspect.signature(_Real._execute_child).parameters)[1:]  # type: ignore[attr-defined]
_OF_THE_CHILD = ("p2cread", "c2pwrite", "errwrite")
"""Its end of each pipe; -1 where it has what we have."""
_ONLY_BY_EXEC = {"executable": None, "pass_fds": (), "shell": False, "gid": None, "gids": None, "uid": None,
                 "umask": -1, "process_group": -1}  # fmt: skip


def _request(asked: dict[str, Any]) -> bytes | None:
    """Return what is sent to the process that forks; None where the program has to be started."""
    words = asked["args"]
    if isinstance(words, (str, bytes)) or not isinstance(words, (list, tuple)) or str(words[0]) != str(COMMAND):
        return None
    if any(asked[name] != value for name, value in _ONLY_BY_EXEC.items()):
        return None
    if _NETWORK.stat().st_ino != _OURS or asked["preexec_fn"] not in (None, controlling):
        return None
    environment = {
        os.fsdecode(k): os.fsdecode(v) for k, v in (os.environ if asked["env"] is None else asked["env"]).items()
    }
    if _of_the_start(environment) != _of_the_start(os.environ):
        return None
    request = {
        "arguments": [os.fsdecode(word) for word in words],
        "environment": environment,
        "folder": os.fsdecode(asked["cwd"] or Path.cwd()),
        "session": asked["start_new_session"],
        "terminal": asked["preexec_fn"] is controlling,
    }
    data = json.dumps(request).encode()
    return data if len(data) < LONGEST else None


def _of_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_START)}


def _server() -> socket.socket:
    """Return the way to the process that forks for this one; it is started by whoever asks first, and ends with us."""
    global _control, _owner
    with _lock:
        if _control is None or _owner != os.getpid():
            _control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            _owner = os.getpid()
            with theirs:
                _Real(
                    [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        return _control


def serve(control: socket.socket) -> None:
    """Fork for each request, until whoever asks has ended; tell pid and status of each."""
    _import()
    gc.collect()
    # What is there now is never looked at by the collector again: in a child, that would copy all of it.
    gc.freeze()
    awake, wake = socket.socketpair()
    awake.setblocking(False)
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is awake:
                    with suppress(BlockingIOError):
                        awake.recv(4096)
                    _reap(running)
                    continue
                data, ends, _, _ = socket.recv_fds(control, LONGEST, 4)
                if not data:
                    return
                way = socket.socket(fileno=ends[0])
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(data), ends[1:])
                for end in ends[1:]:
                    os.close(end)
                running[pid] = way
                way.send(str(pid).encode())


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as way, suppress(OSError):
            way.send(str(status).encode())


def _import() -> None:
    """Read every module that a command may want, and have made what each makes at its first use."""
    for module in MODULES:
        importlib.import_module(module)
    for package in (importlib.import_module(name) for name in ("migratekit_cli", "migratekit_core")):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part in f"{found.name}." for part in NOT_IMPORTED):
                importlib.import_module(found.name)
    from sqlalchemy import create_engine
    from sqlalchemy.dialects.mysql import pymysql
    from sqlalchemy.dialects.mysql.reflection import MySQLTableDefinitionParser
    from sqlalchemy.orm import configure_mappers

    from migratekit_core.db import schema
    from migratekit_core.db.catalogue import wanted_of

    configure_mappers()
    dialect = pymysql.dialect()
    MySQLTableDefinitionParser(dialect, dialect.identifier_preparer)
    for name, metadata in schema.METADATA.items():
        wanted_of(metadata)
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            metadata.create_all(connection)
            schema.changes(connection, name)
        engine.dispose()


def _become(request: dict[str, Any], ends: list[int]) -> NoReturn:
    """Be the command line, until it ends."""
    code = 1
    try:
        for number, end in enumerate(ends):
            os.dup2(end, number)
        os.closerange(3, 4096)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["session"]:
            os.setsid()
        if request["terminal"]:
            controlling()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _open_streams()
        sys.argv = request["arguments"]
        from migratekit_cli.main import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except BrokenPipeError:
            code = 120
        finally:
            os._exit(code)


def _open_streams() -> None:
    """Open the three streams as Python does at its start."""
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False), "utf-8")  # type: ignore[misc]
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        lines = number == 2 or os.isatty(number)
        stream = io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), "utf-8", errors, line_buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
