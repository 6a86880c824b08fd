"""Whether the daemon may act on a volume: asked here before every action, and nowhere else.

Only a volume that CloudStack has with our tag and that we have a row of (`owned_volumes`) is ours. Never the OMA's own
root disk, never another machine's, except of one that MigrateKit made; never a disk that somebody on the OMA uses. What
rows of a database say is believed where CloudStack agrees. Two exceptions, both for taking away only: the root disk of
a template that came with a machine of ours, and a tagged volume without a row whose source this installation knows.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import Enum

from sqlalchemy import Engine
from sqlmodel import Session, select

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.oma import FailoverJob, FailoverState
from migratekit_core.db.models.sources import SourceVm
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.volumed import devices
from migratekit_core.volumed.daemon import ownership
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.storage import Snapshot, Storage, Volume
from migratekit_core.volumed.devices import Places
from migratekit_core.volumed.inuse import Kind, Use, use_of
from migratekit_core.volumed.names import FAILOVER_TAG, PROBE, PROBE_TAG, ROOT_TAG, TAG

OPEN_SECONDS = 3.0
"""How long somebody may have a disk open before it counts: udev looks into each that appears, and closes it again."""
POLL_SECONDS = 0.1
ROOT = "ROOT"
"""CloudStack's type of a volume that a machine boots from."""


class Rule(Enum):
    """What an action does, as far as the guard is concerned."""

    MAKES = "makes a new volume"
    OF_SNAPSHOT = "works with a snapshot"
    USES = "uses a volume"
    TAKES_AWAY = "detaches or deletes a volume"
    UNSERVES = "takes back an export that the daemon gave: CloudStack need not be asked for it"
    LOOKS = "looks, and asks again for what it repairs"


RULES = {
    "create": Rule.MAKES,
    "clone": Rule.OF_SNAPSHOT,
    "delete-snapshot": Rule.OF_SNAPSHOT,
    "attach": Rule.USES,
    "export": Rule.USES,
    "snapshot": Rule.USES,
    "checksum": Rule.USES,
    "detach": Rule.TAKES_AWAY,
    "delete": Rule.TAKES_AWAY,
    "unexport": Rule.UNSERVES,
    "reconcile": Rule.LOOKS,
}
"""By the kind of operation; one that is not here is refused."""


@dataclass(frozen=True)
class Sides:
    """What the guard asks."""

    storage: Storage
    places: Places
    exporter: Exporter
    volumes: Engine
    oma: Engine


@dataclass(frozen=True)
class Admitted:
    """What an operation may act on."""

    volume: Volume | None = None
    """As CloudStack has it; None where it has none, or the operation is about none."""
    tags: dict[str, str] = field(default_factory=dict)
    """What it is to be tagged with before anything is done: a template's root disk."""


def admit(sides: Sides, operation: VolumeOperation) -> Admitted:
    """Return what an operation may act on. Raises PreconditionError, with a code for each reason, where it may not."""
    rule = RULES[operation.type]
    if rule is Rule.OF_SNAPSHOT:
        _snapshot(sides, str(operation.request["snapshot_id"]))
    if operation.volume_id is None or rule in (Rule.MAKES, Rule.LOOKS, Rule.UNSERVES):
        return Admitted()
    volume = sides.storage.get(operation.volume_id)
    if volume is not None:
        return Admitted(volume, require(sides, volume, rule))
    if rule is Rule.USES:
        raise PreconditionError(
            f"no volume {operation.volume_id}",
            "CloudStack does not know it (any more)",
            hint("look with: ", migratekit("volumes", "list")),
            code=ErrorCode.GONE,
            facts={"volume_id": operation.volume_id},
        )
    # There is nothing any more that could be taken away.
    return Admitted()


def require(sides: Sides, volume: Volume, rule: Rule = Rule.USES) -> dict[str, str]:
    """Return the tags that a volume lacks, before the daemon acts on it. Raises PreconditionError where it must not:
    OMA_DISK, NOT_OURS, NO_RECORD, ROOT_DISK, DEVICE_MOUNTED, DEVICE_CLAIMED, DEVICE_OPEN."""
    refusal = _of_the_oma(sides, volume)
    if refusal is not None:
        raise refusal
    tags = _ours(sides, volume, rule)
    if volume.type == ROOT and volume.vm_id is not None and not tags and not _made_by_us(sides, volume.vm_id):
        raise LeftAloneError(
            volume,
            f"it is the root disk of virtual machine {volume.vm_id}, which MigrateKit did not make",
            "detach it in CloudStack, if that machine does not need it",
            code=ErrorCode.ROOT_DISK,
        )
    _require_unused(sides, volume)
    return tags


def refusal_to_serve(sides: Sides, volume: Volume) -> MigrateKitError | None:
    """Return why a volume must not be served, without waiting for anybody; None where it may."""
    try:
        refusal = _of_the_oma(sides, volume)
        if refusal is None:
            _ours(sides, volume, Rule.USES)
    except PreconditionError as error:
        return error
    return refusal


def _of_the_oma(sides: Sides, volume: Volume) -> PreconditionError | None:
    if volume.type != ROOT or volume.vm_id is None or volume.vm_id != sides.storage.oma_vm_id():
        return None
    why = "it is the root disk of the OMA, on which this daemon runs"
    todo = "look at its id: nothing is ever done to the OMA's own disk"
    return LeftAloneError(volume, why, todo, code=ErrorCode.OMA_DISK)


def _ours(sides: Sides, volume: Volume, rule: Rule) -> dict[str, str]:
    if TAG not in volume.tags:
        tags = _template_root(sides, volume) if rule is Rule.TAKES_AWAY else {}
        if not tags:
            todo = "look at its id; what is nobody's is deleted in CloudStack"
            raise LeftAloneError(volume, f"it does not carry the tag {TAG}", todo, code=ErrorCode.NOT_OURS)
        return tags
    row = ownership.owned(sides.volumes, volume.id)
    if row is not None:
        ownership.confirm(sides.volumes, row)
    elif rule is not Rule.TAKES_AWAY or not _source_known(sides.oma, volume.tags):
        raise LeftAloneError(
            volume,
            f"it carries the tag {TAG}, and this installation has no record of having made it",
            hint(
                "is it another OMA's? where this database was restored, or knows it as a replica's: ",
                migratekit("db", "upgrade"),
            ),
            code=ErrorCode.NO_RECORD,
        )
    return {}


def _template_root(sides: Sides, volume: Volume) -> dict[str, str]:
    """Return the tags for the root disk that came with a machine of ours from its template; {} where it is none."""
    if volume.type != ROOT or volume.vm_id is None or volume.template_id is None:
        return {}
    vm = compute.find(sides.storage.cloud, vm_id=volume.vm_id)
    tags = compute.tags_of(vm or {})
    failover_id = tags.get(FAILOVER_TAG, "")

    def known(db: Session) -> bool:
        row, state = db.get(FailoverJob, failover_id), db.get(FailoverState, failover_id)
        deployed = state.state.get("deploy_template") if state is not None else None
        return row is not None and row.destination_vm_id == volume.vm_id and deployed == volume.template_id

    if TAG not in tags or not failover_id or not write(sides.oma, known):
        return {}
    return {TAG: tags[TAG], ROOT_TAG: failover_id}


def _made_by_us(sides: Sides, vm_id: str) -> bool:
    """Return whether a failover made a machine: its tag says so, or, where CloudStack does not show it any more, our
    record."""
    vm = compute.find(sides.storage.cloud, vm_id=vm_id)
    if vm is not None:
        return {TAG, FAILOVER_TAG} <= compute.tags_of(vm).keys()
    query = select(FailoverJob.id).where(FailoverJob.destination_vm_id == vm_id).limit(1)
    return write(sides.oma, lambda db: db.exec(query).first()) is not None


def _source_known(engine: Engine, tags: dict[str, str]) -> bool:
    """Return whether a volume's tags name a machine, or a probe, that this installation has worked with."""

    def known(db: Session) -> bool:
        if tags[TAG] == PROBE:
            job = db.get(JoblogJob, tags.get(PROBE_TAG, ""))
            return job is not None and job.kind == PROBE
        failed_over = select(FailoverJob.id).where(FailoverJob.vm_id == tags[TAG]).limit(1)
        return db.get(SourceVm, tags[TAG]) is not None or db.exec(failed_over).first() is not None

    return write(engine, known)


def _snapshot(sides: Sides, snapshot_id: str) -> Snapshot | None:
    """Return a snapshot that is ours by its tag; CloudStack gives it when the snapshot is whole, so its volume's counts
    as well."""
    found = sides.storage.snapshot_by_id(snapshot_id)
    if found is None or TAG in found.tags:
        return found
    volume = sides.storage.get(found.volume_id)
    if volume is not None and TAG in volume.tags and ownership.owned(sides.volumes, volume.id) is not None:
        return found
    raise PreconditionError(
        f"snapshot {snapshot_id} is not MigrateKit's",
        f"neither it nor its volume carries the tag {TAG}",
        "look at its id; what is nobody's is deleted in CloudStack",
        code=ErrorCode.NOT_OURS,
        facts={"snapshot_id": snapshot_id},
    )


def _require_unused(sides: Sides, volume: Volume) -> None:
    deadline = time.monotonic() + OPEN_SECONDS
    while (use := used(sides.places, sides.exporter, volume.id)) is not None:
        if use.kind is not Kind.OPEN or time.monotonic() > deadline:
            todo = "end that use on the OMA (lsblk, findmnt, lsof), then run again"
            raise LeftAloneError(
                volume,
                use.why,
                todo,
                code=ErrorCode.DEVICE_OPEN
                if use.kind is Kind.OPEN
                else ErrorCode.DEVICE_MOUNTED
                if use.kind is Kind.MOUNTED
                else ErrorCode.DEVICE_CLAIMED,
            )
        time.sleep(POLL_SECONDS)


def used(places: Places, exporter: Exporter, volume_id: str) -> Use | None:
    """Return what this machine uses a volume's device for, beside the daemon and its exporter."""
    for path in devices.claims(devices.scan(places), volume_id):
        if (use := use_of(places, path, {os.getpid(), *exporter.processes()})) is not None:
            return use
    return None


class LeftAloneError(PreconditionError):
    """A volume that the daemon does nothing to, and why."""

    def __init__(self, volume: Volume, why: str, todo: Hint | str, *, code: ErrorCode) -> None:
        what = f"volume {volume.name or volume.id} is left alone"
        super().__init__(what, why, todo, code=code, facts={"volume_id": volume.id})
