"""The machine of a failover: found by its id, or by the intent where its id was never stored, and destroyed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from migratekit_core.adapters.cloudstack import compute, tracking
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import Destroyed
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.services.failover.record import LIVE, ROLLED_BACK, Record, newest_first
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


STANDING = "standing_machine"
"""Key of a failover's state: the machine that it has made ahead and left, stopped and without disks, for the next one,
since the account may not expunge."""
TAKEN_OVER = "taken_over"
"""Key of a failover's state: the failovers whose tag its machine may have, for they made it."""


@dataclass(frozen=True)
class Standing:
    """A machine that an earlier failover has left."""

    record: Record
    """Of the failover that has left it."""
    vm_id: str


def standing(engine: Engine, cloud: Cloud, vm_uuid: str) -> Standing | None:
    """Return the stopped machine that the last failover of a source has left for the next one; None without one."""
    for earlier in newest_first(engine, vm_uuid, LIVE):
        state, row = earlier.state(), earlier.row()
        if row.status != ROLLED_BACK:
            return None
        vm_id = state.get(STANDING)
        if vm_id:
            found = compute.find(cloud, vm_id=vm_id)
            fit = found is not None and found.get("state") == "Stopped" and made_by(found, earlier.id, state)
            return Standing(earlier, vm_id) if fit else None
        if row.destination_vm_id is not None:
            return None
    return None


def take_over(left: Standing, record: Record, correlation_id: str) -> None:
    """Make a machine that was left that of another failover. Killed within it, either of them finds it by its name."""
    state = left.record.state()
    kept = {key: state.get(key) for key in ("deploy_intent", "deploy_template", "deploy_spec", "template_root")}
    record.remember(**kept, **{TAKEN_OVER: [*state.get(TAKEN_OVER, []), left.record.id]})
    record.deployed(left.vm_id, None, correlation_id)
    left.record.remember(**{STANDING: None})


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
    *,
    only_expunged: bool = False,
) -> Destroyed:
    """Destroy a machine; one that CloudStack will keep has our volumes taken off it before, and `keeping` is called: an
    ordinary account does not see it afterwards, and could not tell it from one that is gone."""

    def take_off() -> None:
        keeping()
        for volume in volumes.volumes():
            if volume["vm_id"] == vm_id:
                volumes.detach(volume["id"])

    return compute.destroy(cloud, vm_id, jobs, take_off, only_expunged=only_expunged)


def settle(engine: Engine, cloud: Cloud, record: Record) -> None:
    """Wait for what CloudStack still does for a run of this failover that was killed: nothing is to be raced."""
    for parent in (record.id, *record.state().get("jobs", [])):
        tracking.settle(engine, cloud, parent)


def made_by(vm: dict[str, Any], failover_id: str, state: dict[str, Any]) -> bool:
    """Return whether a machine of the intended name is the failover's: it has its tag, or no tag of ours yet and the
    template that was to be deployed."""
    tags = compute.tags_of(vm)
    if FAILOVER_TAG in tags:
        return tags[FAILOVER_TAG] in (failover_id, *state.get(TAKEN_OVER, []))
    template = state.get("deploy_template")
    return TAG not in tags and (template is None or vm.get("templateid") in (template, None))
