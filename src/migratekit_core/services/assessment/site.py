"""Everything that rules may look at besides the machine itself. A fact that could not be had is None."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from migratekit_core.adapters.readers.layout import Layout
from migratekit_core.adapters.readers.readers import unread
from migratekit_core.adapters.vsphere.inventory import Disk, Nic, VirtualMachine
from migratekit_core.services.assessment.target import Target
from migratekit_core.services.networks.model import Entry, join
from migratekit_core.volumed.names import host_name

if TYPE_CHECKING:
    from migratekit_core.services.assessment.privileges import Lacking

Key = TypeVar("Key")


@dataclass(frozen=True)
class Site:
    """The source as a whole, what is configured, and (if asked for) the target and the permissions."""

    machines: tuple[VirtualMachine, ...]
    """All that vCenter shows: some traps are only seen by comparing."""
    chosen: tuple[VirtualMachine, ...]
    """Those that are assessed."""
    readers: tuple[str, ...] = ("https",)
    """The readers that the configuration lets read a disk, in the order in which they are asked."""
    network_map: Mapping[str, str | bool] | None = None
    """networks.map of the configuration; None without a configuration."""
    stored_map: tuple[Entry, ...] = ()
    """What `migratekit networks` has stored, where the database was asked."""
    test_network: str = ""
    privileges: tuple[Lacking, ...] | None = None
    """vSphere privileges that the account lacks."""
    target: Target | None = None
    write_rates: Mapping[str, float] | None = None
    """Bytes written per second by managed object id, where it was measured; no rule needs it."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a fact is None, by its dotted name."""

    def goes(self, vm: VirtualMachine, nic: Nic) -> str | None:
        """Return the network of the target that a card is mapped to: None where it is not, "" where it is left out."""
        entry = join(self.network_map or {}, self.stored_map).of(vm, nic)
        return None if entry is None else entry.target or ""

    @cached_property
    def unread(self) -> frozenset[Layout]:
        """Return the layouts of disks that none of the readers reads."""
        return unread(self.readers)

    @property
    def named_readers(self) -> str:
        """Return the readers for a sentence: `https and ssh`."""
        return " and ".join(self.readers)

    def lacks(self, name: str) -> str:
        """Return why the fact with this dotted name cannot be had, or "" where it is there."""
        found: object = self
        path = ""
        for part in name.split("."):
            path = f"{path}.{part}" if path else part
            found = getattr(found, part)
            if found is None:
                known = dict(self.missing) | (dict(self.target.missing) if self.target else {})
                return known.get(path, "not known")
        return ""

    @cached_property
    def by_name(self) -> Mapping[str, tuple[VirtualMachine, ...]]:
        """Return the machines (no templates) that have each name, in lower case."""
        return _group((vm.name.lower(), vm) for vm in self.machines if not vm.template)

    @cached_property
    def by_target_name(self) -> Mapping[str, tuple[VirtualMachine, ...]]:
        """Return the machines (no templates) that get each name in CloudStack, in lower case."""
        return _group((host_name(vm.name).lower(), vm) for vm in self.machines if not vm.template)

    @cached_property
    def by_guest_hostname(self) -> Mapping[str, tuple[VirtualMachine, ...]]:
        """Return the machines whose guest has each host name, in lower case."""
        return _group((vm.guest_hostname.lower(), vm) for vm in self.machines if vm.guest_hostname)

    @cached_property
    def by_mac(self) -> Mapping[str, tuple[VirtualMachine, ...]]:
        """Return the machines that have each MAC address; one that has it twice is there twice."""
        return _group((nic.mac.lower(), vm) for vm in self.machines for nic in vm.nics if nic.mac)

    @cached_property
    def by_disk_file(self) -> Mapping[tuple[str, str], tuple[VirtualMachine, ...]]:
        """Return the machines that write to each file (`file_of`)."""
        return _group((file_of(vm, disk), vm) for vm in self.machines for disk in vm.disks if disk.path)


def file_of(vm: VirtualMachine, disk: Disk) -> tuple[str, str]:
    """Return what tells a disk's file from all others: a datastore's name is unique in its datacenter only."""
    store = vm.datastore_of(disk)
    return disk.datastore_moref or (store.moref if store is not None else vm.datacenter), disk.path


def _group(pairs: Iterable[tuple[Key, VirtualMachine]]) -> Mapping[Key, tuple[VirtualMachine, ...]]:
    groups: defaultdict[Key, list[VirtualMachine]] = defaultdict(list)
    for key, vm in pairs:
        groups[key].append(vm)
    return {key: tuple(vms) for key, vms in groups.items()}
