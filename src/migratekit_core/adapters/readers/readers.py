"""The source readers, which of them reads a disk, and the disk served by it.

Nobody else knows their names: a new reader is a file here and a line in READERS (and its name and settings in the
[source] table, config.source). A disk is not told from another by who reads it, so a machine may change its reader
between two syncs. `file` is not among them: it serves images of this host, not disks of a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from migratekit_core.adapters.readers import https, nfc, ssh, vddk
from migratekit_core.adapters.readers.layout import ALL, Layout, refusal
from migratekit_core.adapters.readers.model import Ask, Reader, Snapshot, UnfitError
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
        nfc.READER,
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
    """Return the name of the reader that is tried first for a disk, as its snapshot's configuration has it.

    Raises PreconditionError, with the reason of each reader that was considered, where none can read it or what the
    reader needs is not installed; AuthError for a key that others can read.
    """
    refused = dict[str, str]()
    for reader in _fit(config, vm, disk, refused):
        return reader.name
    raise _none(config.source, f"{disk.label} of {vm.name}", refused)


def _fit(config: Config, vm: VirtualMachine, disk: Disk, refused: dict[str, str]) -> Iterator[Reader]:
    """Yield the readers that can read a disk as far as is known before it is opened; fill in why others cannot."""
    for reader in considered(config.source):
        reason = reader.unset(config.source) or refusal(reader.reads, disk, vm)
        if reason:
            refused[reader.how] = reason
            continue
        reader.require(config.source, vm)
        yield reader


def _none(source: Source, subject: str, refused: Mapping[str, str]) -> PreconditionError:
    if source.reader in READERS:
        ((how, reason),) = refused.items()
        return PreconditionError(
            f"{subject} cannot be read {how}",
            reason,
            "remove the cause, or choose another reader (source.reader): docs/readers.md",
            code=ErrorCode.READER_UNFIT,
            facts={"reader": source.reader},
        )
    return PreconditionError(
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

    `note` is told where it has to wait, and why a reader that was tried gave way to the next; `stopped` says whether
    waiting is to end. Raises what `check` does; AuthError, UnreachableError or OperationFailedError where the disk
    cannot be opened; KeyboardInterrupt where the run is stopped.
    """
    require(config, "vcenter")
    assert config.vcenter is not None, "require has seen to it"
    ask = Ask(config.vcenter, config.source, snapshot, disk, note, stopped)
    refused = dict[str, str]()
    with ExitStack() as opened:
        uri = _first(config, ask, refused, opened)
        if uri is None:
            raise _none(config.source, ask.subject, refused)
        yield uri


def _first(config: Config, ask: Ask, refused: dict[str, str], opened: ExitStack) -> str | None:
    """Open the disk with the first reader that can, and return its URI; None where none can."""
    for reader in _fit(config, ask.snapshot.vm, ask.disk, refused):
        with ExitStack() as trying:
            try:
                uri = trying.enter_context(_opened(reader, ask))
            except UnfitError as unfit:
                if config.source.reader == reader.name:
                    raise unfit.error from None
                refused[reader.how] = str(unfit.error)
                ask.note(f"{ask.disk.label}: not {reader.how}: {unfit.error}")
                continue
            opened.push(trying.pop_all())
            return uri
    return None


@contextmanager
def _opened(reader: Reader, ask: Ask) -> Iterator[str]:
    most = reader.sessions(ask.source)

    def waiting() -> None:
        ask.note(f"{ask.disk.label} waits: all {most} sessions of host {ask.host} are taken")

    with (
        nullcontext() if most is None else slot(ask.host, most, waiting, ask.stopped),
        reader.open(ask) as uri,
    ):
        yield uri
