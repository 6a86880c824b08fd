"""Machines that may be begun: the first in order whose places are free, without looking at all of them each time.

A machine that waits for a place is put aside there, with those that need as many of it, and looked at again when some
of that place is given back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace

from migratekit_core.services.waves.places import Need, Places

Needs = tuple[Need, ...]


class Waiting:
    """Machines in order, and what each needs."""

    def __init__(self, needs: Mapping[str, Needs]) -> None:
        self._needs = needs
        self._position = {vm: number for number, vm in enumerate(needs)}
        self._next: list[tuple[int, str, Need | None]] = []
        """To be looked at, the first in order first; with the place that it has waited for."""
        self._aside: dict[str, dict[int, list[tuple[int, str]]]] = {}
        """By the place's name, and how many of it they need."""
        self._all: set[str] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, vm: str) -> bool:
        return vm in self._all

    def knows(self, vm: str) -> bool:
        """Return whether a machine is one of those that may wait here."""
        return vm in self._needs

    def add(self, vms: Iterable[str]) -> None:
        """Have machines wait."""
        for vm in vms:
            if vm not in self._all:
                self._all.add(vm)
                heapq.heappush(self._next, (self._position[vm], vm, None))

    def freed(self, wanted: Needs) -> None:
        """Hear that places were given back: whoever waits for each may have it."""
        for need in wanted:
            for number in list(self._aside.get(need.name, ())):
                self._wake(replace(need, number=number))

    def take(self, places: Places) -> tuple[str, Needs] | None:
        """Take out the first machine whose places are free, with what it needs; None where there is none."""
        while self._next:
            position, vm, had_waited_for = heapq.heappop(self._next)
            full = places.full(self._needs[vm])
            if full is None:
                self._all.discard(vm)
                if had_waited_for is not None and places.room(
                    [replace(had_waited_for, number=2 * had_waited_for.number)]
                ):
                    # More was given back than it takes: there is enough for the next one, too.
                    self._wake(had_waited_for)
                return vm, self._needs[vm]
            heapq.heappush(self._aside.setdefault(full.name, {}).setdefault(full.number, []), (position, vm))
            if had_waited_for is not None and had_waited_for != full and places.room([had_waited_for]):
                # It waits for something else now, so the next one may have what it was woken for.
                self._wake(had_waited_for)
        return None

    def _wake(self, need: Need) -> None:
        line = self._aside.get(need.name, {}).get(need.number)
        if line:
            position, vm = heapq.heappop(line)
            heapq.heappush(self._next, (position, vm, need))
