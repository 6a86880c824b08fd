"""Room for one more volume. CloudStack attaches a limited number of data disks to a machine (13 by default on KVM), and
a replica's volumes stay attached to the OMA between its syncs: where it is full, one that nobody works with gives way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from sqlmodel import Session, col, select

from migratekit_core.db.engine import write
from migratekit_core.db.locks import whole_lock
from migratekit_core.errors import BusyError, OperationFailedError, PreconditionError
from migratekit_core.joblog import Step
from migratekit_core.models.joblog import JoblogJob
from migratekit_core.models.volumes import VolumeOperation
from migratekit_core.volumes.daemon import records
from migratekit_core.volumes.daemon.context import ORIGIN, Context
from migratekit_core.volumes.daemon.records import ATTACHED
from migratekit_core.volumes.daemon.storage import Volume
from migratekit_core.volumes.names import TAG

FULL = "maximum number of data disks"
"""How CloudStack refuses (VolumeApiServiceImpl, in all versions since 4.0); the error's number is any parameter's."""
TRIES = 20
"""How often room is made for one volume: others that attach at the same time may take it."""
BY_HAND = "volumes-"
"""How the kinds of jobs begin that `migratekit volumes attach` and its like run in."""


def found(context: Context, step: Step, attach: Callable[[], Volume]) -> Volume:
    """Return what `attach` returns, which attaches a volume to the OMA; while that is full, room is made.

    Raises BusyError where none can be made, and what `attach` raises.
    """
    for _ in range(TRIES):
        try:
            return attach()
        except OperationFailedError as error:
            if FULL not in error.why.lower():
                raise
        _make(context, step)
    return attach()


def _make(context: Context, step: Step) -> None:
    """Detach from the OMA the volume that was last worked with the longest ago, of those that nobody works with now.

    Nobody does where no run has the machine that it is a replica of, it is not exported, and it was not attached by
    hand. The machine is held meanwhile, so that no run of it can begin.

    Raises BusyError where there is no such volume, saying what all of them are there for.
    """
    kept: Counter[str] = Counter()
    for volume, _ in _by_age(context):
        reason = _reason_to_stay(context, volume)
        if not reason:
            try:
                with whole_lock(context.oma, volume.tags[TAG], f"making room on the OMA: detaching {volume.name}"):
                    # Exported, or attached by hand, while we got the lock?
                    reason = _reason_to_stay(context, volume)
                    if not reason:
                        context.within("detach", volume.id)
                        step.log("room made", level="warning", detached=volume.id, name=volume.name)
                        return
            except (BusyError, PreconditionError):
                reason = "of machines that are worked with"
        kept[reason] += 1
    raise BusyError(
        "the OMA has no room for one more volume",
        f"CloudStack attaches no more to it, and all {kept.total()} stay: "
        + ", ".join(f"{number} {reason}" for reason, number in kept.most_common()),
        "wait until a run ends and run again; or replicate fewer machines at a time, or use a second OMA",
    )


def _by_age(context: Context) -> list[tuple[Volume, datetime | None]]:
    """Return the data volumes of the OMA and when each was last worked with, the longest ago first."""
    attached = [volume for volume in context.storage.attached_to(context.storage.oma_vm_id()) if volume.type != "ROOT"]

    def read(db: Session) -> dict[str | None, datetime]:
        mine = col(VolumeOperation.volume_id).in_([volume.id for volume in attached])
        query = select(VolumeOperation.volume_id, VolumeOperation.updated_at).where(mine)
        return dict(db.exec(query.order_by(col(VolumeOperation.updated_at))).all())

    last = write(context.volumes, read)
    never = datetime.min
    return sorted(((volume, last.get(volume.id)) for volume in attached), key=lambda pair: pair[1] or never)


def _reason_to_stay(context: Context, volume: Volume) -> str:
    """Return why a volume must not be detached; "" where nothing is known that speaks against it."""
    if TAG not in volume.tags:
        return "not ours"
    row = records.mapping(context.volumes, volume.id)
    if row is None or (row.cloudstack_state, row.linux_state) != (ATTACHED, ATTACHED):
        return "just being attached or detached"
    if records.export(context.volumes, volume.id) is not None:
        return "exported"
    return "attached by hand" if _by_hand(context, volume.id) else ""


def _by_hand(context: Context, volume_id: str) -> bool:
    def newest(db: Session) -> VolumeOperation | None:
        query = select(VolumeOperation).where(VolumeOperation.volume_id == volume_id, VolumeOperation.type == "attach")
        return db.exec(query.order_by(col(VolumeOperation.created_at).desc())).first()

    operation = write(context.volumes, newest)
    parent = operation.request.get(ORIGIN, {}).get("parent_job_id") if operation is not None else None
    if not parent:
        return True
    job = write(context.oma, lambda db: db.get(JoblogJob, parent))
    return job is None or job.kind.startswith(BY_HAND)
