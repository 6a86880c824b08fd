"""How the texts of refusals name things: as the real server writes them, with the numbers of its database.

The numbers mean nothing here; a client that uses them would be wrong with the real server, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from .model import Account, Snapshot, Vm, Volume

NUMBER = 1
"""What stands for every number of the database."""


def _object(**fields: Any) -> str:
    return json.dumps({"id": NUMBER} | fields, separators=(",", ":"))


def account(account: Account) -> str:
    """Return an account. Its last id is nobody's and another one in each answer, as in those of the real server."""
    return f"Account [{_object(accountName=account.name, uuid=str(uuid4()))}]"


def vm(vm: Vm) -> str:
    """Return a virtual machine."""
    return "VM instance " + _object(instanceName=vm.instancename, state=vm.state, type="User", uuid=vm.id)


def volume(volume: Volume) -> str:
    """Return a volume."""
    return "Volume " + _object(instanceId=None, name=volume.name, uuid=volume.id, volumeType=volume.type)


def snapshot(snapshot_id: str, snapshot: Snapshot | None) -> str:
    """Return a snapshot of a volume; one that is gone is Destroyed."""
    name, state = (snapshot.name, snapshot.state) if snapshot else ("snapshot", "Destroyed")
    return "Snapshot " + _object(name=name, state=state, uuid=snapshot_id, version="2.2", volumeId=NUMBER)


def row(kind: str, row: Mapping[str, Any]) -> str:
    """Return a row of the catalogue."""
    return f"{kind} " + _object(name=row["name"], uuid=row["id"])


def no_uuid(kind: str) -> str:
    """Return why a thing that was there once cannot be removed."""
    return f"Unable to find UUID for id [{NUMBER}] of type [{kind}]"


def different_accounts(machine: Vm, disk: Volume) -> str:
    """Return why a volume is not attached to a machine of another account."""
    store = None if disk.storageid is None else "StoragePool " + _object(name="lab-primary", uuid=disk.storageid)
    stored = json.dumps({"dataStore": store, "volumeVO": volume(disk)}, separators=(",", ":"))
    return f"Entity {vm(machine)} and entity VolumeObject {stored} belong to different accounts"


def owner_disabled(machine: Vm, owner: Account) -> str:
    """Return why a machine of a suspended project does not start."""
    return f"The owner of {vm(machine)} is disabled: {account(owner)}"
