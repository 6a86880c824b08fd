"""What answers hold, and how rows become it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema
from sqlalchemy import Engine
from sqlmodel import col, select

from migratekit_core.common.errors import MigrateKitError, PreconditionError, to_fields
from migratekit_core.db.engine import session
from migratekit_core.db.models.volumes import DeviceMapping, NbdExport, VolumeOperation
from migratekit_core.volumed.daemon.allowance import refusal
from migratekit_core.volumed.daemon.context import ORIGIN
from migratekit_core.volumed.daemon.oma import look, unfit
from migratekit_core.volumed.daemon.reconcile.reconciler import Report
from migratekit_core.volumed.daemon.storage import Storage, Volume

# Not OpenAPI's date-time: that wants a zone, and all our times are UTC and say so nowhere (docs/json.md).
Time = Annotated[datetime, WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?$"})]


class Health(BaseModel):
    """The daemon is up."""

    status: str = Field(description="`ok`.")
    version: str = Field(description="The daemon's version.")


class SnapshotView(BaseModel):
    """A snapshot of a volume."""

    id: str = Field(description="CloudStack's id.")
    name: str = Field(description="Its name in CloudStack.")


class OurSnapshotView(SnapshotView):
    """A snapshot that MigrateKit took."""

    volume_id: str = Field(description="What it was taken of; that may be deleted by now.")
    tags: dict[str, str] = Field(description="Its tags in CloudStack: the volume's.")


class VolumeView(BaseModel):
    """A volume as CloudStack sees it, beside what Linux and the exporter have of it."""

    id: str = Field(description="CloudStack's id.")
    name: str = Field(description="Its name in CloudStack.")
    state: str = Field(description="CloudStack's state, such as `Allocated` or `Ready`.")
    type: str = Field(description="`DATADISK` or `ROOT`.")
    size: int = Field(description="Bytes.")
    vm_id: str | None = Field(description="The machine that it is attached to.")
    device_id: int | None = Field(description="Its position there.")
    template_id: str | None = Field(description="The template that it was made of.")
    tags: dict[str, str] = Field(description="Its tags in CloudStack.")
    device_path: str | None = Field(description="The device on the OMA.")
    cloudstack_state: str = Field(description="What the daemon recorded: `attaching`, `attached` or `detached`.")
    linux_state: str = Field(description="What the daemon found in Linux: `absent`, `attached` or `elsewhere`.")
    export_name: str | None = Field(description="The NBD export, if there is one.")
    drift: list[str] = Field(
        description="Kinds of disagreement that the last comparison found; `reconcile` of the list tells them."
    )


class VolumeDetail(VolumeView):
    """A volume with its snapshots."""

    snapshots: list[SnapshotView] = Field(description="All snapshots of the volume.")


class _Disagreement(BaseModel):
    volume_id: str | None = Field(description="The volume; null for an export that belongs to none.")
    name: str = Field(description="The volume's name in CloudStack, its id where it is gone, or the export's name.")
    kind: str = Field(description="`row`, `no-device`, `held`, `size`, `export-lost` … (docs/api.md).")
    what: str = Field(description="What does not agree.")
    why: str = Field(description="What each side says.")
    todo: str = Field(description="The next step, or what the daemon does about it by itself.")
    hint: list[str | dict[str, Any]] = Field(description="`todo` in parts, as an error has it.")


class DriftView(_Disagreement):
    """CloudStack, Linux, the exporter and the rows do not agree about a volume."""

    safe: bool = Field(description="Whether the daemon repairs it: nothing is lost by that.")
    since: Time = Field(description="UTC, in ISO 8601 without a zone.")


class RepairView(_Disagreement):
    """A disagreement that the daemon put right."""

    at: Time = Field(description="UTC, in ISO 8601 without a zone.")
    operation_id: str | None = Field(description="The operation that did it; null for an export of no volume.")


class ReconcileView(BaseModel):
    """What the last periodic comparison found."""

    compared_at: Time | None = Field(description="When, in UTC; null before the first.")
    seconds: float = Field(description="How long it took.")
    volumes: int = Field(description="How many volumes were compared.")
    skipped: int = Field(description="How many were left out, because an operation worked on them.")
    error: str | None = Field(description="Why the newest try failed; the rest is then of the one before.")
    drift: list[DriftView] = Field(description="What nobody has put right yet.")
    repaired: list[RepairView] = Field(description="What the daemon put right since its start, the newest first.")


class OperationError(BaseModel):
    """Why an operation failed."""

    what: str = Field(description="What failed.")
    why: str = Field(description="The cause as far as it is known.")
    todo: str = Field(description="The next step.")
    exit_code: int = Field(description="What a command that meets this error exits with.")
    code: str = Field("unknown", description="What the error is, for programs.")
    facts: dict[str, str | int | float | bool | None] = Field({}, description="What it is about, by name.")
    hint: list[str | dict[str, Any]] = Field(
        [], description="`todo` in parts: texts, and commands as objects of `argv` and `where`."
    )


class OmaView(BaseModel):
    """The virtual machine that the daemon runs on, as CloudStack has it."""

    id: str = Field(description="CloudStack's id; empty where it was not found.")
    name: str = Field(description="Its name in CloudStack.")
    account: str = Field(description="The account that owns it.")
    hypervisor: str = Field(description="CloudStack's word for it, such as `KVM`.")
    vm_snapshots: int | None = Field(description="VM snapshots, which keep disks from being attached; null: not known.")
    backup_offering: str = Field(description="Its backup offering, which may keep disks from being attached; or empty.")
    data_disks: int = Field(description="Data disks that are attached now.")
    max_disks: int | None = Field(description="How many CloudStack attaches; null: not known.")
    problem: OperationError | None = Field(description="Why it takes no disk now; null where it does.")
    refusal: OperationError | None = Field(
        None, description="Why volumes of the `sizes` asked about cannot all be made; null where nothing is known."
    )


class VolumeList(BaseModel):
    """Volumes."""

    volumes: list[VolumeView] = Field(description="In CloudStack's order.")
    snapshots: list[OurSnapshotView] = Field(description="Where they were asked for; else empty.")
    reconcile: ReconcileView = Field(description="The last periodic comparison of all volumes.")
    oma: OmaView | None = Field(None, description="Where it was asked for: instead of the volumes.")


class OperationView(BaseModel):
    """A change to a volume, from its intent to its outcome."""

    id: str = Field(description="Ask for it with GET /api/v1/operations/{id}.")
    type: str = Field(description="`create`, `delete`, `attach`, `detach`, `export`, `unexport`, `snapshot` …")
    status: str = Field(description="`pending`, `running`, then `completed` or `failed`.")
    volume_id: str | None = Field(description="The volume, as soon as there is one.")
    vm_id: str | None = Field(description="The machine that was asked for.")
    request: dict[str, Any] = Field(description="What was asked for.")
    response: dict[str, Any] | None = Field(description="What came of it, once completed.")
    error: OperationError | None = Field(description="Why it failed, once failed.")
    correlation_id: str = Field(description="What it belongs to.")
    parent_job_id: str = Field(description="The joblog's job that asked, or empty.")
    created_at: Time = Field(description="UTC, in ISO 8601 without a zone.")
    updated_at: Time = Field(description="UTC, in ISO 8601 without a zone.")
    completed_at: Time | None = Field(description="UTC, in ISO 8601 without a zone.")


class OperationList(BaseModel):
    """Operations."""

    operations: list[OperationView] = Field(description="The newest first.")


class Progress(BaseModel):
    """How far a replication is."""

    id: str = Field(description="Id of the replication job.")
    status: str = Field(description="`running`, `completed`, `failed` or `interrupted`.")
    progress_percent: float = Field(description="0 to 100.")
    current_operation: str | None = Field(description="What it is doing.")
    bytes_transferred: int = Field(description="Bytes so far.")
    total_bytes: int = Field(description="Bytes in all.")
    transfer_speed_bps: int = Field(description="Bytes per second.")


def oma_view(storage: Storage, sizes: Sequence[int]) -> OmaView:
    """Return the OMA as clients see it, with what keeps it from taking disks, and such volumes from being made."""
    try:
        found = look(storage)
    except PreconditionError as error:
        nothing: dict[str, Any] = {"vm_snapshots": None, "backup_offering": "", "data_disks": 0, "max_disks": None}
        return OmaView(id="", name="", account="", hypervisor="", problem=OperationError(**to_fields(error)), **nothing)
    return OmaView(**asdict(found), problem=_as_view(unfit(found)), refusal=_as_view(refusal(storage, sizes)))


def _as_view(error: MigrateKitError | None) -> OperationError | None:
    return OperationError(**to_fields(error)) if error is not None else None


def operation_view(operation: VolumeOperation) -> OperationView:
    """Return an operation as clients see it."""
    fields = operation.model_dump(exclude={"error", "request"})
    asked = dict(operation.request)
    origin = asked.pop(ORIGIN, {})
    error = json.loads(operation.error) if operation.error else None
    return OperationView(
        **fields,
        request=asked,
        error=error,
        correlation_id=origin.get("correlation_id", ""),
        parent_job_id=origin.get("parent_job_id", ""),
    )


def reconcile_view(report: Report) -> ReconcileView:
    """Return what a comparison came to, as clients see it."""
    return ReconcileView(
        compared_at=report.compared_at,
        seconds=report.seconds,
        volumes=report.volumes,
        skipped=report.skipped,
        error=report.error,
        drift=[DriftView(**found.drift.fields, since=found.since) for found in report.drift],
        repaired=[
            RepairView(**done.drift.fields, at=done.at, operation_id=done.operation_id) for done in report.repaired
        ],
    )


def volume_fields(found: list[Volume], engine: Engine, report: Report) -> list[dict[str, Any]]:
    """Return the fields of each volume's VolumeView."""
    drift: dict[str | None, list[str]] = {}
    for one in report.drift:
        drift.setdefault(one.drift.volume_id, []).append(one.drift.kind)
    ids = [volume.id for volume in found]
    with session(engine) as db:
        mapped = db.exec(select(DeviceMapping).where(col(DeviceMapping.volume_id).in_(ids))).all()
        exported = db.exec(select(NbdExport).where(col(NbdExport.volume_id).in_(ids))).all()
    mappings = {row.volume_id: row for row in mapped}
    exports = {row.volume_id: row.export_name for row in exported}
    return [
        _fields(volume, mappings.get(volume.id), exports.get(volume.id)) | {"drift": drift.get(volume.id, [])}
        for volume in found
    ]


def _fields(volume: Volume, mapping: DeviceMapping | None, export_name: str | None) -> dict[str, Any]:
    return {
        "id": volume.id,
        "name": volume.name,
        "state": volume.state,
        "type": volume.type,
        "size": volume.size,
        "vm_id": volume.vm_id,
        "device_id": volume.device_id,
        "template_id": volume.template_id,
        "tags": volume.tags,
        "device_path": mapping.device_path if mapping else None,
        "cloudstack_state": mapping.cloudstack_state if mapping else "detached",
        "linux_state": mapping.linux_state if mapping else "absent",
        "export_name": export_name,
    }
