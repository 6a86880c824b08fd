"""A mapping of networks, and how a card finds its network in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from migratekit_core.adapters.vsphere.inventory import Nic, VirtualMachine, forms, shown_path

CONFIG = "config"
"""Origin of what stands in networks.map."""


@dataclass(frozen=True)
class Entry:
    """One line of a mapping."""

    source: str
    """Name or inventory path of a network; with `machine`, the label of one of its cards."""
    target: str | None
    """Name or id of a network of the cloud; None: cards in the source network are left out."""
    machine: str = ""
    """Name, inventory path or instanceUuid of the only machine that it is about."""
    origin: str = ""
    """config, or how it came to be stored: file, by-name, wizard, set."""


def network_names(nic: Nic) -> Iterator[str]:
    """Yield what a card's network may be called in a mapping, as vSphere shows it, the most exact first."""
    names = (shown_path(nic.network_path), nic.network, nic.network_record)
    return filter(None, dict.fromkeys(names))


@dataclass(frozen=True)
class NetworkMap:
    """All entries, the stronger first.

    The more exact one wins: of one card, then by inventory path, by name, by the name in the machine's own record. Of
    two that are equally exact, the configuration's wins over the stored one.
    """

    entries: tuple[Entry, ...] = ()

    def of(self, vm: VirtualMachine, nic: Nic) -> Entry | None:
        """Return the entry for a card, or None. Names count as vSphere shows them and as its API has them (%2f)."""
        mine = {vm.uuid, vm.path, shown_path(vm.path), vm.name} - {""}
        for entry in self.entries:
            if entry.source == nic.label and not mine.isdisjoint(forms(entry.machine)):
                return entry
        return self.of_network(nic)

    def of_network(self, nic: Nic) -> Entry | None:
        """Return the entry for the network of a card, or None."""
        for key in network_names(nic):
            for entry in self.entries:
                if not entry.machine and key in forms(entry.source):
                    return entry
        return None

    def overridden(self) -> Iterator[Entry]:
        """Yield the stored entries that the configuration has a line of its own for."""
        configured = {shown_path(entry.source) for entry in self.entries if entry.origin == CONFIG}
        for entry in self.entries:
            if entry.origin != CONFIG and not entry.machine and shown_path(entry.source) in configured:
                yield entry


def join(configured: Mapping[str, str | bool], stored: Iterable[Entry] = ()) -> NetworkMap:
    """Return the mapping of networks.map (false: left out) and what is stored."""
    own = (
        Entry(source, target if isinstance(target, str) else None, origin=CONFIG)
        for source, target in configured.items()
    )
    return NetworkMap((*own, *stored))
