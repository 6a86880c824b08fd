"""Looks after the source's datastores while a snapshot of ours is open: what the guest writes makes its delta grow, and
on a full datastore vSphere pauses the machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVmomi import vmodl

from migratekit_core.adapters.vsphere import space
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, managed_object
from migratekit_core.adapters.vsphere.patience import CallMode, in_mode
from migratekit_core.adapters.vsphere.space import Room
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.units import human_bytes, parse_share
from migratekit_core.config.source import Source
from migratekit_core.engine.process import Engines
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind

RECORDED = 60
"""Every so many looks one is written into the joblog."""


def datastores(service: Any, vm: VirtualMachine) -> list[str]:
    """Return the managed object ids of the datastores that the deltas of a machine's snapshots grow on: those that its
    disks are on, or the one of its `workingDir`. `service`: as of space.rooms.
    """
    if vm.deltas_apart:
        store = None
        with contextlib.suppress(MigrateKitError):
            store = space.delta_store(managed_object(service, vm))
        if store is not None:
            return [store]
    return sorted({disk.datastore_moref for disk in vm.disks if disk.datastore_moref})


def readable(service: Any, vm: VirtualMachine) -> list[Room]:
    """Return the space of a machine's datastores; none where it cannot be read. `service`: as of space.rooms."""
    try:
        return space.rooms(service, datastores(service, vm))
    except MigrateKitError:
        return []


def least(settings: Source, room: Room) -> int:
    """Return how many bytes have to stay free on a datastore."""
    fraction, size = parse_share(settings.min_free)
    return int(fraction * room.capacity) + size


def lacking(settings: Source, found: list[Room]) -> Room | None:
    """Return the datastore that lacks most of what has to stay free; None where all have enough."""
    low = [room for room in found if room.free < least(settings, room)]
    return min(low, key=lambda room: room.free - least(settings, room), default=None)


@contextmanager
def guarded(settings: Source, step: Step, vm: VirtualMachine, managed: Any, engines: Engines) -> Iterator[None]:
    """Stop the engines, which leave checkpoints, where a datastore has too little free space while the block runs.

    The KeyboardInterrupt that the block then ends with becomes PreconditionError.
    """
    found: list[PreconditionError] = []
    ended = threading.Event()
    stores = datastores(managed, vm)

    def look(number: int) -> PreconditionError | None:
        with in_mode(CallMode(at_once=True)):
            rooms, delta = space.rooms(managed, stores), space.delta_bytes(managed)
        low = lacking(settings, rooms)
        if low is not None or number % RECORDED == 0:
            step.log(
                EventKind.SOURCE_SPACE,
                level="info" if low is None else "warning",
                delta=delta,
                datastores=[{"name": room.name, "free": room.free, "capacity": room.capacity} for room in rooms],
            )
        return None if low is None else _fills(settings, vm, low, delta)

    def watch() -> None:
        number, blind = 0, False
        while not ended.wait(settings.space_interval):
            try:
                error = look(number)
            except (MigrateKitError, vmodl.MethodFault) as trouble:
                # A vCenter that is away now is asked again in a minute; where the account may not look, nobody does.
                if not blind:
                    blind = True
                    with contextlib.suppress(MigrateKitError):
                        step.log(EventKind.SPACE_UNKNOWN, level="warning", error=str(trouble))
                continue
            number += 1
            if error is not None:
                found.append(error)
                engines.stop()
                return

    watcher = threading.Thread(target=watch, name="space-watch", daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        if found:
            raise found[0] from None
        raise
    finally:
        ended.set()
        watcher.join(1.0)


def _fills(settings: Source, vm: VirtualMachine, room: Room, delta: int) -> PreconditionError:
    wanted = least(settings, room)
    return PreconditionError(
        f"datastore {room.name} of {vm.name} fills up, so the job stops and gives its snapshot back",
        f"{human_bytes(room.free)} are free, {human_bytes(wanted)} have to be (source.min_free); the snapshot's delta "
        f"has grown to {human_bytes(delta)}",
        hint(
            "free space there, or set source.min_free; then go on from where it was: ", migratekit("replicate", vm.name)
        ),
        code=ErrorCode.DATASTORE_FILLS,
        facts={"vm": vm.name, "datastore": room.name, "free": room.free, "least": wanted, "delta": delta},
    )
