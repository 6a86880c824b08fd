"""Workers whose machines take time and nothing else: `python -m tests.fleet.timed CONFIG WORKERS`.

All else is the product's: the tasks, the places, the claims, the signs of life, the scheduler across TLS.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import threading
import time
from pathlib import Path

from migratekit_core.config.load import load_config
from migratekit_core.db.engine import open_databases
from migratekit_core.services.fleet import dask
from migratekit_core.services.fleet.child import Work

BYTES_PER_SECOND = 1 << 20
"""What a machine's data_bytes means in time."""


class Timed:
    """A machine that takes as long as its size says."""

    def __init__(self, work: Work) -> None:
        from migratekit_core.services.fleet.process import News

        self.news = News(total=work.machine.data_bytes)
        self._ends = time.monotonic() + work.machine.data_bytes / BYTES_PER_SECOND
        self._killed = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, within so many seconds."""
        self._killed.wait(max(min(seconds, self._ends - time.monotonic()), 0))
        if time.monotonic() >= self._ends:
            self.news.done, self.news.result = self.news.total, {"bytes_moved": self.news.total}
        return self._killed.is_set() or self.news.result is not None

    def alive(self, since: float) -> None:
        """Nothing."""

    def limit(self, rate: int) -> None:
        """Confirm it."""
        self.news.limit = rate

    def stop(self) -> None:
        """End it."""
        self._killed.set()

    kill = stop

    def last_words(self) -> str:
        """Return nothing to speak of."""
        return "stopped"


async def _serve(config: Path, count: int) -> None:
    from migratekit_core.services.fleet import tls, worker

    loaded = load_config(config, environ={})
    security = tls.security(loaded.fleet, tls.WORKER)
    engine = open_databases(loaded.database).oma
    workers = []
    for _ in range(count):
        site = worker.make_site(loaded.fleet, engine, Timed)
        made = worker.build(site, f"tls://{loaded.fleet.scheduler}", security, "127.0.0.1")
        workers.append(await made)
    print("ready", flush=True)
    await asyncio.gather(*(each.finished() for each in workers))


def main() -> None:
    """Run them until the scheduler is gone."""
    dask.load(load_config(Path(sys.argv[1]), environ={}).fleet)
    try:
        asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"cpu {used.ru_utime + used.ru_stime:.2f}", flush=True)


if __name__ == "__main__":
    main()
