"""Room for one more volume. CloudStack attaches a limited number of data disks to a machine (32 by default on KVM), and
a replica's volumes stay attached to the OMA between its syncs: where it is full, one that nobody works with gives way.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from enum import Enum

from sqlmodel import Session, col, func, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.locks import LockKind, whole_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.db.models.volumes import VolumeOperation
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.volumed.daemon import guard, records
from migratekit_core.volumed.daemon.context import ORIGIN, Context
from migratekit_core.volumed.daemon.storage import Volume
from migratekit_core.volumed.names import PROBE, TAG

BY_HAND = "volumes-"
"""How the kinds of jobs begin that `migratekit volumes attach` and its like run in."""
MISSED = 3
"""So many of its intervals after its last sync a machine is not taken for one that is synced regularly."""
LEAVING_SECONDS = 0.5
"""Between two attempts while a volume is just being detached by somebody else."""


class Stays(Enum):
    """Why a volume stays attached to the OMA, as people are told."""

    OWN = "of this machine itself"
    LEAVING = "being detached"
    WORKED_WITH = "of machines that are worked with"
    CONNECTED = "exported, with somebody connected"
    NOT_DETACHED = "that could not be detached"
    NOT_OURS = "not ours"
    FOREIGN = "attached outside MigrateKit"
    IN_USE = "in use on this host (mounted, part of a volume group, or open)"
    ATTACHED_BY_HAND = "attached by hand"
    EXPORTED_BY_HAND = "exported by hand"


PASSING = frozenset({Stays.WORKED_WITH, Stays.CONNECTED, Stays.LEAVING})
"""Reasons that are over when a run ends."""

_making = threading.Lock()
"""One at a time makes room, and attaches what it is for: several would take each other's."""


def found(context: Context, step: Step, volume: Volume, attach: Callable[[], Volume]) -> Volume:
    """Return what `attach` returns, which attaches `volume` to the OMA; while that is full, room is made.

    No room is made for a probe's volume. Raises BusyError where there is none until a run ends, PreconditionError where
    there never will be, and what `attach` raises.
    """

    def attempt() -> Volume:
        context.storage.refuse_full()
        return attach()

    try:
        return attempt()
    except MigrateKitError as error:
        # A probe shows how things are; it takes nobody's place.
        if error.code is not ErrorCode.VM_FULL or volume.tags.get(TAG) == PROBE:
            raise
    stuck: set[str] = set()
    deadline = time.monotonic() + context.settings.settle_timeout
    with _making:
        while True:
            try:
                return attempt()
            except MigrateKitError as error:
                if error.code is not ErrorCode.VM_FULL:
                    raise
            _make(context, step, volume, stuck, deadline)


def _make(context: Context, step: Step, wanted: Volume, stuck: set[str], deadline: float) -> None:
    """Detach from the OMA the volume that is needed last (`_by_need`), of those that nobody works with now; or wait a
    moment for one that is leaving. What cannot be detached is put into `stuck`, and not tried again.

    Nobody does where no run has the machine that it is a replica of, nobody is connected to it or has it open, and it
    was not attached by hand. The machine is held meanwhile, so that no run of it can begin.

    Raises BusyError, or PreconditionError, where there is no such volume, saying what all of them are there for.
    """
    kept: Counter[Stays] = Counter()
    for volume in _by_need(context):
        reason = Stays.NOT_DETACHED if volume.id in stuck else _reason_to_stay(context, volume, wanted)
        if not reason:
            try:
                purpose = f"making room on the OMA: detaching {volume.name}"
                with whole_lock(context.oma, volume.tags[TAG], purpose, LockKind.MOMENT):
                    # Attached by hand, or opened, while we got the lock?
                    reason = _reason_to_stay(context, volume, wanted) or _let_go(context, step, volume, stuck)
            except BusyError:
                reason = Stays.WORKED_WITH
            if not reason:
                return
        kept[reason] += 1
    if kept[Stays.LEAVING] and time.monotonic() < deadline:
        time.sleep(LEAVING_SECONDS)
        return
    raise _no_room(kept)


def _no_room(kept: Counter[Stays]) -> MigrateKitError:
    why = f"CloudStack attaches no more to it, and none of its {kept.total()} can be taken off: " + ", ".join(
        f"{number} {reason.value}" for reason, number in kept.most_common()
    )
    if any(kept[reason] for reason in PASSING):
        return BusyError(
            "the OMA has no room for one more volume",
            why,
            "wait until a run ends and run again; or run fewer machines at a time, or use a second OMA",
            code=ErrorCode.OMA_FULL,
        )
    return PreconditionError(
        "the OMA has no room for one more volume, and will have none by itself",
        why,
        hint(
            "detach what was attached by hand (",
            migratekit("volumes", "list"),
            ", volumes detach VOLUME); a machine with more disks "
            "than the OMA takes needs a BIOS OMA where this one is UEFI (it takes few disks while it runs), "
            "else a higher max_data_volumes_limit of KVM in CloudStack",
        ),
        code=ErrorCode.VM_FULL,
    )


def _let_go(context: Context, step: Step, volume: Volume, stuck: set[str]) -> Stays | None:
    """Detach a volume whose machine is held; return why it stays, or None where something has changed."""
    try:
        if records.export(context.volumes, volume.id) is not None:
            # Of a run that was killed; refused where somebody is connected.
            context.within("unexport", volume.id, {})
        context.within("detach", volume.id, {"only_from": context.storage.oma_vm_id()})
    except BusyError:
        return Stays.CONNECTED
    except MigrateKitError as error:
        stuck.add(volume.id)
        step.log(EventKind.ROOM_NOT_MADE, level="warning", volume_id=volume.id, name=volume.name, error=str(error))
        return None
    step.log(EventKind.ROOM_MADE, level="warning", detached=volume.id, name=volume.name)
    return None


def _by_need(context: Context) -> list[Volume]:
    """Return the data volumes of the OMA; first those of machines of which nothing says when they are synced next, that
    which was last worked with the longest ago before the others; then that which is due last."""
    attached = [volume for volume in context.storage.attached_to(context.storage.oma_vm_id()) if volume.type != "ROOT"]

    def read(db: Session) -> dict[str | None, datetime]:
        mine = col(VolumeOperation.volume_id).in_([volume.id for volume in attached])
        query = select(VolumeOperation.volume_id, func.max(VolumeOperation.updated_at)).where(mine)
        return dict(db.exec(query.group_by(col(VolumeOperation.volume_id))).all())

    last = write(context.volumes, read)
    due = {vm_id: _next_sync(context, vm_id) for vm_id in {volume.tags.get(TAG, "") for volume in attached}}

    def need(volume: Volume) -> tuple[bool, float, datetime]:
        moment = due[volume.tags.get(TAG, "")]
        return moment is not None, -(moment.timestamp() if moment else 0.0), last.get(volume.id, datetime.min)

    return sorted(attached, key=need)


def _next_sync(context: Context, vm_id: str) -> datetime | None:
    """Return when a machine is synced next, if it goes on as between its last two syncs that completed; None where that
    is not known, or by that several are missing by now."""
    query = (
        select(ReplicationJob.started_at)
        .where(ReplicationJob.source_vm_id == vm_id, col(ReplicationJob.completed_at).is_not(None))
        .order_by(col(ReplicationJob.created_at).desc())
        .limit(2)
    )
    begun = [moment for moment in write(context.oma, lambda db: db.exec(query).all()) if moment is not None]
    if len(begun) < 2:
        return None
    interval = begun[0] - begun[1]
    return begun[0] + interval if utcnow() - begun[0] <= MISSED * interval else None


def _reason_to_stay(context: Context, volume: Volume, wanted: Volume) -> Stays | None:
    """Return why a volume must not be detached; None where nothing is known that speaks against it."""
    if TAG not in volume.tags:
        return Stays.NOT_OURS
    if volume.tags[TAG] == wanted.tags.get(TAG):
        return Stays.OWN
    if _newest(context, volume.id, "detach", only_open=True) is not None:
        return Stays.LEAVING
    row = records.mapping(context.volumes, volume.id)
    if row is None:
        return Stays.FOREIGN
    if row.device_path is not None and guard.used(context.places, context.exporter, volume.id):
        return Stays.IN_USE
    exported = records.export(context.volumes, volume.id) is not None
    if not _by_hand(context, volume.id, "export" if exported else "attach"):
        return None
    return Stays.EXPORTED_BY_HAND if exported else Stays.ATTACHED_BY_HAND


def _by_hand(context: Context, volume_id: str, kind: str) -> bool:
    """Return whether it was not a run of its machine that attached or exported a volume last."""
    operation = _newest(context, volume_id, kind)
    parent = operation.request.get(ORIGIN, {}).get("parent_job_id") if operation is not None else None
    if not parent:
        return True
    job = write(context.oma, lambda db: db.get(JoblogJob, parent))
    if job is not None:
        return job.kind.startswith(BY_HAND)
    # Pruned from the joblog; what is in neither table was asked for by somebody with another database.
    return write(context.oma, lambda db: db.get(ReplicationJob, parent)) is None


def _newest(context: Context, volume_id: str, kind: str, *, only_open: bool = False) -> VolumeOperation | None:
    def read(db: Session) -> VolumeOperation | None:
        query = select(VolumeOperation).where(VolumeOperation.volume_id == volume_id, VolumeOperation.type == kind)
        if only_open:
            query = query.where(col(VolumeOperation.completed_at).is_(None))
        return db.exec(query.order_by(col(VolumeOperation.created_at).desc()).limit(1)).first()

    return write(context.volumes, read)
