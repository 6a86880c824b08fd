"""The nbdkit exporter: one process serves a folder (`file dir=`), and an export is a symlink in it.

Adding or removing an export is one atomic file operation that the server needs not be told of, so a copy on another
export never notices. The server outlives a daemon that is killed, and the next daemon takes it over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import nbd

from migratekit_core import programs
from migratekit_core.config.schema import Daemon
from migratekit_core.errors import OperationFailedError, PreconditionError
from migratekit_core.joblog.process import running_pid, write_pid
from migratekit_core.redact import redact

START_SECONDS = 10.0
WATCH_SECONDS = 0.5
THREADS = 16
"""nbdkit's threads per connection: requests of one disk that are served at the same time."""


class NbdkitExporter:
    """Serves `state_dir/exports` on the daemon's NBD port."""

    def __init__(self, settings: Daemon) -> None:
        self._host = settings.nbd_listen
        self.port = settings.nbd_port
        self._folder = settings.state_dir / "exports"
        self._pid_file = settings.state_dir / "nbdkit.pid"
        self._log = settings.state_dir / "nbdkit.log"
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the server, or take over the one that a former daemon left running."""
        with self._starting:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._pid() is None:
                self._launch()

    def watch(self, stopping: threading.Event) -> None:
        """Start the server again whenever it has died, until `stopping`: copies that go on then only lose a second."""
        while not stopping.wait(WATCH_SECONDS):
            # The port may be taken for a moment; whoever exports something meanwhile is told why it fails.
            with contextlib.suppress(OperationFailedError):
                self.start()

    def _launch(self) -> None:
        # In the background, not as our child: in the foreground, nbdkit asks the kernel to end it with its parent.
        # It leaves the foreground when it listens, and writes its pid just after.
        own_pid = self._pid_file.with_suffix(".own")
        if self._adopt(own_pid):
            return
        own_pid.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            try:
                done = subprocess.run(
                    [
                        programs.find("nbdkit", "nbdkit"),
                        f"--pidfile={own_pid}",
                        f"--ipaddr={self._host}",
                        f"--port={self.port}",
                        f"--threads={THREADS}",
                        "file",
                        f"dir={self._folder}",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    timeout=START_SECONDS,
                    check=False,
                )
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = -1
        if code != 0:
            words = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise OperationFailedError(
                f"the NBD exporter does not start on {self._host}:{self.port}",
                redact(words[-1]),
                "free the port or set daemon.nbd_port",
            )
        pid = self._await_pid(own_pid)
        write_pid(self._pid_file, pid)

    def _await_pid(self, path: Path) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if path.exists() and (text := path.read_text()).endswith("\n"):
                return int(text)
            time.sleep(0.01)
        raise OperationFailedError("the NBD exporter did not write its pid", f"{path} is missing", "look at its folder")

    def _adopt(self, own_pid: Path) -> bool:
        """Take over a server that was started by a daemon which died before it could write that down."""
        try:
            pid = int(own_pid.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return False
        if f"dir={self._folder}".encode() not in command:
            return False
        write_pid(self._pid_file, pid)
        return True

    def stop(self) -> None:
        """Stop the server."""
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + START_SECONDS
            while self._pid() is not None:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
        self._pid_file.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all exports."""
        return sorted(entry.name for entry in self._folder.iterdir() if not entry.name.startswith("."))

    def add(self, name: str, device: Path) -> None:
        """Export a device under a name; doing it again is the same."""
        self.start()
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
            handle.connect_tcp(self._host, str(self.port))
            found = handle.get_size()
            handle.shutdown()
        except nbd.Error as error:
            raise OperationFailedError(
                f"export {name} cannot be connected to", str(error), f"look at {self._log} on the OMA"
            ) from None
        if found != size:
            raise OperationFailedError(
                f"export {name} has the wrong size",
                f"{found} bytes instead of {size}",
                "unexport the volume, try again",
            )

    def clients(self, device: Path) -> int:
        """Return how many connections use a device: nbdkit opens it once for each."""
        pid = self._pid()
        if pid is None:
            return 0
        count = 0
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    count += descriptor.readlink() == device
                except OSError:
                    continue  # closed since
        except OSError as error:
            raise PreconditionError(
                "the exporter's connections cannot be counted",
                error.strerror or str(error),
                "run the daemon as one user",
            ) from error
        return count

    def _pid(self) -> int | None:
        return running_pid(self._pid_file)
