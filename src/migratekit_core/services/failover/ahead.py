"""What a failover does before it shuts the source down: the new machine is made, without a disk, and it is tried
whether CloudStack lets a volume like the replica's be its root disk. What is refused is refused while the source runs.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import VmSpec
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.units import GIB
from migratekit_core.context import Runtime
from migratekit_core.joblog import Job, Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import deploy, machine
from migratekit_core.services.failover.destination import Standing, standing
from migratekit_core.services.failover.facts import Case
from migratekit_core.services.failover.record import TRIAL, Record
from migratekit_core.services.replication import replica
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import TAG, TRIAL_TAG, host_name

TRIED = "swap_tried"
"""Key of a failover's state: whether the trial was made."""
OMA_UNFIT = frozenset({ErrorCode.VM_FULL, ErrorCode.VM_HAS_SNAPSHOTS, ErrorCode.VM_HAS_BACKUP_OFFERING})
"""Why the OMA may take no disk now."""


def make(
    runtime: Runtime,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    spec: VmSpec,
    vm: VirtualMachine,
    volume_ids: list[str],
) -> str:
    """Have the new machine be there, stopped and without the template's root disk; return its id.

    Each part looks before it acts, so running it again finishes it, or makes anew what somebody has taken away
    meanwhile; also where an earlier version was stopped with some of the volumes attached to it.
    """
    began = bool(record.state().get("shutdown_intent"))
    vm_id = deploy.ensure(runtime, cloud, volumes, job, record, spec, volume_ids, vm.uuid, anew=not began)
    job.stop_if_cancelled()
    with job.step("template-root") as step:
        deploy.drop_root(volumes, record, vm_id, {*volume_ids, *(one["id"] for one in _trials(volumes, record))})
        step.log(EventKind.TEMPLATE_ROOT_DELETED, vm_id=vm_id)
    if not began and not record.state().get(TRIED):
        job.stop_if_cancelled()
        with job.step("try-swap") as step:
            _try_swap(volumes, step, record, vm, vm_id)
    return vm_id


def _try_swap(volumes: VolumeClient, step: Step, record: Record, vm: VirtualMachine, vm_id: str) -> None:
    """Attach an empty volume of the replica's offering as the machine's root disk, and take it away again.

    It is attached to the OMA first, for managed storage refuses only what lies on it already. Raises PreconditionError
    (ROOT_SWAP_REFUSED) where CloudStack does not let it be a root disk.
    """
    volume_id = _trial(volumes, record, vm)
    if volumes.get(volume_id) is None:
        # A former run had deleted it and not written that down.
        record.remember(**{TRIAL: None})
        volume_id = _trial(volumes, record, vm)
    try:
        volumes.attach(volume_id)
        volumes.detach(volume_id)
    except MigrateKitError as error:
        if not isinstance(error, BusyError) and error.code not in OMA_UNFIT:
            raise
        step.log(EventKind.SWAP_UNPLACED, level="warning", why=str(error))
    try:
        volumes.attach(volume_id, vm_id, device_id=0)
        volumes.detach(volume_id)
    except (UnreachableError, BusyError):
        raise
    except MigrateKitError as error:
        raise PreconditionError(
            f"CloudStack lets no volume of {vm.name}'s replica be a root disk",
            error.why,
            "set ossea.disk_offering to one whose storage allows that (managed storage does not), and replicate anew",
            code=ErrorCode.ROOT_SWAP_REFUSED,
            facts={"vm": vm.name, "vm_id": vm_id},
        ) from error
    volumes.delete(volume_id)
    record.remember(**{TRIED: True, TRIAL: None})
    step.log(EventKind.SWAP_TRIED, vm_id=vm_id)


def _trial(volumes: VolumeClient, record: Record, vm: VirtualMachine) -> str:
    """Return the trial volume; made once, whatever is killed meanwhile."""
    key = record.state().get(TRIAL) or str(uuid.uuid4())
    record.remember(**{TRIAL: key})
    tags = {TAG: vm.uuid, f"{TAG}-vm": vm.name, TRIAL_TAG: record.id}
    return str(volumes.create(f"{vm.name}-trial", GIB, tags, key)["volume_id"])


def _trials(volumes: VolumeClient, record: Record) -> list[dict[str, Any]]:
    return [volume for volume in volumes.volumes() if volume["tags"].get(TRIAL_TAG) == record.id]


def take_back(volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine) -> None:
    """Delete the trial volume, where a run that was stopped has left one."""
    if not record.state().get(TRIAL):
        return
    with job.step("delete-trial") as step:
        with suppress(MigrateKitError):
            # What the daemon still makes for a killed run is waited for: the same key makes no second one.
            _trial(volumes, record, vm)
        for volume in _trials(volumes, record):
            if volume["vm_id"] is not None:
                volumes.detach(volume["id"])
            volumes.delete(volume["id"])
            step.log(EventKind.VOLUME_DELETED, volume_id=volume["id"])
        record.remember(**{TRIAL: None})


def left_for(runtime: Runtime, cloud: Cloud, vm: VirtualMachine, record: Record | None) -> Standing | None:
    """Return the machine that an earlier failover has left, for one that begins."""
    return None if record is not None else standing(runtime.databases.oma, cloud, vm.uuid)


def case(runtime: Runtime, vm: VirtualMachine, record: Record | None, power_off: bool, left: Standing | None) -> Case:
    """Return what is to be failed over; `left`: the machine that an earlier failover has left for it."""
    found = replica.newest(runtime.databases.oma, vm.uuid)
    name = host_name(vm.name)
    known = record if record is not None else left.record if left is not None else None
    state = known.state() if known is not None else {}
    adopt = state.get("deploy_intent") == name
    allowed = power_off or runtime.config.failover.power_off
    converted = machine.expects_conversion(vm, runtime.config.failover)
    # What has not shut its source down yet is looked at like one that begins.
    resume = record is not None and bool(state.get("shutdown_intent"))
    return Case(vm, found, False, name, adopt, allowed, resume=resume, converted=converted)
