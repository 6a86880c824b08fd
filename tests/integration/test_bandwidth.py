"""The bandwidth limit, with real servers: as much as was asked for, in total, and changed while a copy runs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from migratekit_core.engine.bandwidth import Bandwidth, Limits
from migratekit_core.engine.job import Done, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.machines import overwrite
from tests.integration.servers import MIB, serving
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
    job: Job, bandwidth: Bandwidth, seen: list[tuple[float, int]] | None = None, after: threading.Event | None = None
) -> Done:
    """Copy a disk under a shared limit, as a sync does; note when how many bytes had been written."""

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            bandwidth.used(job.disk, event.rate)
            if seen is not None:
                seen.append((time.monotonic(), event.written))
            if after is not None:
                after.set()

    try:
        limited = job._replace(rate=bandwidth.join(job.disk))
        return copy(limited, [(0, job.size)], observe, Engines(), partial(bandwidth.listen, job.disk))
    finally:
        bandwidth.leave(job.disk)


def test_a_limit_holds_within_five_percent(tmp_path: Path) -> None:
    with disks(tmp_path, 24 * MIB) as (job,):
        done = paced(job, Bandwidth(Limits(disk=8 * MIB)))
    assert done.written == 24 * MIB
    assert done.written / done.seconds == pytest.approx(8 * MIB, rel=0.05)


def test_disks_share_the_total_and_inherit_what_others_leave(tmp_path: Path) -> None:
    """8 + 20 MiB at 8 MiB/s are 3.5 s; if the longer one kept its half, it would take 5 s."""
    bandwidth = Bandwidth(Limits(total=8 * MIB))
    with disks(tmp_path, 8 * MIB, 20 * MIB) as jobs, ThreadPoolExecutor(2) as pool:
        short, long = pool.map(lambda job: paced(job, bandwidth), jobs)
    assert short.seconds == pytest.approx(2.0, rel=0.15)
    assert 28 * MIB / long.seconds == pytest.approx(8 * MIB, rel=0.05)


def test_a_limit_is_changed_while_a_copy_runs(tmp_path: Path) -> None:
    bandwidth, seen, going = Bandwidth(Limits(disk=2 * MIB)), list[tuple[float, int]](), threading.Event()
    with disks(tmp_path, 76 * MIB) as (job,), ThreadPoolExecutor(1) as pool:
        running = pool.submit(paced, job, bandwidth, seen, going)
        assert going.wait(20)
        bandwidth.change(Limits(disk=16 * MIB))
        running.result(60)
    # At full seconds after the change; the last event is the end's.
    whole = [at for at in seen if 2 * MIB < at[1] < 76 * MIB][1:]
    (begin, first), (end, last) = whole[0], whole[-1]
    assert seen[0][1] <= 3 * MIB
    assert (last - first) / (end - begin) == pytest.approx(16 * MIB, rel=0.1)


def test_a_running_sync_is_changed_from_elsewhere(lab: Lab) -> None:
    vm = "paced01"
    with started(lab, "replicate", vm, "--bandwidth", "512k") as slow:
        # 8 MiB on two disks would take 16 s.
        job = eventually(
            "the sync copies",
            lambda: sql(lab, "SELECT * FROM replication_jobs WHERE source_vm_name = %s AND bytes_transferred > 0", vm),
        )[0]
        time.sleep(2)
        (job,) = sql(lab, "SELECT * FROM replication_jobs WHERE id = %s", job["id"])
        assert job["status"] == "running"
        assert job["transfer_speed_bps"] < 1.3 * 512 * 1024
        assert job["bytes_transferred"] < 4 * MIB
        assert "nothing to set" in refused(lab, run(lab, "jobs", "set", job["id"]), 2)
        told = report(lab, "jobs", "set", job["id"][:13], "--bandwidth", "none")
        assert told == {"schema": "migratekit.job-set/1", "job_id": job["id"], "bandwidth": None}
        began = time.monotonic()
        done = finished(slow, 30)
        assert done.returncode == 0, done.stderr
        assert "other bandwidth limits" in done.stderr
        assert time.monotonic() - began < 8
    assert "it is completed" in refused(lab, run(lab, "jobs", "set", job["id"], "--bandwidth", "1M"), 4)
    assert run(lab, "jobs", "set", job["id"], "--bandwidth", "fast").returncode == 2
    identical(lab, vm)
    # The configuration's limit holds where the command line says nothing.
    overwrite(lab.vcenter, vm, 0, 0, 2 * MIB, 1)
    paced_by_file = report(lab, "replicate", vm, MIGRATEKIT_REPLICATION__BANDWIDTH="1M")
    assert paced_by_file["disks"][0]["seconds"] == pytest.approx(2.0, abs=0.5)
    nothing_left(lab, vm)
