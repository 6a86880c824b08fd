"""A fleet of one process: scheduler, worker and driver within `wave run`, without any set-up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from distributed import Client, LocalCluster
from sqlalchemy import Engine

from migratekit_core.config.fleet import Fleet
from migratekit_core.services.fleet.driver import Driver
from migratekit_core.services.fleet.process import MachineProcess
from migratekit_core.services.fleet.site import SITES, Site
from migratekit_core.services.fleet.worker import make_site

STOP_SECONDS = 120.0
"""What the machines' processes may take for their checkpoints."""


@contextmanager
def cluster(fleet: Fleet, engine: Engine, options: list[str], note: Callable[[str], None]) -> Iterator[Driver]:
    """Have a scheduler and a worker in this process as long as the block runs; yield a driver of them.

    When the block ends, copies that run are stopped at a checkpoint.
    """
    site = make_site(fleet, engine, partial(MachineProcess, options=options))
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=fleet.slots,
            processes=False,
            protocol="inproc://",
            security=None,
            memory_limit=None,
            dashboard_address=f"127.0.0.1:{fleet.dashboard_port}",
            silence_logs=False,
            worker_dashboard_address="127.0.0.1:0",
        ) as made,
        Client(made, set_as_default=False) as client,
    ):
        _name(made, site)
        try:
            driver = Driver(engine, client, fleet.lease, note)
            yield driver
        finally:
            stop(site, driver)


def stop(site: Site, driver: Driver) -> None:
    """Stop what runs, and wait for it."""
    site.stopping.set()
    driver.wind_up(STOP_SECONDS)
    site.leaving.set()


def _name(made: LocalCluster, site: Site) -> None:
    for worker in made.workers.values():
        SITES[str(worker.name)] = site


def drive(driver: Driver, wave: str) -> tuple[threading.Event, threading.Thread, list[BaseException]]:
    """Drive one wave beside whatever else is done; return how to stop it, the thread, and what it ended with."""
    stop, problems = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            driver.drive(stop, wave)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run, name="driver", daemon=True)
    thread.start()
    return stop, thread, problems
