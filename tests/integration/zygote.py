"""The command line without its start: a process that has imported everything and forks for each command.

The suite runs thousands of commands, and half of what each takes is reading Python's modules. What is forked is the
same program, in a process of its own, that can be killed like any other. `support.run` uses it; a test that needs the
program as the shell starts it (its arguments in `ps`, a terminal, a pipe that breaks) starts it itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.support import MARK, Done, setting
from tests.lab.lab import COMMAND_SECONDS, ROOT, Lab
from tests.lab.parts import process as parts

MODULES = (
    "migratekit_cli.main",
    "migratekit_cli.ui.watch",
    "migratekit_cli.commands.rollback",
    "migratekit_core.services.assessment.collect",
    "migratekit_core.services.doctor.run",
    "migratekit_core.services.failover.live",
    "migratekit_core.services.failover.rehearsal",
    "migratekit_core.services.failover.orphans",
    "migratekit_core.joblog.export",
    "migratekit_core.joblog.show",
    "migratekit_core.services.replication.preview",
    "migratekit_core.services.replication.verify",
    "migratekit_core.context",
    "pymysql",
)
LONGEST = 1 << 16
"""Bytes of a request: arguments and environment."""


class Command:
    """A command that was forked; as much of subprocess.Popen as the tests use."""

    def __init__(self, way: socket.socket, pid: int, out: Path, err: Path) -> None:
        self._way = way
        self._out = out
        self._err = err
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float = 150) -> int:
        """Wait for its end, and return the exit code."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def communicate(self, timeout: float = COMMAND_SECONDS) -> tuple[str, str]:
        """Wait for its end, and return what it said."""
        self.wait(timeout)
        return self._out.read_text(), self._err.read_text()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float) -> int | None:
        if self.returncode is None:
            self._way.settimeout(timeout or 0.001)
            try:
                self.returncode = int(self._way.recv(64))
            except (TimeoutError, BlockingIOError):
                return None
        return self.returncode


class Zygote:
    """The process that forks, as a test talks to it."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self._lab = lab
        self._path = path

    @contextmanager
    def started(self, *arguments: str, **extra: str) -> Iterator[Command]:
        """Start a command and go on; it is killed at the end of the block if it still runs."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
            out, err = Path(folder) / "out", Path(folder) / "err"
            way.connect(str(self._path))
            request = {
                "arguments": ["--config", str(self._lab.config), *arguments],
                "environment": setting(self._lab, **extra),
                "out": str(out),
                "err": str(err),
            }
            way.send(json.dumps(request).encode())
            command = Command(way, int(way.recv(64)), out, err)
            try:
                yield command
            finally:
                command.kill()
                command.wait()

    def run(self, *arguments: str, **extra: str) -> Done:
        """Run a command to its end."""
        with self.started(*arguments, **extra) as command:
            out, err = command.communicate()
        assert command.returncode is not None, "it has ended"
        return Done([*arguments], command.returncode, out, err)

    def report(self, *arguments: str, **extra: str) -> dict[str, object]:
        """Run a command that has to work, and return its JSON."""
        done = self.run(*arguments, "--output", "json", **extra)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        found: dict[str, object] = json.loads(done.stdout)
        return found


def of(lab: Lab) -> Zygote:
    """Return the process that forks for a lab: started by whoever asks first, ended with the lab."""
    part = lab.parts.get(PART)
    path = lab.sockets / PART
    if part is None or part.process.poll() is not None:
        path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.integration.zygote", str(path)]
        part = parts.launch(PART, command, lab.run, cwd=ROOT, env={MARK: ""})
        parts.wait_until(path.exists, part)
        lab.parts[PART] = part
    return Zygote(lab, path)


PART = "zygote"


def serve(path: str) -> None:
    """Fork for each connection; the child that waits for a command tells its exit code when it has ended."""
    for module in MODULES:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        # It appears under its name when it listens.
        server.bind(f"{path}.part")
        server.listen(64)
        os.rename(f"{path}.part", path)  # noqa: PTH104 (a socket, by its name)
        while True:
            way, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _attend(way)
                os._exit(0)
            way.close()


def _attend(way: socket.socket) -> None:
    request = json.loads(way.recv(LONGEST))
    pid = os.fork()
    if pid == 0:
        way.close()
        _become(request)
    way.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    try:
        way.send(str(os.waitstatus_to_exitcode(status)).encode())
    except BrokenPipeError:
        return


def _become(request: dict[str, object]) -> None:
    """Be the command line, until it ends."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT, 0o600), number)
        sys.argv = ["migratekit", *request["arguments"]]  # type: ignore[misc]
        from migratekit_cli.main import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
