"""What an engine asks of Linux's scheduler."""

from __future__ import annotations

import os
import platform
import re
import subprocess

import pytest

from migratekit_core.engine.scheduling import SLICE_SECONDS, favour_throughput

KERNEL = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
CHILD = ["sh", "-c", "read go; cat /proc/self/sched"]
"""Its child, which begins when it is told to, says how it is scheduled."""


def test_what_a_process_starts_later_has_longer_slices_too_and_the_same_priority() -> None:
    with subprocess.Popen(CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 3)
        assert favour_throughput(process.pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 3
        said, _ = process.communicate("go\n", timeout=20)
    if KERNEL >= (6, 12):
        assert re.search(rf"se\.slice +: +{round(SLICE_SECONDS * 1e9)}\n", said), said


def test_one_that_was_scheduled_otherwise_on_purpose_stays_so() -> None:
    with subprocess.Popen(CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        assert not favour_throughput(process.pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        process.communicate("go\n", timeout=20)


def test_one_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen(["true"])
    process.wait(20)
    assert not favour_throughput(process.pid)


def test_a_refusal_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "unheard of")
    assert not favour_throughput(os.getpid())
