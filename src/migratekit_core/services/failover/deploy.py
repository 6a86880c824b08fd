"""Makes the new machine, once: intent before the call, id with the answer, adoption by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from itertools import count
from typing import Any

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud, by_name_or_id
from migratekit_core.adapters.cloudstack.compute import VmSpec
from migratekit_core.adapters.cloudstack.patience import LostJobError, through_restarts
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
    UsageError,
)
from migratekit_core.context import Runtime
from migratekit_core.joblog import Job, Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import bootcheck
from migratekit_core.services.failover.destination import destroy, made_by
from migratekit_core.services.failover.record import Record
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, KIND_TAG, TAG

CDROM = 3
"""Device id that CloudStack keeps for the CD-ROM."""


def build(
    runtime: Runtime,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    spec: VmSpec,
    volume_ids: list[str],
    source_uuid: str,
) -> str:
    """Make a stopped machine whose root disk is the first volume and whose data disks are the others, in order.

    Each part looks before it acts, so running it again after a crash finishes it. Return the machine's id. Raises
    CancelledError where the job is asked to stop meanwhile.
    """
    vm_id = ensure(runtime, cloud, volumes, job, record, spec, volume_ids, source_uuid)
    root = volume_ids[0]
    job.stop_if_cancelled()
    with job.step("root-disk"):
        drop_root(volumes, record, vm_id, {root})
        if volumes.root_of(vm_id) is None:
            volumes.attach(root, vm_id, device_id=0)
    job.stop_if_cancelled()
    with job.step("data-disks") as step:
        for volume_id, device_id in zip(volume_ids[1:], data_devices(), strict=False):
            if there(volumes, volume_id)["vm_id"] != vm_id:
                volumes.attach(volume_id, vm_id, device_id)
            step.log(EventKind.DATA_DISK_ATTACHED, volume_id=volume_id, vm_id=vm_id)
    return vm_id


def ensure(
    runtime: Runtime,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    spec: VmSpec,
    volume_ids: list[str],
    source_uuid: str,
    *,
    anew: bool = False,
) -> str:
    """Have the failover's machine be there, stopped, with its tags and OS type; return its id.

    `anew`: one that a former run made otherwise than it is to be now, and that holds no volume, is made again.
    """
    jobs = TrackedJobs(runtime.databases.oma, f"failover-{record.row().job_type}", job.correlation_id, job.id)
    job.stop_if_cancelled()
    with job.step("deploy") as step:
        vm_id = through_restarts(lambda: _deploy(runtime, cloud, volumes, job, record, spec, volume_ids, anew))
        step.log(EventKind.MACHINE_EXISTS, vm_id=vm_id, name=spec.name)
        compute.tag(cloud, vm_id, tags_of(record, source_uuid), jobs)
        _set_os_type(cloud, step, vm_id, spec)
    return vm_id


def start(cloud: Cloud, runtime: Runtime, job: Job, record: Record, vm_id: str) -> None:
    """Start the machine and wait until it is Running."""
    jobs = TrackedJobs(runtime.databases.oma, f"failover-{record.row().job_type}", job.correlation_id, job.id)
    with job.step("start"):
        compute.start(cloud, vm_id, jobs)
    job.stop_if_cancelled()
    with job.step("boot-check") as step:
        bootcheck.after(cloud, runtime, step, record, vm_id)


def tags_of(record: Record, source_uuid: str) -> dict[str, str]:
    """Return the tags of a failover's machine: by them it is found where its row is lost, and told what it is."""
    return {TAG: source_uuid, FAILOVER_TAG: record.id, KIND_TAG: record.row().job_type}


def _deploy(
    runtime: Runtime,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    spec: VmSpec,
    volume_ids: list[str],
    anew: bool,
) -> str:
    wanted = _described(spec)
    vm_id = record.row().destination_vm_id
    if vm_id is not None:
        other = anew and record.state().get("deploy_spec") not in (None, wanted)
        if (other or _failed(cloud, record, vm_id)) and not _holds(volumes, vm_id, volume_ids):
            # CloudStack took the call and did not do it to its end, or the machine is to be another by now: its name
            # and addresses are free again once it is gone.
            destroy(cloud, volumes, vm_id, TrackedJobs(runtime.databases.oma, "deploy", job.correlation_id, record.id))
            record.forget_machine()
            vm_id = None
    if vm_id is not None:
        return _settled(cloud, vm_id)
    if record.state().get("deploy_intent") == spec.name:
        # A former run called CloudStack, or was about to: if the machine is there, it is this one.
        existing = compute.find(cloud, name=spec.name)
        if existing is not None:
            _refuse_foreign(existing, record)
            record.deployed(existing["id"], None, job.correlation_id)
            return _settled(cloud, existing["id"])
    template_id = _template(runtime, cloud, spec.zone_id)
    record.remember(deploy_intent=spec.name, deploy_template=template_id, deploy_spec=wanted)
    try:
        vm_id, cloudstack_job_id = compute.deploy(cloud, spec, template_id)
    except (UnreachableError, LostJobError):
        raise  # it may have been done all the same: the intent stays, and the next run looks
    except MigrateKitError:
        # Refused, so there is no machine of ours: one of that name that turns up later is somebody else's.
        record.remember(deploy_intent=None)
        raise
    record.deployed(vm_id, cloudstack_job_id, job.correlation_id)
    jobs = TrackedJobs(runtime.databases.oma, "deploy", job.correlation_id, record.id)
    cloud.wait(cloudstack_job_id, "deployVirtualMachine", jobs)
    return vm_id


def _described(spec: VmSpec) -> str:
    """Return a machine to be as text, by which two of them are told apart."""
    return json.dumps(asdict(spec), sort_keys=True)


def _holds(volumes: VolumeClient, vm_id: str, volume_ids: list[str]) -> bool:
    """Return whether a machine holds one of these volumes."""
    found = (volumes.get(volume_id) for volume_id in volume_ids)
    return any(volume is not None and volume["vm_id"] == vm_id for volume in found)


def _refuse_foreign(vm: dict[str, Any], record: Record) -> None:
    """Raise PreconditionError where somebody else has made a machine of our name since a former run was stopped.

    Taken for ours it would be stopped and destroyed by going back.
    """
    if not made_by(vm, record.id, record.state()):
        raise PreconditionError(
            f"there is a machine {vm.get('name')} in CloudStack that this failover did not make",
            f"{vm['id']} has neither its tag nor what it deploys from",
            "rename that machine in CloudStack, then run the command again",
            code=ErrorCode.NOT_OURS,
            facts={"vm_id": str(vm["id"])},
        )


def _template(runtime: Runtime, cloud: Cloud, zone_id: str) -> str:
    """Return the template whose root disk gives its place to the replica's volume.

    A replica's volume is made of a disk offering, and deployVirtualMachine takes none that was not made of a template.
    """
    wanted = runtime.ossea.template
    if wanted is None:
        raise UsageError(
            "ossea.template is not set",
            "a replica's volume becomes a root disk by taking the place of a template's",
            "name a small template of the cloud; its content is never booted",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "ossea.template"},
        )
    templates = cloud.list("listTemplates", "template", templatefilter="executable", zoneid=zone_id)
    return str(by_name_or_id(templates, wanted, "template", "ossea.template")["id"])


def calls(target: VmSpec) -> tuple[str, ...]:
    """Return the calls that `ensure` will make, for a plan."""
    boot = (
        (" boottype=UEFI bootmode=" + ("SECURE" if target.secure_boot else "LEGACY"))
        if target.firmware == "efi"
        else ""
    )
    details = " ".join(f"{key}={value}" for key, value in target.details.items())
    return (
        f"deployVirtualMachine template name={target.name} startvm=false{boot} {details}",
        "createTags UserVm",
        *(("updateVirtualMachine ostypeid",) if target.os_type_id is not None else ()),
        "daemon: detach and delete the template's root disk",
    )


def attaches(disks: int) -> tuple[str, ...]:
    """Return the calls that attach a machine's disks, for a plan."""
    devices = zip(range(disks - 1), data_devices(), strict=False)
    return (
        "daemon: attach device 0 (root disk)",
        *(f"daemon: attach device {device_id}" for _, device_id in devices),
    )


def _failed(cloud: Cloud, record: Record, vm_id: str) -> bool:
    """Return whether a machine that was begun could not be made, or is gone.

    Nor is one used whose job a restart of CloudStack has ended: it is Stopped at first, and in Error later (recorded).
    Our root disk could not be taken off it then, and would be expunged with it.
    """
    vm = compute.find(cloud, vm_id=vm_id)
    if vm is None or vm.get("state") in ("Error", "Destroyed", "Expunging"):
        return True
    return record.state().get("template_root") is None and record.deploy_failed()


def _settled(cloud: Cloud, vm_id: str) -> str:
    """Wait until a machine that a former run began to deploy is made."""
    made = ("Stopped", "Running")
    ends = {*made, compute.GONE, compute.ERROR, "Destroyed", "Expunging"}
    _, state = compute.watched(cloud, vm_id, lambda state: state in ends)
    if state not in made:
        raise OperationFailedError(
            f"the new machine {vm_id} was not made",
            f"its state is {state}",
            "look at its events in CloudStack",
            code=ErrorCode.MACHINE_FAILED,
            facts={"vm_id": vm_id, "state": state},
        )
    return vm_id


def drop_root(volumes: VolumeClient, record: Record, vm_id: str, ours: Collection[str]) -> None:
    """Have the machine be without the template's root disk, which came with it; one of `ours` in that place stays.

    Raises PreconditionError where the root disk is neither: then the machine is not the one that we made.
    """
    current = volumes.root_of(vm_id)
    if current is not None and current["id"] not in ours:
        if current["template_id"] != record.state().get("deploy_template"):
            raise PreconditionError(
                f"machine {vm_id} has a root disk that is not ours",
                f"volume {current['id']} was not made of the template that we deploy from",
                "rename that machine in CloudStack, then run the command again",
                code=ErrorCode.NOT_OURS,
                facts={"vm_id": vm_id, "volume_id": current["id"]},
            )
        record.remember(template_root=current["id"])
        volumes.detach(current["id"])
    left = record.state().get("template_root")
    if left is not None:
        # Written down before it was detached: nothing in CloudStack would say any more whose it is.
        volumes.delete(left)
        record.remember(template_root=None)


def data_devices() -> Iterator[int]:
    """Yield the device ids of data disks, in the order in which the guest shall see them; 3 is the CD-ROM's."""
    return (number for number in count(1) if number != CDROM)


def _set_os_type(cloud: Cloud, step: Step, vm_id: str, spec: VmSpec) -> None:
    """Set the OS type. It is the template's otherwise; a role that may not change it is no reason to stop."""
    if spec.os_type_id is None:
        return
    try:
        changed = compute.set_os_type(cloud, vm_id, spec.os_type_id)
    except AuthError as error:
        step.log(EventKind.OS_TYPE_NOT_SET, level="warning", vm_id=vm_id, os_type_id=spec.os_type_id, why=error.why)
        return
    step.log(EventKind.OS_TYPE_SET if changed else EventKind.OS_TYPE_RIGHT, vm_id=vm_id, os_type_id=spec.os_type_id)


def there(volumes: VolumeClient, volume_id: str) -> dict[str, Any]:
    """Return a volume of the replica. Raises PreconditionError where it is gone."""
    volume = volumes.get(volume_id)
    if volume is None:
        raise PreconditionError(
            f"no volume {volume_id}",
            "a volume of the replica is gone",
            "replicate the machine again",
            code=ErrorCode.REPLICA_INCOMPLETE,
            facts={"volume_id": volume_id},
        )
    return volume
