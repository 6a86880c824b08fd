"""The nbdkit exporter: one process serves a folder (`file dir=`), and an export is a symlink in it.

Adding or removing an export is one atomic file operation that the server needs not be told of, so a copy on another
export never notices.
"""

from __future__ import annotations

from pathlib import Path

from migratekit_core.common import programs
from migratekit_core.volumed.daemon.exports.exporter import THREADS, Exporter


class NbdkitExporter(Exporter):
    """nbdkit, with its file plugin."""

    program = "nbdkit"

    def _launch(self) -> None:
        # In the background, not as our child: in the foreground, nbdkit asks the kernel to end it with its parent.
        # It leaves the foreground when it listens, and writes its pid just after.
        self._to_background(
            programs.find("nbdkit", "nbdkit"),
            f"--pidfile={self._own_pid}",
            f"--ipaddr={self._host}",
            f"--port={self.port}",
            f"--threads={THREADS}",
            # Names are what keeps others out: who asks for a list of them is refused.
            "--filter=exportname",
            "file",
            f"dir={self._folder}",
            "exportname-list=error",
        )

    def _configured(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return True
        return {f"--ipaddr={self._host}".encode(), f"--port={self.port}".encode()} <= set(command)

    def _mark(self) -> bytes:
        return f"dir={self._folder}".encode()
