"""Makes the new machine around its volumes, once: intent before the call, id with the answer, adoption by name."""

from __future__ import annotations

from collections.abc import Iterator
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

SETTLE_SECONDS = 600.0
FROM_VOLUME, FROM_TEMPLATE = "volumeid", "template"
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
    jobs = TrackedJobs(runtime.databases.oma, f"failover-{record.row().job_type}", job.correlation_id, job.id)
    root = volume_ids[0]
    job.stop_if_cancelled()
    with job.step("deploy") as step:
        vm_id = through_restarts(lambda: _deploy(runtime, cloud, volumes, job, record, spec, root))
        step.log(EventKind.MACHINE_EXISTS, vm_id=vm_id, name=spec.name, path=record.state()["deploy_path"])
        compute.tag(cloud, vm_id, tags_of(record, source_uuid), jobs)
        _set_os_type(cloud, step, vm_id, spec)
    job.stop_if_cancelled()
    with job.step("root-disk"):
        _ensure_root(volumes, record, vm_id, root)
    job.stop_if_cancelled()
    with job.step("data-disks") as step:
        for volume_id, device_id in zip(volume_ids[1:], data_devices(), strict=False):
            _ensure_attached(volumes, vm_id, volume_id, device_id)
            step.log(EventKind.DATA_DISK_ATTACHED, volume_id=volume_id, vm_id=vm_id)
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
    root: str,
) -> str:
    vm_id = record.row().destination_vm_id
    if vm_id is not None and _failed(cloud, volumes, record, vm_id, root):
        # CloudStack took the call and did not do it to its end; the name is free again once that machine is gone.
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
    path, template_id = _path(runtime, cloud, volumes, root, spec.zone_id)
    record.remember(deploy_intent=spec.name, deploy_path=path, deploy_template=template_id)
    volume_id = root if path == FROM_VOLUME else None
    try:
        vm_id, cloudstack_job_id = compute.deploy(cloud, spec, volume_id=volume_id, template_id=template_id)
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


def _path(runtime: Runtime, cloud: Cloud, volumes: VolumeClient, root: str, zone_id: str) -> tuple[str, str | None]:
    """Return how to deploy, and the template where one is needed.

    deployVirtualMachine takes a `volumeid` since CloudStack 4.21, and only of a volume that was made of a template; a
    volume made from a disk offering becomes a root disk by taking the place of a template's.
    """
    volume = volumes.get(root)
    if volume is None:
        raise PreconditionError(
            f"no volume {root}",
            "the replica's root volume is gone",
            "replicate the machine again",
            code=ErrorCode.REPLICA_INCOMPLETE,
            facts={"volume_id": root},
        )
    if volume["template_id"] and cloud.accepts("deployVirtualMachine", "volumeid"):
        return FROM_VOLUME, None
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
    return FROM_TEMPLATE, str(by_name_or_id(templates, wanted, "template", "ossea.template")["id"])


def calls(target: VmSpec, path: str, disks: int) -> tuple[str, ...]:
    """Return the calls that `build` and `start` will make, for a plan."""
    swap = ("daemon: detach and delete the template's root disk", "daemon: attach device 0 (root disk)")
    data = tuple(
        f"daemon: attach device {device_id}" for _, device_id in zip(range(disks - 1), data_devices(), strict=False)
    )
    boot = (
        (" boottype=UEFI bootmode=" + ("SECURE" if target.secure_boot else "LEGACY"))
        if target.firmware == "efi"
        else ""
    )
    details = " ".join(f"{key}={value}" for key, value in target.details.items())
    return (
        f"deployVirtualMachine {path} name={target.name} startvm=false{boot} {details}",
        "createTags UserVm",
        *(("updateVirtualMachine ostypeid",) if target.os_type_id is not None else ()),
        *(swap if path == FROM_TEMPLATE else ()),
        *data,
        "startVirtualMachine",
    )


def _failed(cloud: Cloud, volumes: VolumeClient, record: Record, vm_id: str, root: str) -> bool:
    """Return whether a machine that was begun could not be made, and holds nothing of ours.

    Nor is one used whose job a restart of CloudStack has ended: it is Stopped at first, and in Error later (recorded).
    Our root disk could not be taken off it then, and would be expunged with it.
    """
    vm = compute.find(cloud, vm_id=vm_id)
    if vm is not None and vm.get("state") not in ("Error", "Destroyed", "Expunging"):
        begun = record.state().get("template_root") is not None
        if begun or not record.deploy_failed():
            return False
    volume = volumes.get(root)
    return volume is not None and volume["vm_id"] is None


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


def _ensure_root(volumes: VolumeClient, record: Record, vm_id: str, root: str) -> None:
    """Have our volume be the machine's root disk; the template's, which came with it, is deleted.

    Raises PreconditionError where the root disk is neither: then the machine is not the one that we made.
    """
    current = volumes.root_of(vm_id)
    if current is not None and current["id"] != root:
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
        current = None
    if current is None:
        volumes.attach(root, vm_id, device_id=0)
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


def _ensure_attached(volumes: VolumeClient, vm_id: str, volume_id: str, device_id: int) -> None:
    volume = volumes.get(volume_id)
    if volume is None:
        raise PreconditionError(
            f"no volume {volume_id}",
            "a data disk is gone",
            "replicate the machine again",
            code=ErrorCode.REPLICA_INCOMPLETE,
            facts={"volume_id": volume_id},
        )
    if volume["vm_id"] != vm_id:
        volumes.attach(volume_id, vm_id, device_id)
