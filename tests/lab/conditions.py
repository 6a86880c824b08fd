"""Clouds and vCenters that are harder than the lab's own: what real ones do, one condition at a time.

`python -m tests.lab demo CONDITION` runs the main job under one of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from migratekit_core.common.files import write_private
from tests.lab.lab import Lab

RESTART_SECONDS = 3.0
"""How long the management server is away; a real one was for 70 to 107 s (recorded)."""
SHORT_TIMEOUT = 4.0
"""vcenter.timeout, which is 30 s as a rule."""
SILENT_SECONDS = 6.0
"""What it is shorter than."""


@dataclass(frozen=True)
class Condition:
    """A way in which a cloud is hard."""

    about: str
    prepare: Callable[[Lab], object]
    during: Callable[[Lab], AbstractContextManager[object]] = lambda lab: nullcontext()
    """What happens while a command runs."""
    refused: str = ""
    """The error code that the first sync ends with, where nothing can be done under this condition."""


restarts: list[float] = []
"""When the management server was restarted (time.monotonic), by all demos of this process."""


@contextmanager
def restarted(lab: Lab) -> Iterator[None]:
    """Restart the management server in the middle of a command: when it, or the daemon for it, changes something."""
    before, ended = _changes(lab), threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            if _changes(lab) > before:
                lab.cloud.restart(RESTART_SECONDS)
                restarts.append(time.monotonic())
                return

    thread = threading.Thread(target=watch, name="restart")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _changes(lab: Lab) -> int:
    calls = lab.cloud.calls()
    return sum(number for name, number in calls.items() if not name.startswith(("list", "query")))


def _vm_snapshot_of_the_oma(lab: Lab) -> None:
    oma = next(vm for vm in lab.cloud.state()["virtualmachines"] if vm["name"] == "oma01")
    lab.cloud.api().createVMSnapshot(virtualmachineid=oma["id"])


def _silent_tasks(lab: Lab) -> None:
    text = lab.config.read_text()
    write_private(lab.config, text.replace("[vcenter]", f"[vcenter]\ntimeout = {SHORT_TIMEOUT}", 1))
    lab.vcenter.fault(mode="slow-task", method="*", seconds=SILENT_SECONDS)


CONDITIONS = {
    "expunge-refused": Condition(
        "the account may not expunge", lambda lab: lab.cloud.settings(allow_user_expunge=False)
    ),
    "page-20": Condition("default.page.size is 20", lambda lab: lab.cloud.settings(default_page_size=20)),
    "throttled": Condition(
        "12 calls in 5 s at most", lambda lab: lab.cloud.settings(throttle_calls=12, throttle_seconds=5.0)
    ),
    "restarts": Condition("the server restarts in the middle of each command", lambda lab: None, restarted),
    "vcenter-sessions": Condition(
        "vCenter ends each session after 3 s", lambda lab: lab.vcenter.switch(session_seconds=3)
    ),
    "vcenter-silence": Condition(
        "each task of vCenter is silent for longer than vcenter.timeout",
        _silent_tasks,
    ),
    "vcenter-both": Condition(
        "vCenter ends each session after 20 s, and each task is silent for longer than vcenter.timeout",
        lambda lab: (lab.vcenter.switch(session_seconds=20), _silent_tasks(lab)),
    ),
    "vcenter-no-areas": Condition(
        'vCenter refuses "*"',
        lambda lab: lab.vcenter.switch(allocated="refused"),
    ),
    "vm-snapshot": Condition("the OMA has a VM snapshot", _vm_snapshot_of_the_oma, refused="vm-has-snapshots"),
}
