"""All machines, as the pages arrive; the one that is meant; and the disks of a snapshot."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.inventory.collector import Found, Retrieval, retrieve_one
from migratekit_core.adapters.vsphere.inventory.devices import read_hardware
from migratekit_core.adapters.vsphere.inventory.filters import is_exactly, similar
from migratekit_core.adapters.vsphere.inventory.machine import (
    DEVICES,
    IDENTITY,
    PROPERTIES,
    read_extra_config,
    read_machine,
    read_path,
)
from migratekit_core.adapters.vsphere.inventory.model import Disk, VirtualMachine, excluded_disks, tracking_set
from migratekit_core.adapters.vsphere.inventory.places import Places
from migratekit_core.adapters.vsphere.patience import CallMode, in_mode
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.common.vsphere_names import forms, shown


def list_vms(service: Any, tags: Mapping[str, tuple[str, ...]] | None = None) -> Iterator[VirtualMachine]:
    """Yield every virtual machine and template that the account can see, as the pages arrive.

    `tags`: what `vsphere.tags.read_tags` gave, if it was asked.
    A session that ends and a connection that breaks on the way are survived.
    """
    # While vSphere collects the machines, their surroundings are read.
    machines = Retrieval(service, {"VirtualMachine": PROPERTIES}).start()
    with _no_search_for_cycles():
        places = Places(service)
        for found in machines:
            machine = read_machine(found, places)
            yield machine if tags is None else replace(machine, tags=tags.get(machine.moref, ()))


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Keep Python from looking for reference cycles.

    It would walk through the hundred thousands of elements of a page again and again, in half of the whole time, and
    find nothing: a tree of elements has no cycles and goes when its last reference does.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def find_vm(service: Any, name: str) -> VirtualMachine:
    """Return the machine that `name` means: its name, its inventory path, its instanceUuid or its moref.

    Of all machines only what identifies them is read, for there may be thousands.
    Raises PreconditionError where there is none, or more than one.
    """
    places = Places(service)
    found, names = [], set()
    for candidate in Retrieval(service, {"VirtualMachine": IDENTITY}):
        path, own = read_path(candidate, places), shown(wire.text(candidate.properties.get("name")))
        if is_exactly(name, candidate.moref, wire.text(candidate.properties.get("config.instanceUuid")), path):
            found = [(candidate, path)]
            break
        names.add(own)
        if own in forms(name):
            found.append((candidate, path))
    if not found:
        raise PreconditionError(
            f"no virtual machine {name!r}",
            "vCenter shows none with this name, path, uuid or id to this account",
            similar(name, names),
            code=ErrorCode.VM_NOT_FOUND,
            facts={"vm": name},
        )
    if len(found) > 1:
        paths = ", ".join(f"{path} ({candidate.moref})" for candidate, path in found)
        raise PreconditionError(
            f"the name {name!r} is ambiguous",
            f"{len(found)} machines have it: {paths}",
            "name one by its path or id",
            code=ErrorCode.VM_AMBIGUOUS,
            facts={"vm": name},
        )
    moref = found[0][0].moref
    properties = retrieve_one(vim.VirtualMachine(moref, service._stub), PROPERTIES)
    return read_machine(Found("VirtualMachine", moref, properties), places)


@dataclass(frozen=True)
class Identities:
    """Who is in vCenter."""

    uuids: frozenset[str]
    """instanceUuids."""
    unknown: tuple[str, ...]
    """Names, or paths of files, of machines whose uuid cannot be read: their files cannot, or they are being made."""

    def may_have(self, uuid: str, name: str) -> bool:
        """Return whether the machine with this uuid and name is there, or may be one of the unknown."""
        return uuid in self.uuids or any(name in other or name in shown(other) for other in self.unknown)


def identities(service: Any) -> Identities:
    """Return who is there, templates included, as far as the account sees it."""
    uuids, unknown = set(), []
    paths = ["name", "config.instanceUuid", "summary.config.instanceUuid"]
    for found in Retrieval(service, {"VirtualMachine": paths}):
        told = {wire.text(found.properties.get(path)) for path in paths[1:]} - {""}
        uuids |= told
        if not told:
            unknown.append(wire.text(found.properties.get("name")))
    return Identities(frozenset(uuids), tuple(unknown))


def managed_object(service: Any, vm: VirtualMachine) -> Any:
    """Return pyVmomi's object of `vm`."""
    return vim.VirtualMachine(vm.moref, service._stub)


def deleted(managed: Any) -> bool:
    """Return whether vCenter says that pyVmomi's machine is gone; where it says nothing, that is not known."""
    try:
        with in_mode(CallMode(at_once=True)):
            retrieve_one(managed, ["name"])
    except vmodl.fault.ManagedObjectNotFound:
        return True
    except (vmodl.MethodFault, MigrateKitError):
        return False
    return False


def read_disks(managed: Any) -> tuple[Disk, ...]:
    """Return the disks of pyVmomi's machine or snapshot, in the order of controller and unit."""
    return read_hardware(retrieve_one(managed, [DEVICES])[DEVICES], {}, None).disks


@dataclass(frozen=True)
class Tracking:
    """Whether vSphere is told to track what changes on a machine's disks; a snapshot's disks tell whether it does."""

    flag: bool
    setting: bool
    """The advanced setting `ctkEnabled`: it and the flag may come one without the other."""
    excluded: dict[str, str]
    """Disks that are not tracked, by their label, and the setting that says so."""


def read_tracking(managed: Any) -> Tracking:
    """Return how change tracking of pyVmomi's machine is set."""
    flag, options = "config.changeTrackingEnabled", "config.extraConfig"
    facts = retrieve_one(managed, [flag, options, DEVICES])
    hardware = read_hardware(facts[DEVICES], {}, None)
    extra = read_extra_config(facts.get(options))
    return Tracking(
        wire.truth(facts.get(flag)),
        tracking_set(extra),
        excluded_disks(hardware.disks, hardware.controllers, extra),
    )
