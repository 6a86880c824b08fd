"""The volume or machine that a command names, for a caller who may use it, and the answer that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import answers
from .access import check_owner
from .call import Call
from .errors import invalid_value
from .model import Vm, Volume


def existing(call: Call, volume_id: str) -> Volume:
    """Return a volume. Raises ApiError where it is gone, or another account's."""
    volume = call.cloud.volumes.get(volume_id)
    if volume is None:
        raise invalid_value(f"Volume {volume_id} does not exist any more.")
    check_owner(call, volume.account)
    return volume


def existing_vm(call: Call, vm_id: str) -> Vm:
    """Return a virtual machine. Raises ApiError where it is gone, or another account's."""
    vm = call.cloud.vms.get(vm_id)
    if vm is None:
        raise invalid_value(f"Virtual machine {vm_id} does not exist any more.")
    check_owner(call, vm.account)
    return vm


def shown_volume(call: Call, volume_id: str) -> Mapping[str, Any]:
    """Return a volume as the result of a job tells it."""
    with call.cloud.lock:
        return {"volume": answers.volume(call.cloud, call.cloud.volumes[volume_id], call.account)}
