"""The source readers, which of them reads a disk, and the disk served by it.

Nobody else knows their names: a new reader is a file here and a line in READERS (and its name and settings in the
[source] table, config.source). A disk is not told from another by who reads it, so a machine may change its reader
between two syncs. `file` is not among them: it serves images of this host, not disks of a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from migratekit_core.adapters.readers import https, ssh, vddk
from migratekit_core.adapters.readers.layout import ALL, Layout, refusal
from migratekit_core.adapters.readers.model import Ask, Reader, Snapshot
from migratekit_core.adapters.readers.sessions import slot
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config
from migratekit_core.config.source import Source

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        https.READER,
        ssh.READER,
        vddk.READER,
    )
}
"""By their names, in the order in which `auto` asks them."""


def considered(source: Source) -> list[Reader]:
    """Return the readers that the configuration lets read a disk, in the order in which they are asked."""
    if source.reader in READERS:
        return [READERS[source.reader]]
    return [reader for reader in READERS.values() if not reader.only_where_named]


def usable(source: Source) -> list[Reader]:
    """Return those of them whose settings are there; never none."""
    return [reader for reader in considered(source) if not reader.unset(source)]


def unread(names: Iterable[str]) -> frozenset[Layout]:
    """Return the layouts of disks that none of these readers reads."""
    return ALL.difference(*(READERS[name].reads for name in names))


def check(config: Config, vm: VirtualMachine, disk: Disk) -> str:
    """Return the name of the reader for a disk, as its snapshot's configuration has it.

    Raises PreconditionError, with the reason of each reader that was considered, where none can read it or what the
    reader needs is not installed; AuthError for a key that others can read.
    """
    source, refused = config.source, dict[str, str]()
    for reader in considered(source):
        reason = reader.unset(source) or refusal(reader.reads, disk, vm)
        if not reason:
            reader.require(source, vm)
            return reader.name
        refused[reader.how] = reason
    subject = f"{disk.label} of {vm.name}"
    if source.reader in READERS:
        ((how, reason),) = refused.items()
        raise PreconditionError(
            f"{subject} cannot be read {how}",
            reason,
            "remove the cause, or choose another reader (source.reader): docs/readers.md",
            code=ErrorCode.READER_UNFIT,
            facts={"reader": source.reader},
        )
    raise PreconditionError(
        f"{subject} cannot be read by any reader",
        "; ".join(f"{how}: {reason}" for how, reason in refused.items()),
        "remove one of the causes; docs/readers.md says what each reader can read",
        code=ErrorCode.READER_UNFIT,
    )


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
    assert config.vcenter is not None, "require has seen to it"
    reader = READERS[check(config, snapshot.vm, disk)]
    ask = Ask(config.vcenter, config.source, snapshot, disk, note, stopped)
    most = reader.sessions(config.source)

    def waiting() -> None:
        note(f"{disk.label} waits: all {most} sessions of host {ask.host} are taken")

    with (
        nullcontext() if most is None else slot(ask.host, most, waiting, stopped),
        reader.open(ask) as uri,
    ):
        yield uri
