"""What both exporters are: a folder of symlinks, named as the exports, and one server process that serves them.

The symlinks are the truth: what has none cannot be opened by the server, whatever else it still remembers. The server
outlives a daemon that is killed, and the next daemon takes it over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

import nbd

from migratekit_core.common.childprocess import last_line, said_in
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.common.redact import child_environment
from migratekit_core.config.schema import Daemon
from migratekit_core.joblog.process import running_pid, started, write_pid

START_SECONDS = 60.0
"""A loaded machine may take long: nbd-server computes Diffie-Hellman parameters before it answers."""
STOP_SECONDS = 10.0
PROVE_SECONDS = 60.0
WATCH_SECONDS = 0.5
THREADS = 16
"""A server's threads per connection: requests of one disk that are served at the same time."""


class Exporter(ABC):
    """Serves `state_dir/exports` on the daemon's NBD port."""

    program: str
    """Its name, which its pid file and log have as well."""

    def __init__(self, settings: Daemon) -> None:
        self._host = settings.nbd_listen
        self.port = settings.nbd_port
        # Absolute: a server in the background has another working directory.
        state = settings.state_dir.absolute()
        self._folder = state / "exports"
        self._pid_file = state / f"{self.program}.pid"
        self._own_pid = self._pid_file.with_suffix(".own")
        """What the server itself writes."""
        self._log = state / f"{self.program}.log"
        self._starting = threading.RLock()

    def start(self) -> None:
        """Start the server, or take over the one that a former daemon left running."""
        with self._starting:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._pid() is None and not self._adopt():
                self._own_pid.unlink(missing_ok=True)
                self._launch()
                write_pid(self._pid_file, self._await_answer())

    def watch(self, stopping: threading.Event) -> None:
        """Start the server again whenever it has died, until `stopping`: copies that go on then only lose a second."""
        while not stopping.wait(WATCH_SECONDS):
            # The port may be taken for a moment; whoever exports something meanwhile is told why it fails.
            with contextlib.suppress(OperationFailedError):
                self.start()

    def stop(self) -> None:
        """Stop the server and every process of it."""
        deadline = time.monotonic() + STOP_SECONDS
        number = signal.SIGTERM
        while processes := self._processes():
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if time.monotonic() > deadline:
                number = signal.SIGKILL
            time.sleep(0.02)
        self._pid_file.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all exports."""
        return sorted(entry.name for entry in self._folder.iterdir() if not entry.name.startswith("."))

    def target(self, name: str) -> Path | None:
        """Return the device that a name leads to, or None where there is no such export."""
        try:
            return (self._folder / name).readlink()
        except OSError:
            return None

    def add(self, name: str, device: Path) -> None:
        """Export a device under a name; doing it again is the same."""
        self.start()
        self._link(name, device)

    def _link(self, name: str, device: Path) -> None:
        link = self._folder / name
        if link.is_symlink() and link.readlink() == device:
            return
        # A symlink cannot be overwritten in place: a new one under a hidden name takes the old one's.
        beside = self._folder / f".{name}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(device)
        beside.rename(link)

    def remove(self, name: str) -> None:
        """Take an export back; connections to it that are open stay so until they end."""
        (self._folder / name).unlink(missing_ok=True)

    def prove(self, name: str, size: int) -> None:
        """Do an NBD handshake. Raises OperationFailedError unless the export is there and has `size` bytes."""
        handle = nbd.NBD()
        try:
            handle.set_export_name(name)
            self._shake_hands(handle)
            found = handle.get_size()
            handle.shutdown()
        except (nbd.Error, TimeoutError) as error:
            raise OperationFailedError(
                f"export {name} cannot be connected to",
                str(error),
                f"look at {self._log} on the OMA",
                code=ErrorCode.EXPORT_BROKEN,
                facts={"export": name},
            ) from None
        if found != size:
            raise OperationFailedError(
                f"export {name} has the wrong size",
                f"{found} bytes instead of {size}",
                "unexport the volume, try again",
                code=ErrorCode.SIZE_MISMATCH,
                facts={"export": name, "size": found, "wanted": size},
            )

    def clients(self, device: Path) -> int:
        """Return how many connections use a device: the server opens it once for each."""
        count = 0
        for pid in self._processes():
            try:
                count += sum(target == device for target in open_files(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended since
            except OSError as error:
                raise PreconditionError(
                    "the exporter's connections cannot be counted",
                    error.strerror or str(error),
                    "run the daemon as one user",
                    code=ErrorCode.EXPORTER_DOWN,
                ) from error
        return count

    @abstractmethod
    def _launch(self) -> None:
        """Start the server in the background; it writes its pid to `_own_pid`."""

    @abstractmethod
    def _mark(self) -> bytes:
        """Return the argument by which a command line is known to be our server's."""

    def _processes(self) -> list[int]:
        pid = self._pid()
        return [] if pid is None else [pid]

    def _pid(self) -> int | None:
        return running_pid(self._pid_file)

    def _adopt(self) -> bool:
        """Take over a server that was started by a daemon which died before it could write that down."""
        try:
            pid = int(self._own_pid.read_text())
        except (OSError, ValueError):
            return False
        if not self._is_ours(pid):
            return False
        write_pid(self._pid_file, pid)
        return True

    def _is_ours(self, pid: int) -> bool:
        try:
            return self._mark() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def _await_answer(self) -> int:
        """Return the server's pid once it has greeted a client: from then on it takes signals and connections."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                pid = int(self._own_pid.read_text())
            except (OSError, ValueError):
                time.sleep(0.01)
                continue
            if not started(pid):
                raise self._does_not_start("it ended at once; another program may have the port")
            if self._greets(deadline) and started(pid):
                return pid
            time.sleep(0.01)
        raise self._does_not_start(f"it did not answer within {START_SECONDS:.0f} s")

    def _to_background(self, *command: str) -> None:
        """Run a server that leaves the foreground when it listens. Raises OperationFailedError with its last words."""
        with self._log.open("wb") as log:
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=child_environment(),
                    timeout=START_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
        if code != 0:
            raise self._does_not_start(last_line(said_in(self._log)))

    def _does_not_start(self, why: str) -> OperationFailedError:
        return OperationFailedError(
            f"the NBD exporter does not start on {self._host}:{self.port}",
            why,
            "free the port or set daemon.nbd_port",
            code=ErrorCode.EXPORTER_DOWN,
            facts={"port": self.port},
        )

    def _greets(self, deadline: float) -> bool:
        try:
            with socket.create_connection((self._host, self.port), timeout=1.0) as client:
                client.settimeout(max(0.1, deadline - time.monotonic()))
                return client.recv(8) == b"NBDMAGIC"
        except OSError:
            return False

    def _shake_hands(self, handle: nbd.NBD) -> None:
        deadline = time.monotonic() + PROVE_SECONDS
        handle.aio_connect_tcp(self._host, str(self.port))
        while handle.aio_is_connecting():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {PROVE_SECONDS:.0f} s")
            handle.poll(100)
        if not handle.aio_is_ready():
            # Says why: a call on a connection that failed repeats its error.
            handle.get_size()


def open_files(pid: int) -> list[Path]:
    """Return what a process has open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            found.append(descriptor.readlink())
    return found
