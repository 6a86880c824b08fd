"""Deletes one volume of ours by hand. Whatever speaks against it is said before anything is asked, and looked at once
more when the machine is held; what is lost is said, too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.common.units import human_bytes
from migratekit_core.context import Runtime
from migratekit_core.db.locks import whole_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.schema import require_schema
from migratekit_core.services.failover.record import COMPLETED, LIVE, TEST, newest, unfinished
from migratekit_core.services.replication import replica, surplus
from migratekit_core.services.replication.surplus import Origin, Surplus
from migratekit_core.volumed import changes
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import FAILOVER_TAG, TAG

PATIENCE_SECONDS = 30.0
"""How long another operation on the volume is waited for; it begins before the machine is held."""
KIND = "volumes-delete"
"""Of the joblog's job."""


@dataclass(frozen=True)
class Removal:
    """A volume that may be deleted, and what is lost with it."""

    volume_id: str
    volume_name: str
    size_bytes: int
    vm: str
    vm_uuid: str
    disk: str
    """The disk's label, "" where no sync of this database knows it."""
    last_sync: datetime | None
    surplus: str
    """Why nothing needs it (replication.surplus), or ""."""
    lost: tuple[Hint | str, ...]
    """For people."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Return what is done."""
        return (f"delete volume {self.volume_name} in CloudStack; nobody brings its content back",)


def plan(runtime: Runtime, volumes: VolumeClient, volume: str) -> Removal:
    """Return what deleting a volume, named by its id or its exact name, comes to; nothing is changed.

    Raises PreconditionError where it is not ours (NOT_OURS), part of a failover or a rehearsal (IN_FAILOVER), exported
    (EXPORTED) or attached (ATTACHED), and where there is none.
    """
    require_schema(runtime.databases)
    found = changes.find(volumes, volume)
    refuse(runtime.databases.oma, found)
    whole = volumes.get(found["id"]) or found
    origin = surplus.origins(runtime.databases.oma, [found["id"]]).get(found["id"])
    judged = surplus.find(runtime, [found])
    return Removal(
        volume_id=found["id"],
        volume_name=found["name"],
        size_bytes=found["size"],
        vm=_vm_name(found),
        vm_uuid=found["tags"][TAG],
        disk=origin.disk if origin is not None else "",
        last_sync=origin.last_sync if origin is not None else None,
        surplus=judged.volumes[0].reason if judged.volumes else "",
        lost=tuple(_lost(found, origin, judged, len(whole.get("snapshots", [])))),
    )


def require_wanted(runtime: Runtime, planned: Removal, yes_delete: bool) -> None:
    """Raise PreconditionError (RECENT_REPLICA) where a volume was synced in the last `volumes.retention` days, and it
    was not said that it shall be deleted all the same."""
    days = runtime.config.volumes.retention
    if yes_delete or planned.last_sync is None or utcnow() - planned.last_sync > timedelta(days=days):
        return
    raise PreconditionError(
        f"volume {planned.volume_name} was synced lately",
        f"at {planned.last_sync:%Y-%m-%d %H:%M} UTC, and volumes.retention is {days:g} days",
        hint(
            "if its content shall be lost all the same: ",
            migratekit("volumes", "delete", planned.volume_id, "--yes", "--yes-delete"),
        ),
        code=ErrorCode.RECENT_REPLICA,
        facts={"volume_id": planned.volume_id},
    )


def delete(runtime: Runtime, planned: Removal) -> tuple[str, dict[str, Any]]:
    """Delete a volume; return the job's id and the operation's response.

    Raises BusyError, naming the holder, while a run has its machine, what `plan` raises, and what the daemon reports.
    """
    engine = runtime.databases.oma
    require_schema(runtime.databases)
    purpose = f"delete volume {planned.volume_name}"
    with (
        whole_lock(engine, planned.vm_uuid, purpose) as lock,
        runtime.tracker.job(KIND, owner=planned.volume_name) as job,
    ):
        volumes = runtime.volumes(job, PATIENCE_SECONDS)
        try:
            found = volumes.get(planned.volume_id)
            if found is not None:
                refuse(engine, found)
            lock.ensure()
            done = volumes.delete(planned.volume_id)
            replica.forget_volume(engine, planned.vm_uuid, planned.volume_id)
        finally:
            volumes.close()
    return job.id, done


def refuse(engine: Engine, volume: dict[str, Any]) -> None:
    """Raise PreconditionError where a volume, as the daemon tells of it, must not be deleted."""
    name, volume_id = volume["name"], volume["id"]
    if TAG not in volume["tags"]:
        raise PreconditionError(
            f"volume {name} is not MigrateKit's",
            f"it does not carry the tag {TAG}",
            "delete it in CloudStack, if it is nobody's",
            code=ErrorCode.NOT_OURS,
        )
    _refuse_in_rehearsal(engine, volume)
    _refuse_in_failover(engine, volume)
    if volume["export_name"] is not None:
        raise PreconditionError(
            f"volume {name} is exported",
            f"as {volume['export_name']}",
            hint("take that back first: ", migratekit("volumes", "unexport", volume_id)),
            code=ErrorCode.EXPORTED,
        )
    if volume["vm_id"] is not None:
        where = "the OMA" if volume["linux_state"] != surplus.ELSEWHERE else f"virtual machine {volume['vm_id']}"
        raise PreconditionError(
            f"volume {name} is attached",
            f"to {where}",
            hint("detach it first: ", migratekit("volumes", "detach", volume_id)),
            code=ErrorCode.ATTACHED,
        )


def _refuse_in_rehearsal(engine: Engine, volume: dict[str, Any]) -> None:
    volume_id, vm = volume["id"], _vm_name(volume)
    todo = hint("take the rehearsal away first: ", migratekit("cleanup", vm))
    if FAILOVER_TAG in volume["tags"]:
        raise PreconditionError(
            f"volume {volume['name']} is a rehearsal's copy",
            f"of rehearsal {volume['tags'][FAILOVER_TAG]} of {vm}",
            todo,
            code=ErrorCode.IN_FAILOVER,
        )
    for record in unfinished(engine, volume["tags"][TAG], TEST):
        state = record.state()
        if volume_id in (*state.get("clones", []), *state.get("snapshot_intents", []), state.get("template_root")):
            raise PreconditionError(
                f"volume {volume['name']} is part of a rehearsal",
                f"rehearsal {record.id} of {vm} is {record.row().status}",
                todo,
                code=ErrorCode.IN_FAILOVER,
            )


def _refuse_in_failover(engine: Engine, volume: dict[str, Any]) -> None:
    """Refuse the disks of the new machine, and those of a failover that is neither done nor taken back."""
    uuid, vm = volume["tags"][TAG], _vm_name(volume)
    found = newest(engine, uuid, LIVE)
    if found is None or not (found.committed() or unfinished(engine, uuid, LIVE)):
        return
    current = replica.newest(engine, uuid)
    if volume["id"] not in {disk.ossea_volume_id for disk in (current.disks if current is not None else ())}:
        return
    row = found.row()
    back = migratekit("rollback", vm)
    if row.status == COMPLETED:
        why = f"{vm} is failed over: it is a disk of the new machine {row.destination_vm_id}"
        todo = hint("to have it as a replica again: ", back)
    else:
        why = f"failover {found.id} of {vm} is {row.status}"
        todo = hint("go on with: ", migratekit("failover", vm), ", or give it back with: ", back)
    raise PreconditionError(f"volume {volume['name']} is part of a failover", why, todo, code=ErrorCode.IN_FAILOVER)


def _vm_name(volume: dict[str, Any]) -> str:
    tags = volume["tags"]
    return str(tags.get(f"{TAG}-vm") or tags[TAG])


def _lost(volume: dict[str, Any], origin: Origin | None, judged: Surplus, snapshots: int) -> list[Hint | str]:
    """Return what is lost, a sentence each."""
    size = human_bytes(volume["size"])
    if origin is None:
        lines: list[Hint | str] = [
            f"{size} that carry the tag of {_vm_name(volume)}; no sync of this database has recorded this volume"
        ]
    else:
        synced = f"last synced {origin.last_sync:%Y-%m-%d %H:%M} UTC" if origin.last_sync else "never wholly synced"
        lines = [f"the replica of {origin.disk} of {origin.vm}: {size}, {synced}"]
    if judged.volumes:
        lines.append(f"{judged.volumes[0].why}: no sync needs it")
    elif origin is not None:
        unsure = f" (not checked: {'; '.join(judged.not_checked)})" if judged.not_checked else ""
        lines.append(f"the next sync of {origin.vm} makes a new volume and copies all of {origin.disk}{unsure}")
    if snapshots:
        lines.append(
            hint(f"its snapshots ({snapshots}) stay in CloudStack; those of ours: ", migratekit("cleanup", "--orphans"))
        )
    return lines
