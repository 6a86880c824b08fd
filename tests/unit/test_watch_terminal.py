"""`jobs watch` on a terminal of 80 columns: it follows a job to its end, and Ctrl-C ends it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from migratekit_core.db.engine import Databases
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.joblog import Tracker
from tests.unit.terminal import terminal


def test_a_job_is_followed_to_its_end(databases: Databases, directory: Path) -> None:
    tracker = Tracker(databases.oma)
    with tracker.job("replication", owner="web01") as job:
        with terminal(directory, "jobs", "watch", job.id[:8], "--interval", "0.2") as seen:
            with job.step("copy"):
                job.progress("Hard disk 1", 1 << 30, 4 << 30, 64 << 20)
                seen.until("25 %")
                job.progress("Hard disk 1", 3 << 30, 4 << 30, 64 << 20)
                seen.until("75 %")
            job.progress("Hard disk 1", 4 << 30, 4 << 30, 0)
            seen.until("between two steps")
            # Not over yet: it waits.
            assert seen.process.poll() is None
            tracker._end(JoblogJob(id=job.id), None)
            assert seen.end() == 0
    assert max(map(len, seen.lines)) <= 80
    assert any("completed" in line for line in seen.lines)
    assert any("64.0 MiB/s" in line for line in seen.lines)


def test_ctrl_c_ends_the_watch_of_everything_and_what_ended_stays_to_be_read(
    databases: Databases, directory: Path
) -> None:
    tracker = Tracker(databases.oma)
    with terminal(directory, "jobs", "watch", "--interval", "0.2") as seen:
        seen.until("nothing runs")
        with tracker.job("verify", owner="db01"):
            seen.until("db01")
        seen.until("completed")
        os.killpg(seen.process.pid, signal.SIGINT)
        assert seen.end() == 0
    assert any(re.search(r"verify db01 completed after \d", line) for line in seen.lines)


def test_colours_are_left_out_where_they_are_not_wanted(databases: Databases, directory: Path) -> None:
    os.environ["NO_COLOR"] = "1"
    try:
        with Tracker(databases.oma).job("verify", owner="db01"), terminal(directory, "jobs", "watch", "--once") as seen:
            assert seen.end() == 0
    finally:
        del os.environ["NO_COLOR"]
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", seen.text)
    assert any("db01" in line for line in seen.lines)
