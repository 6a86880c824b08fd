"""The bandwidth limit, with real servers: as much as was asked for, in total, and changed while a copy runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.engine.bandwidth import Bandwidth, Limits, Send
from migratekit_core.engine.job import Done, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.machines import overwrite
from tests.integration.servers import KIB, MIB, serving
from tests.integration.support import (
    eventually,
    finished,
    identical,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
)
from tests.lab.lab import Lab


@contextmanager
def disks(folder: Path, *sizes: int) -> Iterator[list[Job]]:
    """Serve random disks and targets in memory; yield a job for each."""
    with ExitStack() as stack:
        jobs = []
        for number, size in enumerate(sizes):
            image = folder / f"{number}.img"
            image.write_bytes(random.Random(number).randbytes(size))
            ends = [folder / f"{number}-{name}.sock" for name in ("source", "target")]
            source = serving("nbdkit", "-f", "-r", "-U", str(ends[0]), "file", str(image), socket=ends[0])
            target = serving("nbdkit", "-f", "-U", str(ends[1]), "memory", str(size), socket=ends[1])
            jobs.append(Job(f"disk {number}", *map(stack.enter_context, (source, target)), size, True))
        yield jobs


def paced(
    job: Job,
    bandwidth: Bandwidth,
    observe: Callable[[Event], None] = lambda event: None,
    told: Callable[[int | None], None] = lambda rate: None,
    engines: Engines | None = None,
) -> Done:
    """Copy a disk under a shared limit, as a sync does; `told` hears of each limit that its engine is sent."""

    def listen(send: Send) -> None:
        def passed_on(command: dict[str, int | None]) -> None:
            send(command)
            told(command["rate"])

        bandwidth.listen(job.disk, passed_on)

    try:
        limited = job._replace(rate=bandwidth.join(job.disk))
        return copy(limited, [(0, job.size)], observe, engines or Engines(), listen)
    finally:
        bandwidth.leave(job.disk)


def test_a_limit_holds(tmp_path: Path) -> None:
    """How exactly it is kept, a clock of their own tells the unit tests; a copy that is faster breaks it anywhere."""
    with disks(tmp_path, 4 * MIB) as (job,):
        done = paced(job, Bandwidth(Limits(disk=4 * MIB)))
    assert done.written == 4 * MIB
    assert done.seconds >= 1.0


def test_disks_share_the_total_and_inherit_what_others_leave(tmp_path: Path) -> None:
    """The longer one would take hours; it is stopped once it has been told that it has the whole."""
    bandwidth, engines, shares = Bandwidth(Limits(total=4 * MIB)), Engines(), list[int | None]()

    def told(rate: int | None) -> None:
        shares.append(rate)
        if rate == 4 * MIB and 2 * MIB in shares:
            engines.stop()

    with disks(tmp_path, 2 * MIB, 64 * MIB) as jobs, ThreadPoolExecutor(2) as pool:
        long = pool.submit(paced, jobs[1], bandwidth, told=told, engines=engines)
        eventually("it has the whole", lambda: shares)
        short = paced(jobs[0], bandwidth)
        with pytest.raises(KeyboardInterrupt):
            long.result(120)
    assert short.written == 2 * MIB
    assert shares[0] == 4 * MIB


def test_a_limit_is_changed_while_a_copy_runs(tmp_path: Path) -> None:
    """At the first limit it would take eight minutes."""
    bandwidth, begun = Bandwidth(Limits(disk=64 * KIB)), list[int]()

    def observe(event: Event) -> None:
        if isinstance(event, Progress) and not begun:
            begun.append(event.written)
            bandwidth.change(Limits(disk=64 * MIB))

    with disks(tmp_path, 32 * MIB) as (job,):
        done = paced(job, bandwidth, observe)
    assert done.written == 32 * MIB
    assert begun[0] < 4 * MIB


def test_a_running_sync_is_changed_from_elsewhere(lab: Lab) -> None:
    vm = "paced01"
    with started(lab, "replicate", vm, "--bandwidth", "64k") as slow:
        # 8 MiB on two disks would take more than two minutes.
        job = eventually(
            "the sync copies",
            lambda: sql(lab, "SELECT * FROM replication_jobs WHERE source_vm_name = %s AND bytes_transferred > 0", vm),
        )[0]
        assert job["status"] == "running"
        assert job["bytes_transferred"] < 4 * MIB
        assert "nothing to set" in refused(lab, run(lab, "jobs", "set", job["id"]), 2, ErrorCode.USAGE)
        told = report(lab, "jobs", "set", job["id"][:13], "--bandwidth", "none")
        assert told == {"schema": "migratekit.job-set/1", "job_id": job["id"], "bandwidth": None}
        done = finished(slow, 60)
        assert done.returncode == 0, done.stderr
        assert "other bandwidth limits" in done.stderr
    assert "it is completed" in refused(
        lab, run(lab, "jobs", "set", job["id"], "--bandwidth", "1M"), 4, ErrorCode.JOB_NOT_LISTENING
    )
    assert run(lab, "jobs", "set", job["id"], "--bandwidth", "fast").returncode == 2
    identical(lab, vm)
    # The configuration's limit holds where the command line says nothing.
    overwrite(lab.vcenter, vm, 0, 0, MIB, 1)
    paced_by_file = report(lab, "replicate", vm, MIGRATEKIT_REPLICATION__BANDWIDTH="1M")
    assert paced_by_file["disks"][0]["seconds"] >= 1.0
    nothing_left(lab, vm)
