"""The nbd-server exporter: one configuration file per export in its `includedir`, one process per connection.

How an export is added. nbd-server reads its configuration again on SIGHUP, but 3.24 (Debian 12) must not be asked to:
it damages its memory, so after a few reloads every new connection dies, and then the server itself (measured, with
`includedir` as well; upstream changed this code in 3.25, which was not tried). So the listening process is replaced
by a new one, which reads everything: it is killed with SIGKILL, after which its children go on serving the
connections that are open (SIGTERM would end them), and a new one takes the port. Only who connects just then is
refused (6 to 13 ms on an idle machine, up to a second on a busy one) or waits until the new one has computed its
Diffie-Hellman parameters (0.3 to 1 s, up to 30 s on a busy one). Exports that are added together share a replacement.

How an export is removed. Its symlink goes first. nbd-server opens `exportname` anew for every connection, in the
child, and never makes a file (that takes `filesize`): without the symlink a client that knows the name is refused,
also by a server that still has the name in memory. Then its configuration file goes, and the next server never
learns of it. Nothing is reloaded, nobody is disturbed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from migratekit_core.common import programs
from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Daemon
from migratekit_core.volumed.daemon.exports.exporter import THREADS, Exporter, open_files
from migratekit_core.volumed.names import EXPORT

GENERIC = """[generic]
listenaddr = {host}
port = {port}
max_threads = {threads}
allowlist = false
includedir = {folder}

[none]
exportname = {nothing}
"""
"""`allowlist`: whether names are told to who asks. `none`: without any export nbd-server does not start."""
SECTION = """[{name}]
exportname = {link}
virtstyle = none
flush = true
fua = true
"""
"""`flush`: without it the server would tell nobody that it can, and several connections would not be safe."""
NEGOTIATION_SECONDS = 2.0
"""How long a client that has not chosen an export may keep the port from the next server."""


class NbdServerExporter(Exporter):
    """nbd-server, whose listening process is replaced when an export is added."""

    program = "nbd-server"

    def __init__(self, settings: Daemon, *, supervised: bool = False) -> None:
        super().__init__(settings, supervised=supervised)
        state = settings.state_dir.absolute()
        self._config = state / "nbd-server.conf"
        self._includes = state / "nbd-server.d"
        self._known_file = state / "nbd-server.known"
        """The exports that the running server has read."""

    def add(self, name: str, device: Path) -> None:
        """Export a device under a name; doing it again is the same."""
        # Before the lock: whoever holds it next, its server reads all that wait.
        self._link(name, device)
        self._includes.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._describe(name)
        with self._starting:
            if name not in self._known():
                self._end_listener()
            self.start()

    def remove(self, name: str) -> None:
        """Take an export back; connections to it that are open stay so until they end."""
        super().remove(name)
        if EXPORT.fullmatch(name):
            self._include(name).unlink(missing_ok=True)

    def prove(self, name: str, size: int) -> None:
        """Do an NBD handshake, while no replacement is under way."""
        with self._starting:
            super().prove(name, size)

    def _launch(self) -> None:
        for folder in (self._folder, self._includes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._known_file.unlink(missing_ok=True)
        names = self.names()
        for name in names:
            self._describe(name)
        for file in self._includes.glob("*.conf"):
            if file.stem not in names:
                file.unlink()
        write_private(self._config, self._generic())
        self._free_the_port()
        program = programs.find("nbd-server", "nbd-server")
        self._to_background(program, "-C", str(self._config), "-p", str(self._own_pid))
        # Before it has answered: where it does not, it is ended, and this file with it.
        write_private(self._known_file, "\n".join(names) + "\n")

    def _generic(self) -> str:
        nothing = self._folder / ".none"
        settings = {"host": self._host, "port": self.port, "threads": THREADS, "folder": self._includes}
        return GENERIC.format(nothing=nothing, **settings)

    def _configured(self, pid: int) -> bool:
        try:
            return self._config.read_text() == self._generic()
        except OSError:
            return True

    def _mark(self) -> bytes:
        return str(self._config).encode()

    def _processes(self) -> list[int]:
        """Return the listening process and those of the connections, also of servers that were replaced."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._runs(entry)]

    def _runs(self, process: Path) -> bool:
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return Path(os.fsdecode(command[0])).name == self.program and self._mark() in command

    def _known(self) -> set[str]:
        try:
            return set(self._known_file.read_text().split())
        except FileNotFoundError:
            return set()

    def _include(self, name: str) -> Path:
        return self._includes / f"{name}.conf"

    def _describe(self, name: str) -> None:
        write_private(self._include(name), SECTION.format(name=name, link=self._folder / name))

    def _end_listener(self) -> None:
        pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while self._pid() is not None:
            time.sleep(0.001)

    def _free_the_port(self) -> None:
        """Wait for clients of the former server that still negotiate: until they are through they hold its port."""
        deadline = time.monotonic() + NEGOTIATION_SECONDS
        while negotiating := [pid for pid in self._processes() if not self._serves(pid)]:
            if time.monotonic() > deadline:
                for pid in negotiating:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def _serves(self, pid: int) -> bool:
        """Return whether a process has a device open; one that is gone is in nobody's way."""
        try:
            return any(str(path).startswith("/") and path != Path("/dev/null") for path in open_files(pid))
        except OSError:
            return True
