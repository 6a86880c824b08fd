"""Looks from outside, all the time, whether a machine runs on both sides; and what loses a failover's rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.integration.support import sql
from tests.lab.lab import Lab


def forget(lab: Lab, failover_id: str) -> None:
    """Lose a failover's rows, as a database that was restored from an older backup has."""
    sql(lab, "DELETE FROM failover_states WHERE failover_job_id = %s", failover_id)
    sql(lab, "DELETE FROM failover_jobs WHERE id = %s", failover_id)


@dataclass
class Watch:
    """Looks all the time whether a machine runs on both sides."""

    lab: Lab
    vms: tuple[str, ...]
    both: list[str] = field(default_factory=list)
    looks: int = 0

    @contextmanager
    def on(self) -> Iterator[Watch]:
        """Look until the block ends; then check that nothing was ever seen."""
        ended = threading.Event()
        thread = threading.Thread(target=self._look, args=(ended,))
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
        assert self.both == [], f"ran on both sides: {self.both}"

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            there = self.lab.cloud.running()
            for vm in self.vms:
                # In this order, so that what changes between the questions is never taken for both at once.
                if vm in there and self.lab.vcenter.vm(vm)["power"] == "on" and vm in self.lab.cloud.running():
                    self.both.append(vm)
            self.looks += 1
