"""Test failover: a machine made of copies of the replicated volumes, in the test network. Replication goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, find_vm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import CancelledError, MigrateKitError, PreconditionError
from migratekit_core.common.hints import Hint, hint, joined, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.locks import whole_lock
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.tracker import describe
from migratekit_core.services.failover import cleanup, deploy, machine, preflight
from migratekit_core.services.failover.facts import Case
from migratekit_core.services.failover.preflight import Plan
from migratekit_core.services.failover.record import (
    COMPLETED,
    FAILED,
    MADE_FOR,
    TEST,
    Record,
    begin,
    unfinished,
)
from migratekit_core.services.failover.remains import Subject, rehearsal_name, snapshot_name
from migratekit_core.services.failover.rollback import PATIENCE_SECONDS
from migratekit_core.services.guests import conversion
from migratekit_core.services.replication import replica
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, TAG


@dataclass(frozen=True)
class RehearsalResult:
    """What a rehearsal made; time in seconds."""

    failover_id: str
    job_id: str
    vm_name: str
    destination_vm_id: str
    destination_name: str
    volume_ids: tuple[str, ...]
    snapshot_ids: tuple[str, ...]
    networks: dict[str, str]
    seconds: float


STEPS = (
    "snapshot the replicated volumes",
    "make volumes from the snapshots",
    "convert the guest where it needs that (virt-v2v-in-place)",
    "deploy a machine around them in the test network",
    "start it and wait until it runs",
)


def plan(runtime: Runtime, name: str) -> Plan:
    """Check everything and return what a rehearsal would do; nothing is changed."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        found = preflight.examine(runtime, runtime.cloud(at_once=True), _case(runtime, vm, "0" * 8), service)
    return preflight.plan(runtime, found, STEPS)


def rehearse(
    runtime: Runtime, name: str, convert: bool | None = None, *, made_for: str | None = None
) -> RehearsalResult:
    """Make a machine from the newest replica of `name`, in the test network; `cleanup` takes it away again.

    What a rehearsal that did not end has left is taken away first. Raises PreconditionError with every reason why it
    cannot be made, or where one runs already, BusyError while the machine is being synced, CancelledError where it was
    asked to stop. One that did not get as far as its start leaves nothing; after that it is left to be looked at.
    `made_for` names what it is part of, where it is not an operator's own (`refuse_standing`).
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    began = time.monotonic()
    cloud = runtime.cloud()
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
    with (
        whole_lock(runtime.databases.oma, vm.uuid, f"test-failover {vm.name}"),
        runtime.tracker.job("test-failover", owner=vm.name) as job,
    ):
        volumes = runtime.volumes(job, PATIENCE_SECONDS)
        subject = Subject(vm.uuid, vm.name)
        try:
            with job.step("preflight"):
                refuse_standing(runtime, subject)
                preflight.check(runtime, cloud, _case(runtime, vm, "0" * 8))
            job.stop_if_cancelled()
            cleanup.take_away(runtime, cloud, volumes, job, subject, syncing=False)
            job.stop_if_cancelled()
            found = replica.newest(runtime.databases.oma, vm.uuid)
            assert found is not None, "the preflight has seen it"
            record = begin(runtime.databases.oma, found.job, TEST, {}, **{MADE_FOR: made_for})
            record.joined(job.id)
            try:
                target = preflight.check(runtime, cloud, _case(runtime, vm, record.id[:8]))
                sources = [str(disk.ossea_volume_id) for disk in found.disks]
                job.stop_if_cancelled()
                conversion.decide(runtime, volumes, job, record, vm, convert, sources[0])
                snapshots = take_snapshots(volumes, job, record, sources)
                clones = make_clones(volumes, job, record, vm, snapshots)
                job.stop_if_cancelled()
                conversion.convert_copies(runtime, volumes, job, record, vm, clones)
                converted = bool(record.state().get(conversion.DECIDED))
                spec = machine.suited(target.spec, vm, runtime.config.failover, converted)
                vm_id = deploy.build(runtime, cloud, volumes, job, record, spec, clones, vm.uuid)
                job.stop_if_cancelled()
                record.remember(start_intent=True)
                deploy.start(cloud, runtime, job, record, vm_id)
                record.end(COMPLETED)
            except BaseException as error:
                told = _gone_or_kept(runtime, cloud, volumes, job, subject, record, error)
                if told is error:
                    raise
                raise told from error
        finally:
            volumes.close()
    return RehearsalResult(
        failover_id=record.id,
        job_id=job.id,
        vm_name=vm.name,
        destination_vm_id=vm_id,
        destination_name=target.spec.name,
        volume_ids=tuple(clones),
        snapshot_ids=tuple(snapshots),
        networks=target.mappings,
        seconds=time.monotonic() - began,
    )


def refuse_standing(runtime: Runtime, subject: Subject, *, but_for: str | None = None) -> None:
    """Raise PreconditionError where a rehearsal of the machine is there to be looked at: two would be mixed up, and
    only who made it knows when it has been seen. One that was made for `but_for` is none."""
    for record in unfinished(runtime.databases.oma, subject.uuid, TEST):
        row = record.row()
        if row.status == COMPLETED and (but_for is None or record.state().get(MADE_FOR) != but_for):
            raise PreconditionError(
                f"a rehearsal of {subject.name} runs already",
                f"as machine {row.destination_vm_id}, since {row.completed_at:%Y-%m-%d %H:%M} UTC",
                hint("take it away first: ", migratekit("cleanup", subject.name)),
                code=ErrorCode.IN_FAILOVER,
                facts={"vm": subject.name, "vm_id": row.destination_vm_id},
            )


def _gone_or_kept(
    runtime: Runtime,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    subject: Subject,
    record: Record,
    error: BaseException,
) -> BaseException:
    """Take away what a rehearsal has made that was cancelled, or failed before there was anything to look at; return
    the error to tell."""
    cancelled = isinstance(error, KeyboardInterrupt | CancelledError)
    told: BaseException = error
    if cancelled:
        why = error.why if isinstance(error, CancelledError) else "it was asked to stop"
        told = CancelledError(
            f"the rehearsal of {subject.name} was cancelled",
            why,
            "",
            code=ErrorCode.CANCELLED,
            facts={"vm": subject.name},
        )
    try:
        record.end(FAILED, redact(describe(error)))
        by_hand: Hint | str = hint("take away what it made: ", migratekit("cleanup", subject.name))
        if cancelled or not record.state().get("start_intent"):
            cleanup.take_away(runtime, cloud, volumes, job, subject, syncing=False)
            by_hand = "what it had made was taken away"
    except (Exception, KeyboardInterrupt):  # whatever it was, it must not hide what went wrong first
        by_hand = hint("taking away what it made failed, too: ", migratekit("cleanup", subject.name))
    if isinstance(told, MigrateKitError):
        told.todo = joined("; ", (told.todo, by_hand))
    return told


def take_snapshots(volumes: VolumeClient, job: Job, record: Record, sources: list[str]) -> list[str]:
    """Snapshot the volumes; which ones is written down before the first."""
    record.remember(snapshot_intents=sources)
    snapshots = []
    with job.step("snapshot-volumes") as step:
        for volume_id in sources:
            job.stop_if_cancelled()
            key = f"snapshot-{record.id}-{volume_id}"
            taken = volumes.snapshot(volume_id, snapshot_name(record.id), key)["snapshot_id"]
            snapshots.append(taken)
            record.remember(snapshots=snapshots)
            step.log(EventKind.SNAPSHOT_TAKEN, volume_id=volume_id, snapshot_id=taken)
    return snapshots


def make_clones(volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine, snapshots: list[str]) -> list[str]:
    """Make a volume from each snapshot; they carry the rehearsal's id as a tag."""
    clones: list[str] = []
    tags = {TAG: vm.uuid, f"{TAG}-vm": vm.name, FAILOVER_TAG: record.id}
    with job.step("clone-volumes") as step:
        for index, snapshot_id in enumerate(snapshots):
            job.stop_if_cancelled()
            key = f"clone-{record.id}-{snapshot_id}"
            made = volumes.clone(snapshot_id, f"{vm.name}-test-{index}", tags, key)["volume_id"]
            clones.append(made)
            record.remember(clones=clones)
            step.log(EventKind.VOLUME_MADE, snapshot_id=snapshot_id, volume_id=made)
    return clones


def _case(runtime: Runtime, vm: VirtualMachine, suffix: str) -> Case:
    found = replica.newest(runtime.databases.oma, vm.uuid)
    converted = machine.expects_conversion(vm, runtime.config.failover)
    return Case(vm, found, True, rehearsal_name(vm.name, suffix), converted=converted)
