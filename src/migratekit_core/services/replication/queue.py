"""CloudStack's queue of an OMA: it attaches and detaches one volume of a virtual machine at a time.

Volumes stay attached between syncs while there are places for all of them. Where there are fewer, each sync attaches
its disks and others give way, and all of that goes through the one queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median

from sqlalchemy import Engine
from sqlmodel import col, func, select

from migratekit_core.common.units import human_seconds
from migratekit_core.common.vsphere_names import forms, shown, shown_path, spellings
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import CloudstackJob, VmDisk
from migratekit_core.db.sources import called
from migratekit_core.joblog.search import lots

COMMANDS = frozenset({"attachVolume", "detachVolume"})
NEWEST, SAMPLES = 400, 5
"""How many of CloudStack's newest jobs are looked at, and how many of COMMANDS have to be among them."""
ASSUMED_SECONDS = 5.0
"""Of a job, where too few were measured."""
HOUR = 3600.0


@dataclass(frozen=True)
class Job:
    """How long CloudStack takes to attach or detach a volume, in seconds; `measured`: by its own jobs."""

    seconds: float
    measured: bool


def usual(engine: Engine) -> Job:
    """Return the median of CloudStack's newest attaches and detaches, from the call to the end, waiting included."""
    query = select(CloudstackJob).order_by(col(CloudstackJob.id).desc()).limit(NEWEST)
    rows = write(engine, lambda db: list(db.exec(query).all()))
    times = [
        (row.updated_at - row.created_at).total_seconds()
        for row in rows
        if row.cloudstack_command in COMMANDS and row.status == "completed"
    ]
    return Job(median(times), True) if len(times) >= SAMPLES else Job(ASSUMED_SECONDS, False)


@dataclass(frozen=True)
class Load:
    """What a schedule asks of the queue of one OMA."""

    disks: int
    slots: int
    jobs_per_hour: float
    job: Job
    shortest_rpo: float
    """Seconds."""

    @property
    def busy(self) -> float:
        """Return which part of the time the queue has something to do; above 1 it never catches up."""
        return self.jobs_per_hour * self.job.seconds / HOUR

    @property
    def fits(self) -> bool:
        """Return whether the queue can do it."""
        return self.busy <= 1.0

    @property
    def rpo_that_fits(self) -> float:
        """Return the shortest RPO with which the queue can, all RPOs being lengthened alike; in seconds."""
        return self.shortest_rpo * max(self.busy, 1.0)

    @property
    def omas_needed(self) -> int:
        """Return how many OMAs do it: enough places for all disks, or a queue that is short enough for each."""
        return max(1, min(ceil(self.disks / self.slots), ceil(self.busy)))

    def __str__(self) -> str:
        """Return it in a sentence, with what would fit where it does not."""
        if not self.jobs_per_hour:
            return f"{self.disks} disks have a place each on the OMA ({self.slots})"
        each = f"{human_seconds(self.job.seconds)} each, {'as measured' if self.job.measured else 'as assumed'}"
        told = (
            f"{self.disks} disks share {self.slots} places on the OMA: up to {self.jobs_per_hour:.0f} attaches and "
            f"detaches an hour ({each}) in CloudStack's one queue, which is busy for {self.busy:.0%} of the time"
        )
        if self.fits:
            return told
        longer = f"{human_seconds(self.rpo_that_fits)} instead of {human_seconds(self.shortest_rpo)}"
        return f"{told}; an RPO of {longer} fits, or {self.omas_needed} OMAs"


def load(disks: Mapping[str, int], rpo: Mapping[str, float], slots: int, job: Job) -> Load:
    """Return the load of machines with so many disks each, and an RPO in seconds each; both by name."""
    total = sum(disks.values())
    jobs = 0.0
    if total > slots:
        # One attach for each disk of a sync, and one detach of what gives way to it.
        jobs = sum(2 * count * HOUR / max(rpo[name], 1.0) for name, count in disks.items() if name in rpo)
    return Load(total, slots, jobs, job, min(rpo.values(), default=0.0))


def of_schedule(engine: Engine, rpo: Mapping[str, float], slots: int) -> Load:
    """Return the load of the scheduled machines, as far as they were synced: their disks are counted."""
    disks: dict[str, int] = {}
    for some in lots(list(rpo)):
        vms = write(engine, lambda db, some=some: list(db.exec(called(some)).all()))  # type: ignore[misc]
        jobs = [vm.newest_job_id for vm in vms]
        query = select(VmDisk.job_id, func.count()).where(col(VmDisk.job_id).in_(jobs)).group_by(col(VmDisk.job_id))
        counted = dict(write(engine, lambda db, query=query: list(db.exec(query).all())))  # type: ignore[misc]
        for vm in vms:
            known = {vm.vm_id, *spellings(vm.name), *spellings(vm.path), shown(vm.name), shown_path(vm.path)}
            name = next((name for name in some if known & {name, *forms(name)}), None)
            if name is not None:
                disks[name] = counted.get(vm.newest_job_id, 0)
    return load(disks, rpo, slots, usual(engine))
