"""uvicorn, on a socket of ours, telling systemd when it is ready, alive, and on its way out."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from migratekit_core.volumed.daemon import bridge
from migratekit_core.volumed.daemon.notify import notify, watchdog_seconds

GRACE_SECONDS = 5


def run(app: FastAPI, bound: socket.socket, ending: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ending` is called first then, to let go of those who wait."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn raises the signal that ended it once more when it is done: not to be killed before the rest is put away.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _Server(config, ending).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending
        self._interval = watchdog_seconds()
        self._told = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            notify("READY=1", "STATUS=serving")
            bridge.note("the volume daemon is ready")

    async def on_tick(self, counter: int) -> bool:
        # From the loop that answers requests: when that hangs, systemd shall notice.
        if self._interval is not None and time.monotonic() - self._told >= self._interval:
            self._told = time.monotonic()
            notify("WATCHDOG=1")
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify("STOPPING=1", "STATUS=finishing what is under way")
        bridge.note("the volume daemon is stopping")
        self._ending()
        await super().shutdown(sockets)
