"""Which machines are wanted: filters of a listing. All that are given must fit; of several values of one, any."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from migratekit_core.adapters.vsphere.inventory.model import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.common.vsphere_names import forms, shown_path

TEMPLATE, AGENT, PLACEHOLDER = "templates", "agents of vSphere", "placeholders of Site Recovery"
AGENTS = frozenset({"com.vmware.vim.eam"})
"""Extensions whose machines serve vSphere itself: ESX Agent Manager's are vCLS, and agents of NSX and vSAN."""
VCLS = re.compile(r"vCLS(-[0-9a-f-]{36}| \(\d+\))", re.IGNORECASE)
"""Names of vSphere Cluster Services' machines; embedded ones (8.0 U3) belong to no extension."""
SITE_RECOVERY = "com.vmware.vcDr"
"""How the keys of Site Recovery Manager begin: its placeholders stand for machines of another site."""
POWER = {"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}


@dataclass(frozen=True)
class Filter:
    """Globs (`*`, `?`, `[…]`) that ignore case; an empty tuple lets everything through."""

    names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Folders by inventory path, or by name; machines in folders below one are in it."""
    clusters: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """`category:name` or the name alone."""
    powers: tuple[str, ...] = ()
    """on, off, suspended."""
    guests: tuple[str, ...] = ()
    """vSphere's id of the guest's system, or its name."""

    def fits(self, vm: VirtualMachine) -> bool:
        """Return whether a machine is wanted."""
        return (
            any_fits(self.names, [vm.name, vm.path.rpartition("/")[2]])
            and any_fits(self.folders, [*_ancestors(vm.folder), *map(shown_path, _ancestors(vm.folder))])
            and any_fits(self.clusters, [vm.cluster])
            and any_fits(self.tags, [*(vm.tags or ()), *(tag.partition(":")[2] for tag in vm.tags or ())])
            and (not self.powers or vm.power in [POWER[power] for power in self.powers])
            and any_fits(self.guests, [vm.guest_id, vm.guest_name, vm.guest_reported_id, vm.guest_reported_name])
        )


def any_fits(globs: tuple[str, ...], values: list[str]) -> bool:
    """Return whether one of the globs fits one of the values, of which "" is none; no globs fit all."""
    return not globs or any(fnmatchcase(value.lower(), glob.lower()) for glob in globs for value in values if value)


def _ancestors(folder: str) -> list[str]:
    """Return the path of a folder and of all above it, and their names."""
    parts = folder.strip("/").split("/")
    return ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))] + parts


def is_exactly(given: str, moref: str, uuid: str, path: str) -> bool:
    """Return whether a managed object id, instanceUuid or inventory path (in either form) is what is given."""
    return given in (moref, uuid, path) or ("/" in given and shown_path(given) == shown_path(path))


def similar(wanted: str, names: Iterable[str]) -> Hint:
    """Return what to do about a name that no machine has: those that it may have been meant for."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=3, cutoff=0.7)
    if not close:
        return hint("look with: ", migratekit("discover"))
    return hint(f"similar names: {', '.join(by_lower[each] for each in close)}; all of them: ", migratekit("discover"))


def left_out(vm: VirtualMachine) -> str:
    """Return why a machine is not meant where all are: what it is instead (TEMPLATE, AGENT, PLACEHOLDER), or "".

    That an extension manages a machine is no reason by itself: OpenStack Nova says so of every one that it makes.
    """
    if vm.template:
        return TEMPLATE
    if vm.managed_by in AGENTS or VCLS.fullmatch(vm.name):
        return AGENT
    empty = vm.connection == "connected" and vm.power == POWER["off"] and not vm.disks
    return PLACEHOLDER if vm.managed_by.startswith(SITE_RECOVERY) and empty else ""


def who_is_left_out(machines: Iterable[VirtualMachine]) -> str:
    """Return how many of which kind `left_out` leaves out, for people; "" where there are none."""
    kinds = Counter(filter(None, map(left_out, machines)))
    return ", ".join(f"{kind} ({number})" for kind, number in sorted(kinds.items()))


def choose(machines: tuple[VirtualMachine, ...], names: Sequence[str], everything: bool) -> tuple[VirtualMachine, ...]:
    """Return the machines that are meant: by name, inventory path, instanceUuid or managed object id.

    All are those that `left_out` has nothing against. Raises PreconditionError.
    """
    if everything:
        return tuple(vm for vm in machines if not left_out(vm))
    chosen: dict[str, VirtualMachine] = {}
    for name in names:
        exact = [vm for vm in machines if is_exactly(name, vm.moref, vm.uuid, vm.path)]
        found = exact or [vm for vm in machines if vm.name in forms(name)]
        if not found:
            raise PreconditionError(
                f"no virtual machine {name!r}",
                "the inventory has none with this name, path, uuid or id",
                similar(name, (vm.name for vm in machines)),
                code=ErrorCode.VM_NOT_FOUND,
                facts={"vm": name},
            )
        if len(found) > 1:
            raise PreconditionError(
                f"the name {name!r} is ambiguous",
                f"{len(found)} machines have it: {', '.join(f'{vm.path} ({vm.moref})' for vm in found)}",
                "name one by its path or id",
                code=ErrorCode.VM_AMBIGUOUS,
                facts={"vm": name},
            )
        chosen[found[0].moref] = found[0]
    return tuple(chosen.values())
