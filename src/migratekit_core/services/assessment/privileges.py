"""Which vSphere privileges the account lacks, asked of vSphere itself; nothing is tried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.adapters.vsphere.privilege import Privilege
from migratekit_core.services.assessment.commands import VSPHERE, commands_with

BATCH = 200
"""Entities in one question."""


@dataclass(frozen=True)
class Lacking:
    """A privilege that is missing on some entities."""

    privilege: Privilege
    commands: tuple[str, ...]
    entities: tuple[str, ...]
    """Names or paths of those where it is missing."""
    asked: int
    """How many were asked about."""


def read_lacking(service: Any, machines: tuple[VirtualMachine, ...]) -> tuple[Lacking, ...]:
    """Return what the account lacks on these machines, their datastores and their datacenters."""
    content = service.RetrieveContent()
    session = content.sessionManager.currentSession.key
    manager = content.authorizationManager
    entities = _entities(content, service, machines)
    wanted: dict[str, list[Privilege]] = {}
    for privilege in dict.fromkeys(each for privileges in VSPHERE.values() for each in privileges):
        wanted.setdefault(privilege.on, []).append(privilege)
    lacking: list[Lacking] = []
    for kind, privileges in wanted.items():
        missing: dict[str, list[str]] = {privilege.id: [] for privilege in privileges}
        for batch in _batches(list(entities[kind].items())):
            objects = [managed for _, (managed, _) in batch]
            answers = manager.HasPrivilegeOnEntities(
                entity=objects, sessionId=session, privId=[privilege.id for privilege in privileges]
            )
            names = {key: name for key, (_, name) in batch}
            for answer in answers:
                for each in answer.privAvailability:
                    if not each.isGranted:
                        missing[each.privId].append(names[answer.entity._moId])
        lacking += [
            Lacking(privilege, commands_with(privilege), tuple(sorted(missing[privilege.id])), len(entities[kind]))
            for privilege in privileges
            if missing[privilege.id]
        ]
    return tuple(lacking)


def _entities(
    content: Any, service: Any, machines: tuple[VirtualMachine, ...]
) -> Mapping[str, Mapping[str, tuple[Any, str]]]:
    """Return managed object and name by id, for each kind of entity."""
    from pyVmomi import vim

    datacenters = {vm.datacenter.rpartition("/")[2] for vm in machines}
    stores = {store.moref: store.name for vm in machines for store in vm.datastores if store.accessible}
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.Datacenter], True)
    try:
        centres = {found._moId: (found, found.name) for found in view.view}
    finally:
        view.Destroy()
    return {
        "machine": {vm.moref: (vim.VirtualMachine(vm.moref, service._stub), vm.path) for vm in machines},
        "datastore": {moref: (vim.Datastore(moref, service._stub), name) for moref, name in stores.items()},
        "datacenter": {key: found for key, found in centres.items() if found[1] in datacenters},
    }


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
