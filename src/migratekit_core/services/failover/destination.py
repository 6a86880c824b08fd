"""The machine of a failover: found by its id, or by the intent where its id was never stored, and destroyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from migratekit_core.adapters.cloudstack import compute, tracking
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import Destroyed
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.services.failover.record import Record
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, TAG


def machine_of(cloud: Cloud, record: Record) -> str | None:
    """Return the id of a failover's machine where there is one, also of one that is known by its name only."""
    vm_id = record.row().destination_vm_id
    if vm_id is not None:
        return vm_id if compute.find(cloud, vm_id=vm_id) is not None else None
    state = record.state()
    name = state.get("deploy_intent")
    found = compute.find(cloud, name=name) if name else None
    if found is None or not made_by(found, record.id, state):
        return None
    return str(found["id"])


KEPT_MACHINE = "kept_machine"
"""Key of a failover's state: its machine, which CloudStack keeps, destroyed, since the failover was taken back."""
UNTIL = "expunge.delay, a day by default"
STAYS = (
    "this account may not expunge: CloudStack keeps it, destroyed, with its addresses, until it expunges it by "
    f"itself ({UNTIL}); docs/permissions.md"
)
"""What is so about a machine that was destroyed and not expunged."""


def destroy(
    cloud: Cloud,
    volumes: VolumeClient,
    vm_id: str,
    jobs: TrackedJobs,
    keeping: Callable[[], object] = lambda: None,
) -> Destroyed:
    """Destroy a machine; one that CloudStack will keep has our volumes taken off it before, and `keeping` is called: an
    ordinary account does not see it afterwards, and could not tell it from one that is gone."""

    def take_off() -> None:
        keeping()
        for volume in volumes.volumes():
            if volume["vm_id"] == vm_id:
                volumes.detach(volume["id"])

    return compute.destroy(cloud, vm_id, jobs, take_off)


def settle(engine: Engine, cloud: Cloud, record: Record) -> None:
    """Wait for what CloudStack still does for a run of this failover that was killed: nothing is to be raced."""
    for parent in (record.id, *record.state().get("jobs", [])):
        tracking.settle(engine, cloud, parent)


def made_by(vm: dict[str, Any], failover_id: str, state: dict[str, Any]) -> bool:
    """Return whether a machine of the intended name is the failover's: it has its tag, or no tag of ours yet and the
    template that was to be deployed."""
    tags = compute.tags_of(vm)
    if FAILOVER_TAG in tags:
        return tags[FAILOVER_TAG] == failover_id
    template = state.get("deploy_template")
    return TAG not in tags and (template is None or vm.get("templateid") in (template, None))
