"""A worker of the fleet: one process on a host, which works on some machines at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from distributed import Status, Worker
from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.config.fleet import Fleet
from migratekit_core.services.fleet import tls
from migratekit_core.services.fleet.process import Launch, MachineProcess
from migratekit_core.services.fleet.site import SITES, Site

WAIT_SECONDS = 2.0
GONE_SECONDS = 10.0
"""What killing the machines' processes may take when the scheduler is gone."""


def serve(fleet: Fleet, engine: Engine, options: list[str], note: Callable[[str], None]) -> None:
    """Work until SIGTERM: then nothing new is begun, copies stop at a checkpoint, and cut-overs go on to their end.

    `options`: how a machine's process finds the configuration. It waits for a scheduler where none answers. Raises
    AuthError where one refuses us, and UnreachableError when the scheduler is gone: what was worked on has been killed
    by then, and systemd starts the worker again.
    """
    security = tls.security(fleet, tls.WORKER)
    _wait_for_scheduler(fleet, note)
    asyncio.run(_serve(fleet, security, make_site(fleet, engine, partial(MachineProcess, options=options)), note))


def make_site(fleet: Fleet, engine: Engine, launch: Launch) -> Site:
    """Return what the tasks of one worker find."""
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
    site = SITES[name] = Site(name, engine, fleet, launch)
    return site


def build(site: Site, scheduler: str, security: Any = None, host: str | None = None, port: int = 0) -> Worker:
    """Return Dask's worker for a site, yet to be started."""
    return Worker(
        scheduler,
        name=site.name,
        nthreads=site.fleet.slots,
        host=host,
        port=port,
        security=security,
        memory_limit=0,
        dashboard=False,
        dashboard_address="127.0.0.1:0",
    )


async def _serve(fleet: Fleet, security: tls.FleetSecurity, site: Site, note: Callable[[str], None]) -> None:
    host, _, port = fleet.worker_listen.rpartition(":")
    worker = build(site, f"tls://{fleet.scheduler}", security, host.strip("[]"), int(port))
    try:
        await worker
    except OSError as error:
        raise PreconditionError(
            f"the worker cannot listen on {fleet.worker_listen}",
            error.strerror or str(error),
            "is the port free?",
            code=ErrorCode.LISTEN_FAILED,
            facts={"address": fleet.worker_listen},
        ) from None
    note(f"worker {site.name} takes part: {fleet.slots} machines at a time, called at {worker.address}")
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        if len(asked) > 1:
            site.leaving.set()
        site.stopping.set()
        # The scheduler sends nothing to a worker that is paused.
        worker.status = Status.paused

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    ended = asyncio.ensure_future(worker.finished())
    while not ended.done() and not (site.stopping.is_set() and not worker.state.executing_count):
        await asyncio.wait([ended], timeout=0.2)
    if asked:
        note("worker stops")
        await worker.close()
        return
    site.leaving.set()
    site.stopping.set()
    # The threads kill their machines' processes, which would end by themselves as well: soon, not at once.
    deadline = time.monotonic() + GONE_SECONDS
    while worker.state.executing_count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    raise UnreachableError(
        "the fleet's scheduler is gone",
        f"the connection to {fleet.scheduler} broke; what was worked on here was stopped",
        "nothing: systemd starts the worker again, and the machines go on from where they were",
        code=ErrorCode.SCHEDULER_UNREACHABLE,
    )


def _wait_for_scheduler(fleet: Fleet, note: Callable[[str], None]) -> None:
    said = ""
    while True:
        problem: MigrateKitError | None = tls.probe(fleet)
        if problem is None:
            return
        if isinstance(problem, AuthError | PreconditionError):
            raise problem
        if str(problem) != said:
            said = str(problem)
            note(f"waiting for the scheduler: {said}")
        time.sleep(WAIT_SECONDS)
