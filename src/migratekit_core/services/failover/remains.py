"""What is left of a machine's rehearsals: by their rows, and where those are lost by tags and names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.services.failover import record as records
from migratekit_core.services.failover.destination import machine_of
from migratekit_core.services.failover.record import LIVE, TEST, Record
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, KIND_TAG, TAG, host_name

SNAPSHOT = re.compile(r"^mk-test-([0-9a-f]{8})-")
"""How the volume daemon calls a rehearsal's snapshots (`snapshot_name` within it)."""


@dataclass(frozen=True)
class Subject:
    """The machine whose rehearsals are meant: its instanceUuid, and its name."""

    uuid: str
    name: str


@dataclass
class Remains:
    """What one rehearsal has left."""

    failover_id: str
    """As a whole, or its first eight characters where no more is known."""
    record: Record | None
    machines: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Those of `machines` that were destroyed and not expunged."""


def snapshot_name(failover_id: str) -> str:
    """Return the name of a rehearsal's snapshots: they are found by it where they were not recorded."""
    return f"test-{failover_id[:8]}"


def rehearsal_name(vm_name: str, suffix: str) -> str:
    """Return the name of a rehearsal's machine; `suffix` is how its id begins."""
    return host_name(vm_name, f"-test-{suffix}")


def of(engine: Engine, cloud: Cloud, volumes: VolumeClient, subject: Subject) -> list[Remains]:
    """Return what each of a machine's rehearsals has left, those that have a row first."""
    found = {record.id: Remains(record.id, record) for record in records.unfinished(engine, subject.uuid, TEST)}

    def remains(failover_id: str) -> Remains:
        known = next((one for key, one in found.items() if key.startswith(failover_id)), None)
        return known or found.setdefault(failover_id, Remains(failover_id, None))

    for one in [*found.values()]:
        assert one.record is not None, "made of rows above"
        state, vm_id = one.record.state(), machine_of(cloud, one.record)
        one.machines += [vm_id] if vm_id is not None else []
        one.volumes += [*state.get("clones", []), *filter(None, [state.get("template_root")])]
        one.snapshots += state.get("snapshots", [])
    for vm in _machines(cloud, subject):
        failover_id = compute.tags_of(vm).get(FAILOVER_TAG) or str(vm["name"])[-8:]
        if not _is_live(engine, vm, failover_id, subject):
            remains(failover_id).machines.append(str(vm["id"]))
    ours = [volume for volume in volumes.volumes() if volume["tags"].get(TAG) == subject.uuid]
    for volume in ours:
        failover_id = volume["tags"].get(FAILOVER_TAG)
        if failover_id is not None and not _row_is_live(engine, failover_id):
            remains(failover_id).volumes.append(volume["id"])
    for failover_id, snapshot_id in _snapshots(volumes, ours, subject):
        remains(failover_id).snapshots.append(snapshot_id)
    for one in found.values():
        one.machines, one.volumes = [*dict.fromkeys(one.machines)], [*dict.fromkeys(one.volumes)]
        one.snapshots = [*dict.fromkeys(one.snapshots)]
    return [*found.values()]


def _machines(cloud: Cloud, subject: Subject) -> Iterator[dict[str, Any]]:
    """Yield the machines that carry the subject's tag, or its rehearsals' name: one may have died between the two."""
    for vm in cloud.list("listVirtualMachines", "virtualmachine"):
        owner = compute.tags_of(vm).get(TAG)
        if owner == subject.uuid or (owner is None and is_test_name(vm, subject)):
            yield vm


def is_test_name(vm: dict[str, Any], subject: Subject) -> bool:
    """Return whether a machine is called as a rehearsal of the subject is, by both of its names."""
    name = str(vm.get("name", ""))
    called = re.fullmatch(r".*-test-([0-9a-f]{8})", name)
    if called is None or vm.get("displayname") != f"{subject.name} (rehearsal)":
        return False
    return name == rehearsal_name(subject.name, called.group(1))


def _is_live(engine: Engine, vm: dict[str, Any], failover_id: str, subject: Subject) -> bool:
    """Return whether a machine is no rehearsal: by its row, by its tag, or, of one without either, by its name."""
    kind = compute.tags_of(vm).get(KIND_TAG)
    if kind is not None:
        return kind != TEST
    return _row_is_live(engine, failover_id) or not is_test_name(vm, subject)


def _row_is_live(engine: Engine, failover_id: str) -> bool:
    found = records.by_id(engine, failover_id)
    return found is not None and found.row().job_type == LIVE


def _snapshots(volumes: VolumeClient, ours: list[dict[str, Any]], subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield (how the rehearsal's id begins, snapshot id) of each rehearsal's snapshot of these volumes, and of volumes
    of the subject that are deleted."""
    found = [snapshot for snapshot in volumes.snapshots() if snapshot["tags"].get(TAG) == subject.uuid]
    for volume in ours:
        whole = volumes.get(volume["id"])
        found += whole["snapshots"] if whole is not None else []
    for snapshot in found:
        named = SNAPSHOT.match(snapshot["name"])
        if named is not None:
            yield named.group(1), snapshot["id"]
