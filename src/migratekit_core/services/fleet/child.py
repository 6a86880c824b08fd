"""The process of one machine.

It is called `python -m migratekit_core.services.fleet.child [--config FILE] [--profile NAME] TASK MACHINE`.

On stdin comes the work, a JSON line, and then a line now and then for as long as the worker lives and is still a part
of the fleet: `alive SINCE`, or `rate N`. Without one for too long, or at the end of stdin, the process ends itself at
once, by SIGKILL: another worker may have the machine by then, and all that is done here can be killed at any moment.
Time counts from when the worker last asked, not from when this process heard of it: it may have been slow to start.
On stdout go JSON lines: progress, and what came of it. SIGTERM stops with a checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import CancelledError, MigrateKitError, OperationFailedError, to_fields
from migratekit_core.common.interrupts import interrupt
from migratekit_core.common.redact import redact
from migratekit_core.config.load import load_config
from migratekit_core.context import open_runtime
from migratekit_core.engine.bandwidth import Bandwidth, Limits
from migratekit_core.engine.job import Progress
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.states import RUNNING
from migratekit_core.joblog.tracker import describe
from migratekit_core.services.fleet.tasks import perform
from migratekit_core.services.waves.model import Machine, NetworkMap, Wave
from migratekit_core.services.waves.resolve import config_for

TELL_SECONDS = 1.0
"""How often progress is told."""


@dataclass(frozen=True)
class Work:
    """What to do; without a secret: those are in this host's own configuration."""

    task: str
    machine: Machine
    networks: dict[str, NetworkMap]
    verify: bool
    rate: int | None
    """Bytes per second to begin with; None: no limit of the fleet's."""
    silence: float
    """Seconds without a word of the worker after which the process ends itself."""
    alive: float
    """The last word's time, of the clock that all processes of a host share (`time.monotonic`)."""


WORK: TypeAdapter[Work] = TypeAdapter(Work)


class Voice:
    """Says on stdout what happens, a JSON line each; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._disks: dict[str, Progress] = {}
        self._told = 0.0
        self._tracker: Tracker | None = None
        self._kinds: set[str] = set()

    def say(self, **words: Any) -> None:
        """Write a line."""
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):
            sys.stdout.write(json.dumps(words, default=str) + "\n")
            sys.stdout.flush()

    def listen_to(self, tracker: Tracker) -> None:
        """Take where the jobs are written down."""
        self._tracker = tracker

    def step(self, job: str, step: str, status: str) -> None:
        """Tell which job does it, when there is a new one."""
        if job in self._kinds or status != RUNNING or self._tracker is None:
            return
        self._kinds.add(job)
        with contextlib.suppress(MigrateKitError):
            mine = [row for row in self._tracker.jobs(status=RUNNING) if row.pid == os.getpid()]
            outer = [row for row in mine if row.parent_job_id is None]
            if outer:
                self.say(job=outer[0].id, kind=outer[0].kind)

    def expect(self, disks: Sequence[str]) -> None:
        """Take which disks there will be: another sync begins."""
        with self._lock:
            self._disks = {}

    def progress(self, disk: str, progress: Progress) -> None:
        """Tell how far all disks are, about once a second."""
        with self._lock:
            self._disks[disk] = progress
            if time.monotonic() - self._told < TELL_SECONDS and progress.done < progress.total:
                return
            self._told = time.monotonic()
            held = list(self._disks.values())
        done, total, rate = (sum(getattr(each, name) for each in held) for name in ("done", "total", "rate"))
        self.say(done=done, total=total, rate=int(rate))

    def note(self, message: str) -> None:
        """Say it to whoever reads the worker's log."""
        self.say(note=redact(message))


class Lifeline:
    """Reads what the worker says. Ends the process where it says nothing any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._partial = b""

    def first(self) -> Work:
        """Return the work."""
        while b"\n" not in self._partial:
            data = os.read(self._descriptor, 65536)
            if not data:
                _die()
            self._partial += data
        line, _, self._partial = self._partial.partition(b"\n")
        return WORK.validate_json(line)

    def hold(self, work: Work, bandwidth: Bandwidth | None, voice: Voice) -> None:
        """Watch it from now on, beside whatever is done; which is nothing where it is too late already."""
        if time.monotonic() > work.alive + work.silence:
            _die()
        threading.Thread(target=self._watch, args=(work, bandwidth, voice), name="lifeline", daemon=True).start()

    def _watch(self, work: Work, bandwidth: Bandwidth | None, voice: Voice) -> None:
        alive = work.alive
        while True:
            left = alive + work.silence - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                _die()
            data = os.read(self._descriptor, 65536)
            if not data:
                _die()
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                word, _, value = line.partition(b" ")
                if word == b"alive":
                    alive = float(value)
                elif word == b"rate" and bandwidth is not None:
                    bandwidth.change(Limits(int(value), bandwidth.limits.disk))
                    voice.say(rate=int(value))


def _die() -> None:
    # The whole group: a conversion, say. Engines and readers end by themselves when this process is gone.
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> int:
    """Do the work, and return the exit code of docs/exit-codes.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("task", help="for people who look at the processes; what is done stands on stdin")
    parser.add_argument("machine", help="so does this")
    chosen = parser.parse_args()
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    voice = Voice()
    lifeline = Lifeline(sys.stdin.fileno())
    work = lifeline.first()
    bandwidth = Bandwidth(Limits(work.rate)) if work.rate is not None else None
    lifeline.hold(work, bandwidth, voice)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        wave = Wave(name="wave", machines=(work.machine,), networks=work.networks)
        config = config_for(load_config(chosen.config, chosen.profile), wave, work.machine)
        if bandwidth is not None:
            bandwidth.change(Limits(work.rate, config.replication.disk_bandwidth))
        with open_runtime(config, voice, bandwidth) as runtime:
            voice.listen_to(runtime.tracker)
            result = perform(runtime, work.task, work.machine.uuid, verify=work.verify)
    except MigrateKitError as error:
        # Its machine may be of another vCenter or OMA than whoever reads it has in force.
        error.todo = error.todo.bound(work.machine.options)
        voice.say(error=to_fields(error))
        return error.exit_code
    except KeyboardInterrupt:
        stopped = CancelledError(
            "it was stopped", "its worker was asked to", "it goes on from where it was", code=ErrorCode.CANCELLED
        )
        voice.say(error=to_fields(stopped))
        return stopped.exit_code
    except Exception as error:
        # What it is must reach the wave's report: this process has no terminal.
        why, todo = redact(describe(error)), "run the command by hand, with --debug"
        unexpected = OperationFailedError("it failed unexpectedly", why, todo, code=ErrorCode.UNEXPECTED)
        voice.say(error=to_fields(unexpected))
        return unexpected.exit_code
    voice.say(result=result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
