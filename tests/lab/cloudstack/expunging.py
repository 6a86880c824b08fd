"""The end of a destroyed machine: who may end it at once, and what ends it after `expunge.delay`.

Until then it is hidden from its user and keeps its name, its addresses and its root volume.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from . import files, storage
from .call import Call
from .errors import ApiError
from .state import Cloud, forget, volumes_of

RULE = "expungeVirtualMachine"
"""The rule that the role needs, also for `destroyVirtualMachine` with `expunge`."""
NOTHING_LEFT: Mapping[str, Any] = {
    "affinitygroup": [], "deleteprotection": False, "nic": [], "securitygroup": [], "tags": [],
}  # fmt: skip
"""The machine as the job of `destroyVirtualMachine` with `expunge` tells it: there is none any more."""
LOOK_SECONDS = 0.05


def check(call: Call) -> None:
    """Raise ApiError where the caller may not expunge: it needs the setting and its role's rule."""
    if call.account.is_admin:
        return
    if not call.cloud.config.allow_user_expunge or RULE in call.account.deny:
        raise ApiError(530, None, "Account does not have permission for expunging.")


def expunge(cloud: Cloud, vm_id: str) -> None:
    """Remove a machine and what belongs to it."""
    with cloud.lock:
        for volume in volumes_of(cloud, vm_id):
            storage.expunge(cloud, volume.id)
        forget(cloud, "virtualmachine", vm_id)
    files.remove_vm(cloud.config.state, vm_id)


def start(cloud: Cloud) -> None:
    """Expunge in the background what was destroyed `expunge.delay` ago."""
    threading.Thread(target=_run, args=(cloud,), name="expunging", daemon=True).start()


def _run(cloud: Cloud) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        with cloud.lock:
            before = time.monotonic() - cloud.config.expunge_delay
            due = [vm.id for vm in cloud.vms.values() if vm.destroyed is not None and vm.destroyed <= before]
            for vm_id in due:
                if not cloud.queues.get(f"virtualmachine:{vm_id}"):
                    expunge(cloud, vm_id)
