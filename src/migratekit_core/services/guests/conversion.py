"""Guest conversion: what the guest needs to boot on KVM is put into it (virt-v2v-in-place), where that is needed.

Decided before the source is shut down, done on the volumes after they were handed over. It runs where the command runs,
on the volumes' exports: the volume daemon stays the only one who touches devices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.schema import Failover
from migratekit_core.context import Runtime
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.assessment.rules.guest import is_windows
from migratekit_core.services.assessment.systems import before_virtio
from migratekit_core.services.guests import probe, tool, undo
from migratekit_core.services.guests.record import Record
from migratekit_core.services.replication import replica, targets
from migratekit_core.volumed.client import VolumeClient

DECIDED = "convert"
"""Where a failover's state remembers why its guest is converted; "" where it is not."""
VIRTIO_WIN = (Path("/usr/share/virtio-win/virtio-win.iso"), Path("/usr/share/virtio-win"))


def decide(
    runtime: Runtime,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    vm: VirtualMachine,
    asked: bool | None,
    root: str,
) -> None:
    """Decide, once for a failover, whether its guest is converted, and see to it that it can be.

    `asked` is the command line's word, `root` the volume that the guest boots from. Raises PreconditionError, naming
    everything that is missing.
    """
    if DECIDED in record.state():
        return
    mode = _mode(runtime.config.failover, asked)
    with job.step("decide-conversion") as step:
        reason = _reason(runtime, volumes, job, record, vm, mode, root) if mode != "never" else ""
        step.log(EventKind.GUEST_CONVERTS if reason else EventKind.GUEST_STAYS, mode=mode, reason=reason)
    record.remember(**{DECIDED: reason})


def preflight(settings: Failover, vm: VirtualMachine, asked: bool | None) -> None:
    """Raise PreconditionError where it is plain from the outside that the guest is converted, and that it cannot be."""
    _demanded(settings, vm, _mode(settings, asked))


def _mode(settings: Failover, asked: bool | None) -> str:
    return settings.convert if asked is None else ("always" if asked else "never")


def _demanded(settings: Failover, vm: VirtualMachine, mode: str) -> str:
    """Return why the guest has to be converted, as far as that is known without looking into it, or ""."""
    if mode == "never":
        return ""
    needed = "it was asked for" if mode == "always" else "Windows needs virtio drivers" if is_windows(vm) else ""
    if needed:
        require_tools(settings, vm)
    return needed


def _reason(
    runtime: Runtime,
    volumes: VolumeClient,
    job: Job,
    record: Record,
    vm: VirtualMachine,
    mode: str,
    root: str,
) -> str:
    """Return why the guest has to be converted, or ""."""
    settings = runtime.config.failover
    needed = _demanded(settings, vm, mode)
    inspect = settings.inspect_guest and probe.available() and tool.can_mount()
    if not inspect or (not needed and before_virtio(vm) is not None):
        return needed
    with (
        job.step("inspect-guest") as step,
        _files(runtime, volumes, record, vm, [root], read_only=True) as (folder, files),
    ):
        if needed:
            probe.prove(files[0], vm.name)
            return needed
        if probe.lacks_virtio(files[0], folder, step):
            needed = "no initramfs of its kernels has virtio drivers"
    if needed:
        require_tools(settings, vm)
    return needed


def convert_replica(runtime: Runtime, volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine) -> None:
    """Convert a machine's replica, where that was decided: protected by snapshots, and from the beginning again where
    a run was killed in it. Going back puts back what was there before (`undo.put_back`)."""
    if not record.state().get(DECIDED):
        return
    kept = undo.of(record)
    if kept is not None and kept.done:
        return
    if kept is not None:
        undo.put_back(runtime, volumes, job, record)
        job.stop_if_cancelled()
    found = replica.newest(runtime.databases.oma, vm.uuid)
    assert found is not None, "it was synced just now"
    volume_ids = [str(disk.ossea_volume_id) for disk in found.disks]
    undo.protect(volumes, job, record, volume_ids)
    job.stop_if_cancelled()
    undo.remember(record, changed=True)
    _convert(runtime, volumes, job, record, vm, volume_ids)
    undo.remember(record, done=True)


def convert_copies(
    runtime: Runtime, volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine, volume_ids: list[str]
) -> None:
    """Convert a rehearsal's own volumes, where that was decided; nothing has to be protected."""
    if not record.state().get(DECIDED):
        return
    # Both together may be more than the OMA takes; the next sync attaches the replica again.
    found = replica.newest(runtime.databases.oma, vm.uuid)
    assert found is not None, "it was copied just now"
    with job.step("detach-replica"):
        for disk in found.disks:
            volumes.unexport(str(disk.ossea_volume_id))
            volumes.detach(str(disk.ossea_volume_id))
    job.stop_if_cancelled()
    _convert(runtime, volumes, job, record, vm, volume_ids)
    job.stop_if_cancelled()
    with job.step("detach-volumes"):
        for volume_id in volume_ids:
            volumes.detach(volume_id)


def _convert(
    runtime: Runtime, volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine, volume_ids: list[str]
) -> None:
    settings = runtime.config.failover
    drivers = virtio_win(settings) if is_windows(vm) else None
    with (
        job.step("convert-guest") as step,
        _files(runtime, volumes, record, vm, volume_ids) as (folder, files),
    ):
        step.log(
            EventKind.CONVERSION_BEGUN, reason=record.state()[DECIDED], disks=len(files), virtio_win=str(drivers or "")
        )
        limits = tool.Settings(settings.convert_timeout, drivers)
        tool.convert(folder, vm, files, limits, step)


@contextmanager
def _files(
    runtime: Runtime,
    volumes: VolumeClient,
    record: Record,
    vm: VirtualMachine,
    volume_ids: list[str],
    *,
    read_only: bool = False,
) -> Iterator[tuple[Path, list[Path]]]:
    """Have volumes be files of this host within the block; yield a private folder, and them in their order."""
    undo.unmount(record)
    folder = tool.private_folder(record.id)
    undo.exporting(record, volume_ids)
    exported: list[str] = []
    try:
        uris = {}
        for number, volume_id in enumerate(volume_ids):
            volumes.attach(volume_id)
            targets.fence(volumes, volume_id)
            exported.append(volume_id)
            uris[volume_id] = runtime.nbd_uri(volumes.export(volume_id, vm.name, f"c{number}")["export_name"])
        with tool.mounted(folder, uris, read_only=read_only) as files:
            yield folder, [files[volume_id] for volume_id in volume_ids]
    finally:
        undo.unmount(record)
        for volume_id in exported:
            targets.fence(volumes, volume_id)
        undo.exporting(record, [])


def require_tools(settings: Failover, vm: VirtualMachine) -> None:
    """Raise PreconditionError, naming everything that a conversion on this host lacks."""
    missing = tool.missing()
    if is_windows(vm) and virtio_win(settings) is None:
        missing.append(
            "the virtio-win drivers (set failover.virtio_win to the Fedora project's virtio-win.iso, or put that at "
            f"{VIRTIO_WIN[0]})"
        )
    if missing:
        raise PreconditionError(
            f"{vm.name} has to be converted, and this host cannot do it",
            f"missing: {'; '.join(missing)}",
            "install these, or go on without conversion: --no-convert",
            code=ErrorCode.CONVERSION_IMPOSSIBLE,
            facts={"vm": vm.name},
        )


def virtio_win(settings: Failover) -> Path | None:
    """Return where the Windows drivers are: the setting, the tool's own variable, or the usual places."""
    named = os.environ.get("VIRTIO_WIN")
    candidates = [settings.virtio_win, Path(named) if named else None, *VIRTIO_WIN]
    return next((path for path in candidates if path is not None and path.exists()), None)
