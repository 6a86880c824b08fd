"""Things that go wrong on purpose. A test posts what it wants to happen to the next calls of a command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import disks
from .errors import ApiError
from .jobs import Orders
from .state import Cloud, Fault

MODES = (
    "error",  # the command is refused
    "job-fails",  # the command is accepted and its job fails, having done nothing
    "hang-after-work",  # the command does its work, but the answer never comes
    "drop-before",  # the connection breaks before anything is done
    "bad-gateway",  # what stands before CloudStack answers 502 with a page of HTML; nothing is done
    "job-vanishes",  # the job does its work, but nobody knows it any more
    "numbers-as-text",  # numbers come as text, and text that is a number as one
    "missing-keys",  # rows have only what no version leaves out, lists have no count, job results only an id
    "text-result",  # (queryAsyncJobResult) the job's result is text with JSON in it
    "plain-result",  # (queryAsyncJobResult) the job's result is words
    "stale-list",  # (attachVolume, detachVolume, createVolume) the lists show it `seconds` later than the job's end
    "device-stays",  # detachVolume succeeds, but Linux keeps the disk for `seconds` more
    "no-device",  # attachVolume succeeds, but Linux never sees the disk
    *disks.NAMINGS,  # (attachVolume) Linux sees the disk in another way than as virtio-<serial>
    "slow",  # it takes longer: the job of an asynchronous command, else the answer
)
_FIELDS = {
    "command": str,
    "mode": str,
    "errorcode": int,
    "cserrorcode": int,
    "text": str,
    "seconds": float,
    "count": int,
}


def add(cloud: Cloud, wanted: dict[str, Any]) -> Fault:
    """Raises ValueError for anything a test may have misspelt: a fault that never fires proves nothing."""
    unknown = wanted.keys() - _FIELDS.keys()
    if unknown or "command" not in wanted or wanted.get("mode") not in MODES:
        raise ValueError(f"need command and mode, one of {', '.join(MODES)}; got {wanted}")
    fields = {name: _FIELDS[name](value) for name, value in wanted.items()}
    with cloud.lock:
        fault = Fault(id=cloud.next_number(), **fields)
        cloud.faults.append(fault)
    return fault


def take(cloud: Cloud, command: str) -> Fault | None:
    """The oldest fault for this command, used up by one."""
    with cloud.lock:
        for index, fault in enumerate(cloud.faults):
            if fault.command in (command, "*") and fault.count != 0:
                if fault.count > 0:
                    cloud.faults[index] = replace(fault, count=fault.count - 1)
                return fault
    return None


def orders(fault: Fault | None) -> Orders:
    if fault is None:
        return Orders()
    return Orders(
        seconds=fault.seconds if fault.mode == "slow" else 0.0,
        failure=ApiError(fault.errorcode, None, fault.text) if fault.mode == "job-fails" else None,
        vanish=fault.mode == "job-vanishes",
    )
