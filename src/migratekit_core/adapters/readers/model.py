"""What a source reader is, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migratekit_core.adapters.readers.layout import Layout
from migratekit_core.adapters.vsphere.privilege import Privilege
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.schema import VCenter
from migratekit_core.config.source import Source

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine


class UnfitError(Exception):
    """A reader cannot read here, and another one may be able to: raised by `open` before anything is served."""

    def __init__(self, error: MigrateKitError) -> None:
        """`error` is what to say where no other reader can."""
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is open as long as its disks are read."""

    vm: VirtualMachine
    moref: str
    session: Callable[[], AbstractContextManager[Any]]
    """Lends the machine as a managed object, with this command's own session: to one user at a time, so for a call
    or two (a ticket, a lease), not for as long as the disk is read."""


@dataclass(frozen=True)
class Ask:
    """A disk to serve, and what a reader may use for that."""

    vcenter: VCenter
    source: Source
    snapshot: Snapshot
    disk: Disk
    """As the snapshot's own configuration has it."""
    note: Callable[[str], None]
    """Takes a line for who watches: what is waited for."""
    stopped: Callable[[], bool]
    """Says whether a wait is to end."""

    @property
    def subject(self) -> str:
        """Return what to call the disk in a message."""
        return f"{self.disk.label} of {self.snapshot.vm.name}"

    @property
    def host(self) -> str:
        """Return the ESXi host that the machine is on, as far as vCenter names it."""
        return self.snapshot.vm.host_name or self.snapshot.vm.host or self.vcenter.host


def _asks_nbdkit(source: Source) -> str:
    return ""


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Plugin:
    """A plugin of nbdkit that a reader is made of, for `doctor`."""

    name: str
    todo: str = "run: apt-get install nbdkit"
    """What to do where it is missing."""
    proven: Callable[[Source], str] = _asks_nbdkit
    """Try it as a sync would, with the settings of its own; return what was found, "" where there are none and nbdkit
    is to be asked by the name. Raises PreconditionError."""
    beside: Callable[[], str] = _nothing
    """Return what to add to "there"."""


def _unlimited(source: Source) -> int | None:
    return None


def _set(source: Source) -> str:
    return ""


def _ready(source: Source, vm: VirtualMachine) -> None:
    return


@dataclass(frozen=True)
class Reader:
    """A way to read the disks of a snapshot. One file makes one, and one line of the registry knows it (`readers`).

    Its settings are the table [source.NAME], in config.source.
    """

    name: str
    """Its value of `source.reader`."""
    how: str
    """In a sentence: `over https`."""
    reads: frozenset[Layout]
    """The layouts of disks that it reads beside flat files."""
    open: Callable[[Ask], AbstractContextManager[str]]
    """Serve the disk as long as the block runs, and yield its NBD URI. Raises AuthError, UnreachableError or
    OperationFailedError; UnfitError where it turns out that it cannot read here; KeyboardInterrupt where `stopped`
    says so."""
    unset: Callable[[Source], str] = _set
    """Return which of its settings is missing; "" where none is."""
    require: Callable[[Source, VirtualMachine], None] = _ready
    """Raise PreconditionError or AuthError where what it needs on this host is missing."""
    plugins: tuple[Plugin, ...] = ()
    sessions: Callable[[Source], int | None] = _unlimited
    """Return how many disks of one ESXi host are read at once, by all commands of this host; None: no limit."""
    privileges: tuple[Privilege, ...] = ()
    """Of vSphere, beside those of every sync."""
    only_where_named: bool = False
    """Whether `auto` passes it over."""
