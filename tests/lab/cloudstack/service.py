"""The management server as an operator runs it: it can be restarted, and is away for as long as that takes.

Meanwhile connections are refused. What was running or queued then has ended, without a result (`jobs.interrupt`).
"""

from __future__ import annotations

import contextlib
import threading
import time

from . import jobs
from .server import Server
from .state import Cloud

REBIND_SECONDS = 20.0


class Service:
    """Runs the server, again and again."""

    def __init__(self, address: tuple[str, int], cloud: Cloud) -> None:
        self._cloud = cloud
        self._stopped, self._gone = threading.Event(), threading.Event()
        self._away = 0.0
        self._server = Server(address, cloud)
        self._place = (address[0], int(self._server.server_address[1]))
        cloud.restart = self.restart

    @property
    def address(self) -> str:
        """Return where it listens, as a URL without a path."""
        return f"http://{self._place[0]}:{self._place[1]}"

    def run(self) -> None:
        """Serve until `stop`."""
        while True:
            with self._server:
                self._server.serve_forever(poll_interval=0.02)
            self._server.break_connections()
            self._gone.set()
            if self._stopped.is_set():
                return
            jobs.interrupt(self._cloud)
            self._stopped.wait(self._away)
            if self._stopped.is_set():
                return
            self._server = self._again()

    def _again(self) -> Server:
        end = time.monotonic() + REBIND_SECONDS
        while True:
            with contextlib.suppress(OSError):
                return Server(self._place, self._cloud)
            if time.monotonic() > end:
                raise OSError(f"{self.address} was taken by another process during the restart")
            time.sleep(0.05)

    def restart(self, seconds: float) -> None:
        """Be away for so long. Returns once no connection is taken any more."""
        self._away = seconds
        self._gone.clear()
        self._server.shutdown()
        self._gone.wait()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()
        # shutdown() waits for the loop, which may be in this very thread.
        threading.Thread(target=self._server.shutdown, daemon=True).start()
