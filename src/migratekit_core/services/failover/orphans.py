"""Finds what carries our tags in the cloud and no job knows: machines, volumes, snapshots. Only what no run can be
making now, and nothing that runs as somebody's machine, is ever removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import Destroyed
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.common.errors import BusyError
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.engine import session
from migratekit_core.db.locks import whole_lock
from migratekit_core.db.models.oma import FailoverJob, FailoverState
from migratekit_core.db.models.sources import SourceVm, SourceVolume
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover.destination import STAYS, destroy
from migratekit_core.services.failover.record import ENDED, LIVE, TEST
from migratekit_core.services.failover.remains import SNAPSHOT
from migratekit_core.services.failover.rollback import PATIENCE_SECONDS
from migratekit_core.services.guests import undo
from migratekit_core.services.replication import surplus
from migratekit_core.services.replication.surplus import Surplus
from migratekit_core.volumed import probes
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, KIND_TAG, PROBE, TAG

MACHINE, VOLUME, SNAPSHOT_KIND = "machine", "volume", "snapshot"
FOREIGN = "this database knows nothing of its source: it may be another OMA's; remove it by hand if it is nobody's"

FOREIGN_PROBE = (
    "this database knows nothing of that probe: it may be another OMA's; remove it by hand if it is nobody's"
)


@dataclass(frozen=True)
class Orphan:
    """One thing that no job knows."""

    kind: str
    id: str
    name: str
    vm_uuid: str
    """The source machine by its tag; `probe` for what a `doctor --probe` has left."""
    reason: str
    """Why no job knows it."""
    keep: str = ""
    """Why it is not removed, or "": an operator has to look."""
    removed: bool = False
    note: str = ""
    """What is left of one that was removed."""


@dataclass(frozen=True)
class Swept:
    """What was found, and removed where that was asked for."""

    job_id: str | None
    orphans: tuple[Orphan, ...]
    surplus: Surplus
    """Volumes of replicas that nothing needs any more: they are named and left."""


def listed(runtime: Runtime) -> Swept:
    """Return what no job knows; nothing is changed."""
    _require(runtime)
    volumes = runtime.volumes()
    try:
        found = tuple(_find(runtime.databases.oma, runtime.cloud(at_once=True), volumes))
        return Swept(None, found, surplus.find(runtime, volumes.volumes()))
    finally:
        volumes.close()


def remove(runtime: Runtime) -> Swept:
    """Remove what no job knows. What belongs to a machine that is being worked on is left, and says so."""
    _require(runtime)
    runtime.tracker.mark_interrupted()
    cloud, engine = runtime.cloud(), runtime.databases.oma
    swept: list[Orphan] = []
    with runtime.tracker.job("cleanup-orphans", owner="all") as job:
        volumes = runtime.volumes(job, PATIENCE_SECONDS)
        try:
            with job.step("find-orphans"):
                probes.settle(engine, volumes, PATIENCE_SECONDS)
                first = list(_find(engine, cloud, volumes))
            for uuid in dict.fromkeys(orphan.vm_uuid for orphan in first):
                try:
                    with whole_lock(engine, uuid, "cleanup --orphans"):
                        # What a run had just made and not yet written down is known by now, or belongs to nobody.
                        again = [orphan for orphan in _find(engine, cloud, volumes) if orphan.vm_uuid == uuid]
                        swept += [_remove(runtime, cloud, volumes, job, orphan) for orphan in _in_order(again)]
                except BusyError as error:
                    mine = [orphan for orphan in first if orphan.vm_uuid == uuid]
                    swept += [_kept(orphan, f"its machine is being worked on: {error.why}") for orphan in mine]
            left = surplus.find(runtime, volumes.volumes())
        finally:
            volumes.close()
    return Swept(job.id, tuple(swept), left)


def _require(runtime: Runtime) -> None:
    require(runtime.config, "ossea")
    require_schema(runtime.databases)


def _in_order(orphans: list[Orphan]) -> list[Orphan]:
    """Return machines before the volumes that they hold, and snapshots before the volumes that they are of."""
    order = (MACHINE, SNAPSHOT_KIND, VOLUME)
    return sorted(orphans, key=lambda orphan: order.index(orphan.kind))


def _kept(orphan: Orphan, why: str) -> Orphan:
    return Orphan(orphan.kind, orphan.id, orphan.name, orphan.vm_uuid, orphan.reason, why)


def _remove(runtime: Runtime, cloud: Cloud, volumes: VolumeClient, job: Job, orphan: Orphan) -> Orphan:
    if orphan.keep:
        return orphan
    note = ""
    with job.step(f"remove-{orphan.kind}") as step:
        if orphan.kind == MACHINE:
            jobs = TrackedJobs(runtime.databases.oma, "cleanup", job.correlation_id)
            note = STAYS if destroy(cloud, volumes, orphan.id, jobs) is Destroyed.KEPT else ""
        elif orphan.kind == SNAPSHOT_KIND:
            volumes.delete_snapshot(orphan.id)
        elif orphan.vm_uuid == PROBE:
            probes.remove(volumes, orphan.id, PATIENCE_SECONDS)
        else:
            found = volumes.get(orphan.id)
            if found is not None and found["export_name"] is not None:
                volumes.unexport(orphan.id)
            if found is not None and found["vm_id"] is not None:
                volumes.detach(orphan.id)
            volumes.delete(orphan.id)
        step.log(EventKind.ORPHAN_REMOVED, kind=orphan.kind, id=orphan.id, name=orphan.name, reason=orphan.reason)
    return Orphan(orphan.kind, orphan.id, orphan.name, orphan.vm_uuid, orphan.reason, removed=True, note=note)


@dataclass(frozen=True)
class _Known:
    """What the database knows."""

    volumes: frozenset[str]
    machines: frozenset[str]
    failovers: dict[str, str]
    """Kinds of those that are not over yet, by id."""
    tests: frozenset[str]
    """How the ids of rehearsals begin that are not cleaned up."""
    conversions: frozenset[str]
    """How the ids of failovers begin that keep snapshots of their volumes from before a conversion."""
    sources: frozenset[str]
    """Machines that were ever replicated, or failed over, by instanceUuid."""

    def why_kept(self, vm_uuid: str) -> str:
        """Return why nothing of a machine is removed: several OMAs, each with its database, may share an account."""
        return "" if vm_uuid in self.sources else FOREIGN


def _known(engine: Engine) -> _Known:
    with session(engine) as db:
        volumes = set(db.exec(select(SourceVolume.volume_id)).all())
        rows = list(db.exec(select(FailoverJob)).all())
        sources = {*db.exec(select(SourceVm.vm_id)).all(), *(row.vm_id for row in rows)}
        states = {state.failover_job_id: state.state for state in db.exec(select(FailoverState)).all()}
    held = [row for row in rows if row.job_type == LIVE or row.status not in ENDED[TEST]]
    for row in held:
        state = states.get(row.id, {})
        volumes |= {*state.get("clones", []), *filter(None, [state.get("template_root")])}
    return _Known(
        volumes=frozenset(volumes),
        machines=frozenset(row.destination_vm_id for row in held if row.destination_vm_id),
        failovers={row.id: row.job_type for row in held},
        tests=frozenset(row.id[:8] for row in held if row.job_type == TEST),
        conversions=frozenset(row.id[:8] for row in held if states.get(row.id, {}).get(undo.CONVERSION)),
        sources=frozenset(sources),
    )


def _find(engine: Engine, cloud: Cloud, volumes: VolumeClient) -> list[Orphan]:
    known, found = _known(engine), []
    machines = {str(vm["id"]): vm for vm in compute.owned(cloud, TAG)}
    for vm_id, vm in machines.items():
        tags = compute.tags_of(vm)
        if vm_id in known.machines or tags.get(FAILOVER_TAG) in known.failovers:
            continue
        keep = "" if tags.get(KIND_TAG) == TEST else "it may be somebody's machine by now: destroy it by hand if not"
        keep = known.why_kept(tags[TAG]) or keep
        found.append(Orphan(MACHINE, vm_id, str(vm.get("name")), tags[TAG], "no failover knows it", keep))
    doomed = {orphan.id for orphan in found if not orphan.keep}
    ours = volumes.volumes()
    found += _snapshots(volumes, ours, known, doomed)
    left_by_probes = {volume["id"] for volume in probes.ours(engine, ours)}
    for volume in ours:
        if probes.is_probe(volume["tags"]):
            keep = "" if volume["id"] in left_by_probes else FOREIGN_PROBE
            found.append(Orphan(VOLUME, volume["id"], volume["name"], PROBE, "a probe has left it", keep))
            continue
        tags = volume["tags"]
        if volume["id"] in known.volumes or tags.get(FAILOVER_TAG) in known.failovers:
            continue
        reason = "no rehearsal knows it" if FAILOVER_TAG in tags else "no replica knows it"
        keep = known.why_kept(tags[TAG]) or _why_kept(volume, doomed)
        found.append(Orphan(VOLUME, volume["id"], volume["name"], tags[TAG], reason, keep))
    return found


def _snapshots(volumes: VolumeClient, ours: list[dict[str, Any]], known: _Known, doomed: set[str]) -> Iterator[Orphan]:
    """Yield the snapshots that no rehearsal and no conversion knows, also those of volumes that are deleted."""
    there = {volume["id"]: volume for volume in ours}
    taken = {one["id"]: (one["name"], one["tags"][TAG], one["volume_id"]) for one in volumes.snapshots()}
    for volume in ours:
        # Not all of them may carry the tag: CloudStack gives it when the snapshot is whole.
        whole = volumes.get(volume["id"])
        for one in whole["snapshots"] if whole is not None else []:
            taken.setdefault(one["id"], (one["name"], volume["tags"][TAG], volume["id"]))
    for snapshot_id, (name, uuid, volume_id) in taken.items():
        test, conversion = SNAPSHOT.match(name), undo.SNAPSHOT.match(name)
        if test is not None and test.group(1) not in known.tests:
            yield Orphan(SNAPSHOT_KIND, snapshot_id, name, uuid, "no rehearsal knows it", known.why_kept(uuid))
        if conversion is not None and conversion.group(1) not in known.conversions:
            keep = known.why_kept(uuid)
            if not keep and volume_id in there and _why_kept(there[volume_id], doomed):
                holder = there[volume_id]["vm_id"]
                keep = f"it is from before the conversion of what machine {holder} holds: delete it by hand"
            yield Orphan(SNAPSHOT_KIND, snapshot_id, name, uuid, "no failover knows it", keep)


def _why_kept(volume: dict[str, Any], doomed: set[str]) -> str:
    """Return why a volume is not removed: it is a machine's that stays."""
    holder = volume["vm_id"]
    if holder is None or holder in doomed or volume["linux_state"] == "attached":
        return ""
    return f"machine {holder} holds it: detach it by hand if that one does not need it"
