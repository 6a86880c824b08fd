"""What a machine needs of what there is only so much of, and in which order it is taken.

Everybody takes in the one order of `KINDS`, and within a kind by name; and nobody waits while holding something
(`leases`). Either is enough for nobody ever to wait for somebody who waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migratekit_core.db.wavestates import CUTOVER, REPLICATE
from migratekit_core.services.waves.model import Limits, Machine

KINDS = ("vcenter", "oma", "oma-disks", "host", "datastore")
DEFAULT = "default"
"""How the configuration's own vCenter and OMA are called beside the named ones."""
READING = (REPLICATE, CUTOVER)
"""Tasks that read the source's disks."""


@dataclass(frozen=True)
class Need:
    """One of `most` places."""

    name: str
    """`host:default/esx01.example.com`"""
    most: int
    number: int = field(default=1, compare=False)
    """How many of them are taken: what has as many places is one thing, whoever needs how many of it."""


def needs(machine: Machine, limits: Limits, task: str) -> tuple[Need, ...]:
    """Return the places that a task with a machine takes, in the order to take them; what has no limit is left out."""
    vcenter, oma = machine.vcenter or DEFAULT, machine.oma or DEFAULT
    found = [(f"vcenter:{vcenter}", limits.vcenter, 1), (f"oma:{oma}", limits.oma, 1)]
    if task in READING:
        # They are attached to the OMA meanwhile, all of them. What has more than there is room for says so itself.
        disks = min(max(machine.disks, 1), limits.oma_disks or 1)
        found.append((f"oma-disks:{oma}", limits.oma_disks, disks))
        # Two vCenters may each have a host, or a datastore, of the same name.
        if machine.host:
            found.append((f"host:{vcenter}/{machine.host}", limits.esxi_host, 1))
        stores = sorted(set(machine.datastores))
        found += [(f"datastore:{vcenter}/{store}", limits.datastore, 1) for store in stores]
    return tuple(Need(name, most, number) for name, most, number in found if most is not None)


class Places:
    """Counts who has which places, for who has to choose what to begin."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def room(self, wanted: Iterable[Need]) -> bool:
        """Return whether all of them are free."""
        return all(self._fits(need) for need in wanted)

    def full(self, wanted: Sequence[Need]) -> Need | None:
        """Return one that is not free; None where all are. The narrowest first: it is free again the latest."""
        return next((need for need in reversed(wanted) if not self._fits(need)), None)

    def take(self, wanted: Iterable[Need]) -> None:
        """Take all of them."""
        self._taken.update({need.name: need.number for need in wanted})

    def give(self, wanted: Iterable[Need]) -> None:
        """Give all of them back."""
        self._taken.subtract({need.name: need.number for need in wanted})

    def _fits(self, need: Need) -> bool:
        return self._taken[need.name] + need.number <= need.most

    def taken(self) -> dict[str, int]:
        """Return how many are taken of each."""
        return {name: number for name, number in self._taken.items() if number}
