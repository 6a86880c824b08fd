"""What both exporters are: a folder of symlinks, named as the exports, and one server process that serves them.

The symlinks are the truth: what has none cannot be opened by the server, whatever else it still remembers. The server
outlives a daemon that is killed, and the next daemon takes it over.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from migratekit_core.common.files import write_private
from migratekit_core.common.redact import child_environment
from migratekit_core.config.schema import Daemon
from migratekit_core.joblog.process import running_pid, started, write_pid
from migratekit_core.volumed.names import EXPORT

START_SECONDS = 60.0
"""A loaded machine may take long: nbd-server computes Diffie-Hellman parameters before it answers."""
STOP_SECONDS = 10.0
PROVE_SECONDS = 60.0
WATCH_SECONDS = 0.5
LOCK = "exporter.lock"
"""In `state_dir`: held by the exporter's own process, whose id it holds."""
THREADS = 16
"""A server's threads per connection: requests of one disk that are served at the same time."""


class Exporter(ABC):
    """Serves `state_dir/exports` on the daemon's NBD port."""

    program: str
    """Its name, which its pid file and log have as well."""

    def __init__(self, settings: Daemon, *, supervised: bool = False) -> None:
        """With `supervised` the exporter's own process (exports.unit) starts the server, where that runs."""
        self._supervised = supervised
        self._host = settings.nbd_listen
        self.port = settings.nbd_port
        # Absolute: a server in the background has another working directory.
        state = settings.state_dir.absolute()
        self._folder = state / "exports"
        self._given = state / "given"
        self._pid_file = state / f"{self.program}.pid"
        self._own_pid = self._pid_file.with_suffix(".own")
        """What the server itself writes."""
        self._lock = state / LOCK
        self._log = state / f"{self.program}.log"
        self._starting = threading.RLock()

    def start(self) -> None:
        """Start the server, or take over the one that a former daemon left running."""
        with self._starting:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._pid() is None and not self._adopt():
                if (supervisor := self._supervisor()) is not None:
                    self._await_supervisor(supervisor)
                    return
                self._own_pid.unlink(missing_ok=True)
                self._launch()
                write_pid(self._pid_file, self._await_answer())

    def supervised(self) -> bool:
        """Return whether the exporter's own process runs."""
        return self._supervisor() is not None

    def _supervisor(self) -> int | None:
        """Return the process that keeps the server running; None where there is none but this."""
        if not self._supervised:
            return None
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(OSError, ValueError):
                return int(self._lock.read_text())
        except OSError:
            pass
        return None

    def _await_supervisor(self, supervisor: int) -> None:
        """Have the exporter's process start the server, and wait for that."""
        deadline = time.monotonic() + START_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGHUP)
        while self._pid() is None:
            if time.monotonic() > deadline:
                raise self._does_not_start("its own process runs and does not start it; restart migratekit-exporter")
            if self._supervisor() is None:
                self.start()
                return
            time.sleep(0.01)

    def fits(self) -> bool:
        """Return whether no server of this kind runs, or one with these settings."""
        pid = self._pid()
        return pid is None or self._configured(pid)

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
        """Return the names of all exports; what else is in the folder is none."""
        return sorted(entry.name for entry in self._folder.iterdir() if EXPORT.fullmatch(entry.name))

    def target(self, name: str) -> Path | None:
        """Return the device that a name leads to, or None where there is no such export."""
        if not EXPORT.fullmatch(name):
            return None
        try:
            return (self._folder / name).readlink()
        except OSError:
            return None

    def given_to(self, name: str) -> str:
        """Return the id of the volume that a name was given to by this daemon or a former one; "" where to none.

        That is kept beside the exports, in files of the daemon's own: rows that others can write give no names.
        """
        if not EXPORT.fullmatch(name):
            return ""
        try:
            return (self._given / name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def give(self, name: str, volume_id: str) -> None:
        """Give a volume a name, before it is exported under it. Raises PreconditionError (REQUEST_INVALID)."""
        self._given.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._given / _checked(name), volume_id + "\n")

    def add(self, name: str, device: Path) -> None:
        """Export a device under a name; doing it again is the same. Raises PreconditionError (REQUEST_INVALID)."""
        _checked(name)
        self.start()
        self._link(name, device)

    def _link(self, name: str, device: Path) -> None:
        link = self._folder / _checked(name)
        if link.is_symlink() and link.readlink() == device:
            return
        # A symlink cannot be overwritten in place: a new one under a hidden name takes the old one's.
        beside = self._folder / f".{name}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(device)
        beside.rename(link)

    def remove(self, name: str) -> None:
        """Take an export back; connections to it that are open stay so until they end. For what cannot be an export's
        name no file is touched."""
        if EXPORT.fullmatch(name):
            (self._folder / name).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """Take a name away from its volume, when its export was taken back for good."""
        if EXPORT.fullmatch(name):
            (self._given / name).unlink(missing_ok=True)

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

    def processes(self) -> list[int]:
        """Return the server's processes."""
        return self._processes()

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
    def _configured(self, pid: int) -> bool:
        """Return whether a server that runs listens where the settings say."""

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


def _checked(name: str) -> str:
    """Return an export's name. Raises PreconditionError (REQUEST_INVALID) for what `names.export_name` has not made: it
    may be a path, or lines of a configuration."""
    if not EXPORT.fullmatch(name):
        raise PreconditionError(
            "that is no name of an export",
            f"{name!r} was not made by MigrateKit",
            "find out who writes into the volume daemon's database; the row is taken away by the next comparison",
            code=ErrorCode.REQUEST_INVALID,
            facts={"export": name},
        )
    return name


def open_files(pid: int) -> list[Path]:
    """Return what a process has open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            found.append(descriptor.readlink())
    return found
