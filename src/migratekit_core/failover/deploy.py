"""Makes the new machine around its volumes, once: intent before the call, id with the answer, adoption by name."""

from __future__ import annotations

import time

from migratekit_core.errors import (
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
    UsageError,
)
from migratekit_core.failover.record import Record
from migratekit_core.joblog import Job
from migratekit_core.ossea import compute, offerings
from migratekit_core.ossea.client import Cloud
from migratekit_core.ossea.compute import VmSpec
from migratekit_core.ossea.tracking import TrackedJobs
from migratekit_core.runtime import Runtime
from migratekit_core.volumes.client import VolumeClient
from migratekit_core.volumes.names import TAG

SETTLE_SECONDS = 600.0
FROM_VOLUME, FROM_TEMPLATE = "volumeid", "template"


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

    Each part looks before it acts, so running it again after a crash finishes it. Return the machine's id.
    """
    jobs = TrackedJobs(runtime.databases.oma, f"failover-{record.row().job_type}", job.correlation_id, job.id)
    root = volume_ids[0]
    with job.step("deploy") as step:
        vm_id = _deploy(runtime, cloud, volumes, job, record, spec, root)
        step.log("machine exists", vm_id=vm_id, name=spec.name, path=record.state()["deploy_path"])
        compute.tag(cloud, vm_id, {TAG: source_uuid, f"{TAG}-failover": record.id}, jobs)
    with job.step("root-disk"):
        _ensure_root(volumes, record, vm_id, root)
    with job.step("data-disks") as step:
        for volume_id in volume_ids[1:]:
            _ensure_attached(volumes, vm_id, volume_id)
            step.log("data disk attached", volume_id=volume_id, vm_id=vm_id)
    return vm_id


def start(cloud: Cloud, runtime: Runtime, job: Job, record: Record, vm_id: str) -> None:
    """Start the machine and wait until it is Running."""
    jobs = TrackedJobs(runtime.databases.oma, f"failover-{record.row().job_type}", job.correlation_id, job.id)
    with job.step("start"):
        compute.start(cloud, vm_id, jobs)
    with job.step("boot-check") as step:
        vm = compute.wait_running(cloud, vm_id, runtime.config.failover.boot_timeout)
        addresses = [nic.get("ipaddress") for nic in vm.get("nic") or []]
        step.log("machine runs", vm_id=vm_id, state=vm["state"], addresses=addresses)


def _deploy(
    runtime: Runtime, cloud: Cloud, volumes: VolumeClient, job: Job, record: Record, spec: VmSpec, root: str
) -> str:
    vm_id = record.row().destination_vm_id
    if vm_id is not None and _failed(cloud, volumes, vm_id, root):
        # CloudStack took the call and could not do it; the name is free again once that machine is gone.
        compute.destroy(cloud, vm_id, TrackedJobs(runtime.databases.oma, "deploy", job.correlation_id, record.id))
        record.forget_machine()
        vm_id = None
    if vm_id is not None:
        return _settled(cloud, vm_id)
    if record.state().get("deploy_intent") == spec.name:
        # A former run called CloudStack, or was about to: if the machine is there, it is this one.
        existing = compute.find(cloud, name=spec.name)
        if existing is not None:
            record.deployed(existing["id"], None, job.correlation_id)
            return _settled(cloud, existing["id"])
    path, template_id = _path(runtime, cloud, volumes, root)
    record.remember(deploy_intent=spec.name, deploy_path=path, deploy_template=template_id)
    volume_id = root if path == FROM_VOLUME else None
    try:
        vm_id, cloudstack_job_id = compute.deploy(cloud, spec, volume_id=volume_id, template_id=template_id)
    except UnreachableError:
        raise  # it may have been done all the same: the intent stays, and the next run looks
    except MigrateKitError:
        # Refused, so there is no machine of ours: one of that name that turns up later is somebody else's.
        record.remember(deploy_intent=None)
        raise
    record.deployed(vm_id, cloudstack_job_id, job.correlation_id)
    jobs = TrackedJobs(runtime.databases.oma, "deploy", job.correlation_id, record.id)
    cloud.wait(cloudstack_job_id, "deployVirtualMachine", jobs)
    return vm_id


def _path(runtime: Runtime, cloud: Cloud, volumes: VolumeClient, root: str) -> tuple[str, str | None]:
    """Return how to deploy, and the template where one is needed.

    deployVirtualMachine takes a `volumeid` since CloudStack 4.21, and only of a volume that was made of a template; a
    volume made from a disk offering becomes a root disk by taking the place of a template's.
    """
    volume = volumes.get(root)
    if volume is None:
        raise PreconditionError(f"no volume {root}", "the replica's root volume is gone", "replicate the machine again")
    if volume["template_id"] and cloud.accepts("deployVirtualMachine", "volumeid"):
        return FROM_VOLUME, None
    wanted = runtime.ossea.template
    if wanted is None:
        raise UsageError(
            "ossea.template is not set",
            "a replica's volume becomes a root disk by taking the place of a template's",
            "name a small template of the cloud; its content is never booted",
        )
    return FROM_TEMPLATE, str(offerings.template(cloud, wanted)["id"])


def _failed(cloud: Cloud, volumes: VolumeClient, vm_id: str, root: str) -> bool:
    """Return whether a machine that was begun could not be made, and holds nothing of ours."""
    vm = compute.find(cloud, vm_id=vm_id)
    if vm is not None and vm.get("state") not in ("Error", "Destroyed", "Expunging"):
        return False
    volume = volumes.get(root)
    return volume is not None and volume["vm_id"] is None


def _settled(cloud: Cloud, vm_id: str) -> str:
    """Wait until a machine that a former run began to deploy is made."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        vm = compute.find(cloud, vm_id=vm_id)
        state = vm.get("state") if vm is not None else "gone"
        if state in ("Stopped", "Running"):
            return vm_id
        if state in ("gone", "Error", "Destroyed", "Expunging") or time.monotonic() > deadline:
            raise OperationFailedError(
                f"the new machine {vm_id} was not made", f"its state is {state}", "look at its events in CloudStack"
            )
        time.sleep(1)


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


def _ensure_attached(volumes: VolumeClient, vm_id: str, volume_id: str) -> None:
    volume = volumes.get(volume_id)
    if volume is None:
        raise PreconditionError(f"no volume {volume_id}", "a data disk is gone", "replicate the machine again")
    if volume["vm_id"] != vm_id:
        volumes.attach(volume_id, vm_id)
