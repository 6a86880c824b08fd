"""The fleet's scheduler: Dask's, with our driver beside it. One host has it; when it dies, systemd starts it again."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

from distributed import Client, Scheduler
from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, Fact, MigrateKitError, PreconditionError
from migratekit_core.config.fleet import Fleet
from migratekit_core.services.fleet import tls
from migratekit_core.services.fleet.driver import Driver
from migratekit_core.services.fleet.leases import held

RETRY_SECONDS = 5.0
STOP_SECONDS = 15.0


def serve(fleet: Fleet, engine: Engine, note: Callable[[str], None]) -> None:
    """Run until SIGTERM or Ctrl-C; what runs on workers is killed by them then, and goes on with the next scheduler.

    Raises PreconditionError where the address is taken, and what the certificates' check raises.
    """
    security = tls.security(fleet, tls.SCHEDULER)
    asyncio.run(_serve(fleet, security, engine, note))


async def _serve(fleet: Fleet, security: tls.FleetSecurity, engine: Engine, note: Callable[[str], None]) -> None:
    host, _, port = fleet.listen.rpartition(":")
    stop = threading.Event()
    scheduler = Scheduler(
        host=host.strip("[]") or None,
        port=int(port),
        protocol="tls",
        security=security,
        # Nothing but the one port faces the network.
        dashboard_address=f"127.0.0.1:{fleet.dashboard_port}",
        dashboard=True,
        validate=False,
    )
    try:
        await scheduler
    except OSError as error:
        raise PreconditionError(
            f"the scheduler cannot listen on {fleet.listen}",
            error.strerror or str(error),
            "is another one running?",
            code=ErrorCode.LISTEN_FAILED,
            facts={"address": fleet.listen},
        ) from None
    scheduler.handlers["migratekit_status"] = lambda: status(scheduler)
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    note(f"scheduler listens on {scheduler.address}; dashboard: http://127.0.0.1:{scheduler.http_server.port}/status")
    problems: list[BaseException] = []

    def drive() -> None:
        try:
            _drive(scheduler.address, security, engine, fleet, note, stop)
        except BaseException as error:
            problems.append(error)
        # A scheduler without a driver would look well and do nothing.
        loop.call_soon_threadsafe(asked.set)

    thread = threading.Thread(target=drive, name="driver", daemon=True)
    thread.start()
    ends = [asyncio.ensure_future(each) for each in (scheduler.finished(), asked.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # The driver first: its client would look for the scheduler in vain.
    stop.set()
    await asyncio.to_thread(thread.join, STOP_SECONDS)
    await scheduler.close()
    if problems:
        raise problems[0]


def _drive(
    address: str,
    security: tls.FleetSecurity,
    engine: Engine,
    fleet: Fleet,
    note: Callable[[str], None],
    stop: threading.Event,
) -> None:
    with Client(address, security=security, set_as_default=False, direct_to_workers=False, timeout=30) as client:
        driver = Driver(engine, client, fleet.lease, note)
        said: tuple[ErrorCode, dict[str, Fact]] | None = None
        while not stop.is_set():
            try:
                driver.drive(stop)
            except MigrateKitError as error:
                # The database is away, or another driver has it: this one waits for its turn.
                if (error.code, error.facts) != said:
                    said = error.code, error.facts
                    note(f"{'waiting' if isinstance(error, BusyError) else 'trouble'}: {error}")
                stop.wait(RETRY_SECONDS)


def status(scheduler: Any) -> dict[str, Any]:
    """Return workers and leases, from the scheduler's own books."""
    return {
        "address": scheduler.address,
        "dashboard": f"http://127.0.0.1:{scheduler.http_server.port}/status",
        "workers": [
            {
                "name": str(each.name),
                "address": each.address,
                "host": each.host,
                "slots": each.nthreads,
                "machines": len(each.processing),
                "memory_bytes": int(each.metrics.get("memory", 0)),
                "silent_seconds": round(max(asyncio_time() - each.last_seen, 0.0), 1),
            }
            for each in scheduler.workers.values()
        ],
        "leases": {name: list(pair) for name, pair in held(scheduler.extensions["semaphores"]).items()},
        "clients": len(scheduler.clients),
        "tasks": len(scheduler.tasks),
    }


def asyncio_time() -> float:
    """Return the time as Dask's scheduler counts it."""
    from distributed.metrics import time

    return float(time())
