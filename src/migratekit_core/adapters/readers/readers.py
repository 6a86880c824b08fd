"""Which reader reads a disk, and the disk served by it: nobody else has to know that there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migratekit_core.adapters.readers import flat, https, ssh, vddk
from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config

_HOW = {"https": "over https", "ssh": "over ssh", "vddk": "through vddk"}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is open as long as its disks are read."""

    vm: VirtualMachine
    moref: str


def check(config: Config, vm: VirtualMachine, disk: Disk) -> str:
    """Return the name of the reader for a disk, as its snapshot's configuration has it.

    Raises PreconditionError, with the reason of each reader that was considered, where none can read it or what the
    reader needs is not installed.
    """
    source, subject = config.source, f"{disk.label} of {vm.name}"
    if source.reader != "auto":
        reason = _reason(source.reader, vm, disk)
        if reason:
            raise PreconditionError(
                f"{subject} cannot be read {_HOW[source.reader]}",
                reason,
                "remove the cause, or choose another reader (source.reader): docs/readers.md",
            )
        _ready(source.reader, config, vm)
        return source.reader
    over_https = _reason("https", vm, disk)
    if not over_https:
        return "https"
    through_vddk = "no VDDK is configured (source.vddk.libdir)" if source.vddk is None else _reason("vddk", vm, disk)
    if through_vddk:
        raise PreconditionError(
            f"{subject} cannot be read by any reader",
            f"over https: {over_https}; through vddk: {through_vddk}",
            "remove one of the causes; docs/readers.md says what each reader can read",
        )
    _ready("vddk", config, vm)
    return "vddk"


@contextmanager
def open_disk(
    config: Config, snapshot: Snapshot, disk: Disk, note: Callable[[str], None], stopped: Callable[[], bool]
) -> Iterator[str]:
    """Serve a disk of a snapshot as long as the block runs, and yield its NBD URI.

    `note` is told where it has to wait, and `stopped` says whether that is to end. Raises what `check` does; AuthError,
    UnreachableError or OperationFailedError where the disk cannot be opened; KeyboardInterrupt where the run is
    stopped.
    """
    require(config, "vcenter")
    vcenter, source, vm = config.vcenter, config.source, snapshot.vm
    assert vcenter is not None, "require has seen to it"
    reader = check(config, vm, disk)
    if reader == "ssh":
        assert source.ssh is not None, "the schema asks for it"
        opened = ssh.open_disk(source.ssh, vm, disk)
    elif reader == "vddk":
        assert source.vddk is not None, "check has seen to it"
        opened = vddk.open_disk(vcenter, source.vddk, vm, snapshot.moref, disk, note, stopped)
    else:
        opened = https.open_disk(vcenter, vm.datacenter, disk, vm.name)
    with opened as uri:
        yield uri


def _reason(reader: str, vm: VirtualMachine, disk: Disk) -> str:
    return vddk.refusal(disk) if reader == "vddk" else flat.refusal(disk, vm)


def _ready(reader: str, config: Config, vm: VirtualMachine) -> None:
    if reader == "ssh":
        assert config.source.ssh is not None, "the schema asks for it"
        ssh.require(config.source.ssh, vm)
    elif reader == "vddk":
        assert config.source.vddk is not None, "asked for, or configured"
        vddk.require(config.source.vddk)
